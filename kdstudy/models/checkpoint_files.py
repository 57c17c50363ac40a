"""Reads files of weights that were trained elsewhere, in the containers that people save them in."""

from __future__ import annotations

import difflib
import itertools
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kdstudy.errors import ModelError

CONTAINERS = ("state_dict", "model", "model_state_dict", "net", "network", "module", "ema")
"""Keys under which training programs save a network's weights beside other things, in order of preference."""

_SHOWN = 3
_SUFFIXES = ("", ".bin", ".ckpt", ".pkl", ".pt", ".pth", ".safetensors", ".tar", ".th")
_FOREIGN = re.compile(r"(?:GLOBAL|class) ([\w.]+)")


@final
@dataclass(frozen=True)
class FileWeights:
    """Weights as a file holds them.

    Args:
        tensors: Name in the file to tensor.
        container: Dotted keys under which they stand in the file; empty where they are all of it.
    """

    tensors: dict[str, Tensor]
    container: str = ""


def read_file(path: Path, key: str = "teacher.path") -> bytes:
    """Return the bytes of a file of weights.

    Args:
        path: The file.
        key: Of the study file that names it, for messages.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # a folder; or a device, which has no end
            raise OSError(0, "not a file")
        return path.read_bytes()
    except OSError as error:
        advice = _beside(path) or "name a safetensors or state-dict file"
        raise ModelError(f"{key}: {path} cannot be read ({error.strerror}); {advice}") from error


def _beside(path: Path) -> str | None:
    """Return which file in the same folder was meant, of one that is not there; None where none is like it."""
    if path.exists():
        return None
    try:
        names = sorted(each.name for each in path.parent.iterdir() if each.is_file() and each.suffix in _SUFFIXES)
    except OSError:
        return f"there is no folder {path.parent} either"
    near = difflib.get_close_matches(path.name, names, n=_SHOWN)
    same = [name for name in names if Path(name).stem == path.stem and name not in near]
    return f"did you mean {' or '.join([*near, *same])}?" if near or same else None


def read_weights(path: Path, key: str = "teacher.path") -> FileWeights:
    """Read a safetensors file or a state dict, never running code from it.

    Of a dict of other things, the entry of a name in `CONTAINERS` is taken, or else the only one that maps names to
    tensors.

    Args:
        path: The file.
        key: Of the study file that names it, for messages.

    Raises:
        ModelError: The file cannot be read, or holds no weights; says what it holds.
    """
    read_file(path, key)
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (OSError, RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise ModelError(f"{key}: {path} {_why_unreadable(path, error)}") from error
    found = _unwrapped(content)
    if found is None:
        raise ModelError(
            f"{key}: {path} holds no state dict, or several under other names: it is {_contents(content)}; save "
            "it with torch.save(model.state_dict())"
        )
    spoilt = next((name for name, tensor in found.tensors.items() if tensor.isnan().any()), None)
    if spoilt is not None:
        raise ModelError(
            f"{key}: {path} holds no numbers (NaN) in '{spoilt}'; its training diverged: name another file"
        )
    return found


def _why_unreadable(path: Path, error: Exception) -> str:
    foreign = _FOREIGN.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if foreign is None:
        return (
            f"is neither safetensors nor a plain state dict ({type(error).__name__}), or it is damaged; save it with "
            "safetensors or torch.save(model.state_dict())"
        )
    return (
        f"holds more than tensors ({foreign[1]}), which could be code and is not read; where you trust the file, take "
        f"out its weights: torch.save(torch.load(file, weights_only=False){_way_to_weights(path)}, 'weights.pt')"
    )


def _way_to_weights(path: Path) -> str:
    """Return how the weights are got of what a file holds: of a whole network, or of a dict, by its key."""
    try:
        with zipfile.ZipFile(path) as parts:
            name = next(name for name in parts.namelist() if name.endswith("data.pkl"))
            opcodes = pickletools.genops(parts.read(name))  # reads, and runs nothing
            codes = [(opcode.name, argument) for opcode, argument, _ in opcodes if "PUT" not in opcode.name]
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile):
        return ".state_dict()"
    if len(codes) > 1 and codes[1][0] != "EMPTY_DICT":
        return ".state_dict()"
    for (_, key), (opcode, kind) in itertools.pairwise(codes):
        if key in CONTAINERS:
            network = opcode == "GLOBAL" and kind != "collections OrderedDict"
            return f"['{key}'].state_dict()" if network else f"['{key}']"
    return "['state_dict']"


def _unwrapped(content: Any) -> FileWeights | None:
    if not isinstance(content, Mapping):
        return None
    if _maps_tensors(content):
        return FileWeights({str(name): value for name, value in content.items()})
    for key in CONTAINERS:
        inner = _unwrapped(content.get(key))
        if inner is not None:
            return FileWeights(inner.tensors, f"{key}.{inner.container}".rstrip("."))
    only = [(str(key), value) for key, value in content.items() if _maps_tensors(value)]
    return FileWeights(dict(only[0][1]), only[0][0]) if len(only) == 1 else None


def _maps_tensors(content: Any) -> bool:
    return isinstance(content, Mapping) and bool(content) and all(isinstance(v, Tensor) for v in content.values())


def _contents(content: Any) -> str:
    """Return in a few words what a file holds."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    entries = [f"{key} ({type(value).__name__})" for key, value in content.items()]
    more = f" and {len(entries) - 2 * _SHOWN} more" if len(entries) > 2 * _SHOWN else ""
    return f"a dict of {', '.join(entries[: 2 * _SHOWN])}{more}" if entries else "an empty dict"
