"""A student on disk: two files that hold numbers and names, never code.

``student.safetensors`` holds the weights, ``student.json`` says how to rebuild the network around them.
Neither can execute anything when loaded. The module is also the loader of the MLflow model that
`kdstudy.tracking` writes.

Shapes: B images, C channels, H and W positions, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from kdstudy.errors import ModelError
from kdstudy.models import build_model
from kdstudy.storage import Folder, folder_at

if TYPE_CHECKING:
    import numpy as np

WEIGHTS_FILE = "student.safetensors"
CONFIG_FILE = "student.json"
FORMAT = 1
REQUIRED = ("model", "options", "num_classes", "image_shape", "mean", "std")


def save_student(module: nn.Module, directory: Path | Folder, config: Mapping[str, Any]) -> None:
    """Write ``student.safetensors`` and ``student.json``.

    Args:
        module: The student, normalisation included: maps images in [0, 1] to logits.
        directory: Created if missing; the two files are replaced.
        config: ``model`` (plug-in name), ``options``, ``num_classes``, ``image_shape`` (C, H, W), ``mean``
            and ``std`` (one a channel), and for the reader ``layers`` (crucial layers) and ``provenance``.

    Raises:
        ModelError: ``config`` lacks a key, or holds something JSON cannot.
        StoreError: The directory cannot be written.
    """
    from safetensors.torch import save

    missing = [key for key in REQUIRED if key not in config]
    if missing:
        raise ModelError(f"student: the configuration lacks {', '.join(missing)}; it has {', '.join(config)}")
    try:
        text = json.dumps({"format": FORMAT, **config}, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"student: the configuration is not plain JSON: {error}") from error
    # Cloned, because safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    contents = {WEIGHTS_FILE: save(tensors), CONFIG_FILE: (text + "\n").encode()}
    folder = folder_at(directory)
    for name, content in contents.items():
        folder.write(name, content)


def load_student(path: str | Path, *, trust_plugins: bool = False) -> nn.Module:
    """Rebuild a saved student, on the CPU and in eval mode.

    Args:
        path: The directory `save_student` wrote, or the directory of an MLflow model that contains it.
        trust_plugins: Whether ``student.json`` may name a model outside kdstudy (``package.module:Name``),
            which imports that module. Leave it off for files from strangers.

    Raises:
        ModelError: The files are missing, damaged, do not fit each other, or name a model outside kdstudy.
    """
    directory = _locate(Path(path))
    config = read_config(directory)
    name = config["model"]
    if ":" in str(name) and not trust_plugins:
        raise ModelError(
            f"{directory / CONFIG_FILE}: names the model '{name}' outside kdstudy, and loading it would "
            "import that module; pass trust_plugins=True if you trust both"
        )
    module = _build(directory, config)
    _fill(module, directory / WEIGHTS_FILE)
    return module.eval()


def read_config(directory: Path) -> dict[str, Any]:
    """Return ``student.json``, checked for the keys a rebuild needs.

    Raises:
        ModelError: The file is missing or damaged.
    """
    path = directory / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{directory}: holds no {CONFIG_FILE}; give the directory of a saved student") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        got = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise ModelError(f"{path}: format {got!r} is not {FORMAT}; it was written by another version of kdstudy")
    missing = [key for key in REQUIRED if key not in config]
    if missing:
        raise ModelError(f"{path}: lacks {', '.join(missing)}; save the student again")
    return config


def _locate(path: Path) -> Path:
    """Return where the two files are: ``path``, or the data directory of an MLflow model around them."""
    for candidate in (path, *sorted(path.glob("data/*/"))):
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    return path


def _build(directory: Path, config: Mapping[str, Any]) -> nn.Module:
    try:
        channels, height, width = (int(size) for size in config["image_shape"])
        return build_model(
            str(config["model"]),
            dict(config["options"]),
            num_classes=int(config["num_classes"]),
            image_shape=(channels, height, width),
            mean=tuple(float(value) for value in config["mean"]),
            std=tuple(float(value) for value in config["std"]),
            seed=0,
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"{directory / CONFIG_FILE}: does not describe a network: {error}") from error


def _fill(module: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        module.load_state_dict(load(path.read_bytes()))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    except RuntimeError as error:
        first = str(error).replace("\n\t", " ").splitlines()[0]
        raise ModelError(f"{path}: the weights do not fit the network of {CONFIG_FILE}: {first}") from error


class _Predictor:
    """What MLflow calls: images in, logits out, both numpy.

    Args:
        module: A student in eval mode.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def predict(self, model_input: np.ndarray, params: Mapping[str, Any] | None = None) -> np.ndarray:
        """Return logits (B, K) float32 for images (B, C, H, W) float32 in [0, 1]; ``params`` is ignored."""
        with torch.inference_mode():
            logits: np.ndarray = self._module(torch.from_numpy(model_input.copy())).numpy()
        return logits


def _load_pyfunc(data_path: str) -> _Predictor:
    """Load for ``mlflow.pyfunc.load_model``; MLflow fixes the name."""
    return _Predictor(load_student(data_path))
