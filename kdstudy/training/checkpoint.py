"""Checkpoints: atomic, verified, and readable without running code.

A file is a SHA-256 digest followed by ``torch.save`` bytes that load with ``weights_only=True``. The two newest
generations are kept, so a damaged file costs one epoch, never the trial.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from kdstudy.data import tensors_sha256
from kdstudy.storage import Folder, folder_at

DIGEST_BYTES = 32
GENERATIONS = 2
_PREFIX, _SUFFIX = "epoch-", ".pt"


def weights_sha256(module: nn.Module) -> str:
    """Return a hash over every tensor of the state dict: names, types, shapes and bytes."""
    return tensors_sha256(module.state_dict())


@final
class CheckpointFolder:
    """The checkpoints of one trial.

    Args:
        folder: Created at the first save.
    """

    def __init__(self, folder: Path | Folder) -> None:
        self.folder = folder_at(folder)

    def save(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Save the state after ``epoch`` and drop all but the newest generations.

        Raises:
            StoreError: It cannot be written; those before it are whole.
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getvalue()
        self.folder.write(f"{_PREFIX}{epoch:05d}{_SUFFIX}", hashlib.sha256(content).digest() + content)
        for old in self._names()[:-GENERATIONS]:
            self.folder.remove(old)

    def load(self) -> tuple[int, dict[str, Any]] | None:
        """Return (epoch, state) of the newest undamaged checkpoint, or None."""
        for name in reversed(self._names()):
            state = _state(self.folder.read(name) or b"")
            if state is not None:
                return int(name.removeprefix(_PREFIX).removesuffix(_SUFFIX)), state
        return None

    def clear(self) -> None:
        """Remove every checkpoint."""
        for name in self._names():
            self.folder.remove(name)

    def _names(self) -> list[str]:
        return [name for name in self.folder.files() if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]


def _state(content: bytes) -> dict[str, Any] | None:
    """Return the state in a file's content, or None where it is cut short, altered, or no checkpoint at all."""
    digest, payload = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    try:
        with warnings.catch_warnings():  # about formats that only strangers write
            warnings.simplefilter("ignore")
            state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError):
        return None
    return state if isinstance(state, dict) else None
