"""The student to take home as an MLflow model: weights and JSON, loaded by kdstudy's own code.

MLflow's usual formats for a torch model carry pickled objects. This one is the generic Python flavour with
`kdstudy.student` as its loader: the artifact holds ``student.safetensors`` and ``student.json`` and no code,
so ``mlflow.pyfunc.load_model`` executes only what is installed. That holds for models written here. The
``MLmodel`` file of a stranger may name any loader and bring code along: take the student out with
`kdstudy.load_student`, which reads the two data files and nothing else.
"""

from __future__ import annotations

import json
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdstudy.errors import StoreError
from kdstudy.tracking.client import pyfunc

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOADER = "kdstudy.models.saved"
MODEL_NAME = "student"
# Written out, because MLflow would otherwise load the model in a subprocess to guess them.
REQUIRES = ("kdstudy", "torch", "safetensors", "numpy")
_SHA_TAG = "kdstudy.student_sha256"


def log_student(client: MlflowClient, run_id: str, experiment_id: str, directory: Path) -> str:
    """Log the student in ``directory`` as the run's model, unless it is there already; return the model's ID.

    Args:
        client: Of the server.
        run_id: The study's run.
        experiment_id: The run's experiment.
        directory: What `kdstudy.models.saved.save_student` wrote.

    Raises:
        StoreError: ``directory`` is not a saved student.
    """
    from mlflow.entities import LoggedModelOutput

    config = _read(directory)
    digest = _digest(directory)
    known = _logged(client, run_id, experiment_id, digest)
    if known is not None:
        return known
    model = client.create_logged_model(
        experiment_id,
        name=MODEL_NAME,
        source_run_id=run_id,
        model_type="student",
        tags={_SHA_TAG: digest},
        params={"model": str(config["model"]), "num_classes": str(config["num_classes"])},
    )
    model_id = str(model.model_id)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model"
        write_model(target, directory, run_id=run_id, model_id=model_id)
        client.log_model_artifacts(model_id, str(target))
    client.finalize_logged_model(model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    return model_id


def write_model(target: Path, directory: Path, *, run_id: str | None = None, model_id: str | None = None) -> None:
    """Write an MLflow model folder around the student in ``directory``.

    The signature: images float32 (B, C, H, W) in [0, 1] to logits float32 (B, K).

    Args:
        target: Must not exist.
        directory: What `kdstudy.models.saved.save_student` wrote.
        run_id: The run it comes from.
        model_id: Its ID in MLflow.
    """
    save_model = pyfunc().save_model
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    config = _read(directory)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *config["image_shape"]))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, config["num_classes"]))]),
    )
    save_model(
        str(target),
        loader_module=LOADER,
        data_path=str(directory),
        mlflow_model=Model(run_id=run_id, model_id=model_id, signature=signature),
        pip_requirements=[f"{name}=={metadata.version(name).partition('+')[0]}" for name in REQUIRES],
        metadata={"provenance": json.dumps(config.get("provenance", {}))},
    )


def _read(directory: Path) -> dict[str, Any]:
    path = directory / "student.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{directory}: not a saved student ({error}); run the trial again") from error
    return config


def _digest(directory: Path) -> str:
    import hashlib

    content = (directory / "student.json").read_bytes() + (directory / "student.safetensors").read_bytes()
    return hashlib.sha256(content).hexdigest()


def _logged(client: MlflowClient, run_id: str, experiment_id: str, digest: str) -> str | None:
    """Return the ID of the complete model logged from the same files by the same run."""
    from mlflow.entities import LoggedModelStatus

    for model in client.search_logged_models([experiment_id], f"tags.`{_SHA_TAG}` = '{digest}'"):
        if model.source_run_id == run_id and model.status == LoggedModelStatus.READY:
            return str(model.model_id)
    return None
