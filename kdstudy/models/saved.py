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
from typing import TYPE_CHECKING, Annotated, Any

import torch
from annotated_types import Ge, Gt, Le, MinLen
from torch import nn

from kdstudy.errors import ModelError
from kdstudy.models.factory import build_model
from kdstudy.storage import Folder, folder_at, inside
from kdstudy.study import Place, Problems, Reader, check, show

if TYPE_CHECKING:
    import numpy as np

WEIGHTS_FILE = "student.safetensors"
CONFIG_FILE = "student.json"
FORMAT = 1
MAX_PIXELS = 2**26
"""Numbers in one image: a stranger's file must not make us fill the memory."""

_Side = Annotated[int, Ge(1), Le(2**15)]
_KINDS: dict[str, Any] = {
    "model": Annotated[str, MinLen(1)],
    "options": dict[str, Any],
    "num_classes": Annotated[int, Ge(1), Le(1_000_000)],
    "image_shape": tuple[_Side, _Side, _Side],
    "mean": Annotated[tuple[float, ...], MinLen(1)],
    "std": Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)],
}
REQUIRED = tuple(_KINDS)


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


def load_student(path: str | Path) -> nn.Module:
    """Rebuild a saved student, on the CPU and in eval mode. Nothing that the files bring along is run.

    A student whose network is none of kdstudy's names it as ``package.module:Name``; that module is imported only
    after `kdstudy.allow_plugins("package")`, or if ``KDSTUDY_ALLOW_PLUGINS`` has the package.

    Args:
        path: The directory `save_student` wrote, or the directory of an MLflow model that contains it.

    Raises:
        ModelError: The files are missing, damaged, do not fit each other, or name a model that was not allowed.
    """
    directory = _locate(Path(path))
    module = _build(directory, read_config(directory))
    _fill(module, directory / WEIGHTS_FILE)
    return module.eval()


def read_config(directory: Path) -> dict[str, Any]:
    """Return ``student.json``, every key that a rebuild needs checked; nothing is imported for it.

    Raises:
        ModelError: The file is missing or damaged.
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
    missing = [key for key in REQUIRED if key not in config]
    if missing:
        raise ModelError(f"{path}: lacks {', '.join(missing)}; save the student again")
    for key, kind in _KINDS.items():
        if messages := check(kind, config[key])[1]:
            raise ModelError(f"{path}: does not describe a network: {key} {messages[0]}; save the student again")
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


def _build(directory: Path, config: Mapping[str, Any]) -> nn.Module:
    path = directory / CONFIG_FILE
    problems = Problems(str(path))
    options = Reader(problems).options("model", config["model"], config["options"], Place().key("model"), ranged=False)
    if options is None:
        raise ModelError(problems.told()[0])
    channels, height, width = config["image_shape"]
    if channels * height * width > MAX_PIXELS:
        raise ModelError(f"{path}: images of {channels}x{height}x{width} are larger than any that kdstudy trains on")
    try:
        return build_model(
            config["model"],
            options,
            num_classes=config["num_classes"],
            image_shape=(channels, height, width),
            mean=tuple(float(value) for value in config["mean"]),
            std=tuple(float(value) for value in config["std"]),
            seed=0,
        )
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{path}: does not describe a network: {reason}") from error


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
