"""SHA-256 of tensors: for weights, files of cached tensors, and the fingerprints of data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from hashlib import _Hash


def add_tensor(digest: _Hash, header: str, tensor: Tensor) -> None:
    """Add a header and a tensor's bytes, in row-major order, to a running hash."""
    digest.update(header.encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash, in hex, over names, types, shapes and bytes; the order of the mapping does not matter."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        add_tensor(digest, f"{name}:{tensor.dtype}:{tuple(tensor.shape)};", tensor)
    return digest.hexdigest()
