"""Saves and loads a student (or a teacher): two files that hold numbers and names, never code.

``student.safetensors`` holds the weights, ``student.json`` says how to rebuild the network around them.
Neither can execute anything when loaded. The module is also the loader of the MLflow model that
`kdstudy.tracking` writes.

Shapes: B images, C channels, H and W positions, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from kdstudy.errors import ModelError
from kdstudy.models.spec import NetworkSpec
from kdstudy.storage import Folder, folder_at, inside
from kdstudy.study import Place, Problems, Reader, show

if TYPE_CHECKING:
    import numpy as np

WEIGHTS_FILE = "student.safetensors"
CONFIG_FILE = "student.json"
FORMAT = 1


def save_student(
    module: nn.Module, directory: Path | Folder, spec: NetworkSpec, about: Mapping[str, Any] | None = None
) -> None:
    """Write ``student.safetensors`` and ``student.json``.

    Args:
        module: The student, normalisation included: maps images in [0, 1] to logits.
        directory: Created if missing; the two files are replaced.
        spec: What rebuilds the network.
        about: What else a reader may want to know, by keys that ``spec`` has not: ``provenance``, say.

    Raises:
        ModelError: The description holds something that JSON cannot.
        StoreError: The directory cannot be written.
    """
    from safetensors.torch import save

    try:
        text = json.dumps(
            {"format": FORMAT, **spec.saved(module).to_json(), **(about or {})}, indent=2, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"student: the configuration is not plain JSON: {error}") from error
    # Cloned, because safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    contents = {WEIGHTS_FILE: save(tensors), CONFIG_FILE: (text + "\n").encode()}
    folder = folder_at(directory)
    for name, content in contents.items():
        folder.write(name, content)


def load_student(path: str | Path) -> nn.Module:
    """Rebuild a saved student, on the CPU and in eval mode. Nothing that the files bring along is run.

    A student whose network is none of kdstudy's names it as ``package.module:Name``; that module is imported only
    after `kdstudy.allow_plugins("package")`, or if ``KDSTUDY_ALLOW_PLUGINS`` has the package.

    Its attribute ``class_names`` is a tuple of the classes' names, in the order of the logits; empty where the data had
    none, or the file is of a version that did not write them.

    Args:
        path: The directory `save_student` wrote, or the directory of an MLflow model that contains it.

    Raises:
        ModelError: The files are missing, damaged, do not fit each other, or name a model that was not allowed.
    """
    directory = _locate(Path(path))
    where = directory / CONFIG_FILE
    config = read_config(directory)
    module = _build(where, NetworkSpec.from_json(config, str(where)))
    _fill(module, directory / WEIGHTS_FILE)
    vars(module)["class_names"] = _class_names(config, where)
    return module.eval()


def _class_names(config: Mapping[str, Any], where: Path) -> tuple[str, ...]:
    names, count = config.get("classes") or [], config["num_classes"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) not in (0, count):
        raise ModelError(f"{where}: classes must be a list of {count} names, or empty; save the student again")
    return tuple(names)


def read_config(directory: Path) -> dict[str, Any]:
    """Return the content of ``student.json``; `NetworkSpec.from_json` checks it.

    Raises:
        ModelError: The file is missing, damaged, or of another version.
    """
    path = directory / CONFIG_FILE
    try:
        config = json.loads(_content(path).decode("utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{directory}: holds no {CONFIG_FILE}; give the directory of a saved student") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ModelError(f"{path}: cannot be read as JSON: {reason}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        got = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise ModelError(f"{path}: format {show(got)} is not {FORMAT}; it was written by another version of kdstudy")
    return config


def _content(path: Path) -> bytes:
    """Return the content of a student's file.

    Raises:
        OSError: It cannot be read; it is no file of this directory (a link out of it, or a device, say).
    """
    if path.exists() and not (path.is_file() and inside(path, path.parent)):
        raise OSError(None, "it is no file of this directory")
    return path.read_bytes()


def _locate(path: Path) -> Path:
    """Return where the two files are: ``path``, or the data directory of an MLflow model around them."""
    for candidate in (path, *sorted(path.glob("data/*/"))):
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    return path


def _build(where: Path, spec: NetworkSpec) -> nn.Module:
    """Return the network, its options checked: a stranger may have written them."""
    problems = Problems(str(where))
    options = Reader(problems).options("model", spec.model, spec.options, Place().key("model"), ranged=False)
    if options is None:
        raise ModelError(problems.told()[0])
    try:
        return replace(spec, options=options).build(seed=0)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{where}: does not describe a network: {reason}") from error


def _fill(module: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        module.load_state_dict(load(_content(path)))
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
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
