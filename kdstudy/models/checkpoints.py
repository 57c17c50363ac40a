"""Reads weights that were trained elsewhere, and fits them to a network of ours."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kdstudy.errors import ModelError


def read_file(path: Path) -> bytes:
    """Return the bytes of a teacher's file.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # a folder; or a device, which has no end
            raise OSError(0, "not a file")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"teacher.path: {path} cannot be read ({error.strerror}); name a safetensors or state-dict file"
        ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file or a state dict, never running code from it.

    A dict with a ``state_dict`` or ``model`` entry is unwrapped; a ``module.`` prefix on every key is removed.

    Raises:
        ModelError: The file cannot be read, or is neither.
    """
    read_file(path)
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise ModelError(
            f"teacher.path: {path} is neither safetensors nor a plain state dict "
            f"({type(error).__name__}); save it with safetensors or torch.save(model.state_dict())"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"teacher.path: {path} holds no state dict; save it with torch.save(model.state_dict())")
    weights = {str(name): value for name, value in content.items()}
    if all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
    return weights


def fit_weights(module: nn.Module, weights: Mapping[str, Tensor], key_map: Mapping[str, str], *, where: str) -> None:
    """Load ``weights`` into ``module`` after renaming.

    Args:
        module: Its own normalisation buffers are kept where the weights have none.
        weights: Name to tensor.
        key_map: Prefix in the file to prefix in the module, e.g. ``{linear: fc}``.
        where: The file's name, for errors.

    Raises:
        ModelError: Names or shapes differ; says which.
    """
    renamed = {_rename(name, key_map): value for name, value in weights.items()}
    own = module.state_dict()
    missing = [
        name
        for name in own
        if name not in renamed and not name.startswith("normalise.") and not name.endswith("num_batches_tracked")
    ]
    surplus = [name for name in renamed if name not in own]
    wrong = [
        f"{name} {tuple(renamed[name].shape)} for {tuple(own[name].shape)}"
        for name in renamed
        if name in own and renamed[name].shape != own[name].shape
    ]
    if missing or surplus or wrong:
        raise ModelError(
            f"teacher.path: {where} does not fit the network: missing {missing[:3]}, not in it {surplus[:3]}, "
            f"other shape {wrong[:3]}; check teacher.model and map names with teacher.key_map"
        )
    module.load_state_dict({**own, **renamed})


def _rename(name: str, key_map: Mapping[str, str]) -> str:
    for old, new in key_map.items():
        if name == old or name.startswith(old + "."):
            return new + name[len(old) :]
    return name
