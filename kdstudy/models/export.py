"""Exports a student for other programs: weights with a description, a `torch.export` program, or ONNX.

Whatever the format, the network takes images (B, C, H, W), float32 in [0, 1], of the size it was trained on
and any number of them, normalises them itself and gives logits (B, K).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from kdstudy.errors import ModelError, StoreError
from kdstudy.models.saved import load_student, read_config, save_student
from kdstudy.models.spec import NetworkSpec

Format = Literal["safetensors", "torch", "onnx"]
FORMATS: tuple[Format, ...] = get_args(Format)
DESCRIPTION = "kdstudy"
"""Where a program keeps its description: the extra file ``kdstudy.json`` (torch), the metadata key (ONNX)."""

_ONNX_PACKAGES = ("onnx", "onnxscript")


def export_student(directory: Path, target: Path, form: Format, about: Mapping[str, Any] | None = None) -> None:
    """Write a saved student in another format.

    Formats:

    * ``safetensors``: ``target`` becomes a directory with ``student.safetensors`` and ``student.json``, which
      `kdstudy.load_student` reads.
    * ``torch``: ``target`` becomes a file for `torch.export.load`, usually named ``.pt2``.
    * ``onnx``: ``target`` becomes one ONNX file with input ``images`` and output ``logits``.

    Args:
        directory: What `kdstudy.models.saved.save_student` wrote.
        target: What is there already is replaced.
        form: One of the three.
        about: What else to say in its description: ``classes`` where it has none, and ``provenance``, added to its own.

    Raises:
        ModelError: There is no student in the directory, its network cannot be exported, or a package for the
            format is missing.
        StoreError: The target cannot be written.
    """
    if form == "onnx":
        _require_onnx()
    config = _described(read_config(directory), about or {})
    module = load_student(directory)
    if form == "safetensors":
        spec = NetworkSpec.from_json(config, str(directory))
        known = {"format", *spec.to_json()}
        save_student(module, target, spec, {key: value for key, value in config.items() if key not in known})
        return
    program = _capture(module, config)
    text = json.dumps(config, allow_nan=False)
    if form == "torch":
        extra = {f"{DESCRIPTION}.json": text}
        _replace(target, lambda path: _save_torch(program, path, extra))
    else:
        _replace(target, lambda path: _save_onnx(program, path, text))


def _described(config: dict[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    known = {**about, "classes": config.get("classes") or about.get("classes") or []}
    if "provenance" in about:
        own = config.get("provenance")  # a damaged file may hold anything
        known["provenance"] = {**(own if isinstance(own, dict) else {}), **about["provenance"]}
    return {**config, **known}


def _capture(module: nn.Module, config: dict[str, Any]) -> torch.export.ExportedProgram:
    """Return the network as a program for any number of images.

    Raises:
        ModelError: Its forward pass depends on values or on the number of images, or calls what cannot be
            recorded.
    """
    # Two images: one would be taken for a constant.
    images = torch.zeros(2, *config["image_shape"])
    try:
        return torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"export: the network '{config['model']}' cannot be recorded as a program ({reason}); choose "
            "--format safetensors"
        ) from error


def _save_torch(program: torch.export.ExportedProgram, path: Path, extra: dict[str, Any]) -> None:
    content = io.BytesIO()  # torch's own writer of files does not say why a path cannot be written
    torch.export.save(program, content, extra_files=extra)
    path.write_bytes(content.getvalue())


def _save_onnx(program: torch.export.ExportedProgram, path: Path, text: str) -> None:
    with warnings.catch_warnings():
        # torch 2.13 uses its own deprecated classes here.
        warnings.simplefilter("ignore", FutureWarning)
        converted = torch.onnx.export(
            program, input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
        )
    assert converted is not None
    converted.model.metadata_props[DESCRIPTION] = text
    converted.save(path, external_data=False)


def _require_onnx() -> None:
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(f"export: --format onnx needs {' and '.join(missing)}; run pip install 'kdstudy[export]'")


def _replace(target: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a file beside ``target``, then put it in its place."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(target)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written ({error.strerror}); choose another -o") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
