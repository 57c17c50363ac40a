"""Weights that a network begins with: taken over from a file, all but a head for other classes; `with_weights`.

A factory, ours or a user's, builds its network as if it had no weights and hands it to `with_weights`. What is then
known of them stays with the network (`pretrained_of`): `kdstudy.models.build_model` normalises as they want it, and
records name the file's sha256.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torch import nn

from kdstudy.errors import ModelError
from kdstudy.models.checkpoint_files import read_weights
from kdstudy.models.checkpoints import fit_body
from kdstudy.models.normalised import Normalised

NONE, PRETRAINED = "none", "pretrained"
"""What a study file writes for a network without weights to begin with, and for the publisher's own choice."""

_KNOWN = "kdstudy_pretrained"
_CHUNK = 2**20
_may_download: ContextVar[bool] = ContextVar("may_download", default=True)


@final
@dataclass(frozen=True)
class Pretrained:
    """What is known of the weights that a network begins with.

    Args:
        name: Of the weights, for people and records.
        file: Where they are, or will be.
        sha256: Of that file; None where it is not there yet, and the network has its own initial weights.
        classes: How many they tell apart; 0 for none.
        head: Dotted names of the modules that give the logits.
        new_head: Whether those have initial weights, since the data have other classes.
        mean: That the images were normalised with, one number per channel; None where that is not known.
        std: Likewise.
        size: Side in pixels of the images that they were trained on; None where that is not known.
        notes: Lines about the file that a user should read.
    """

    name: str
    file: str
    sha256: str | None
    classes: int
    head: tuple[str, ...]
    new_head: bool
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None
    notes: tuple[str, ...] = ()


def with_weights(  # noqa: PLR0913 - what is known of the weights, by name
    network: nn.Module,
    file: str | Path,
    *,
    num_classes: int,
    name: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | None = None,
) -> nn.Module:
    """Return ``network`` with the weights of a file, and what is known of them.

    Tensors whose first dimension alone differs, being the numbers of classes there and here, keep the initial values
    that the network gave them: a new head.

    Args:
        network: Built for the classes of the data, by code that draws its initial weights from torch's generator.
        file: A safetensors file or a plain state dict; wrappers' prefixes go by themselves.
        num_classes: Of the data.
        name: Of the weights; the file's own where None.
        mean: That images in [0, 1] are normalised with; None for the data set's.
        std: Likewise; positive.
        size: Side in pixels of the images that the weights were trained on; None where that is not known.

    Raises:
        ModelError: The file cannot be read, or does not fit the network.
    """
    path = Path(file)
    classes, head = fit_body(network, read_weights(path, "weights"), where=str(path), num_classes=num_classes)
    known = Pretrained(
        name=path.name if name is None else name,
        file=str(path),
        sha256=sha256_of(path),
        classes=classes,
        head=head or head_of(network, num_classes),
        new_head=bool(head),
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        size=size,
    )
    return remember(network, known)


def remember(network: nn.Module, known: Pretrained) -> nn.Module:
    """Return ``network``, with what is known of its weights kept beside it."""
    setattr(network, _KNOWN, known)
    return network


def pretrained_of(network: nn.Module) -> Pretrained | None:
    """Return what is known of the weights that a network began with; None where it began with none."""
    known = getattr(network, _KNOWN, None)
    return known if isinstance(known, Pretrained) else None


def head_of(network: nn.Module, num_classes: int) -> tuple[str, ...]:
    """Return the name of the last module whose weight has a row for each class; empty where none has."""
    fitting = [
        name
        for name, module in network.named_modules()
        if getattr(getattr(module, "weight", None), "shape", ())[:1] == (num_classes,)
    ]
    return tuple(fitting[-1:])


def require_head(module: nn.Module) -> tuple[nn.Module, ...]:
    """Return the modules that give the logits of a network that began with weights.

    Raises:
        ModelError: It did not, or none is known.
    """
    known = pretrained_of(module)
    if known is None or not known.head:
        raise ModelError(
            "teacher.head_epochs: trains the last layer alone, on weights that the network brings, got a network "
            "without any; give its model weights, or write epochs"
        )
    return tuple(module.get_submodule(name) for name in known.head)


def train_head_only(module: nn.Module) -> None:
    """Freeze all of a network but its head: parameters, and statistics, which stay those of the weights.

    Args:
        module: What `kdstudy.models.build_model` gives.

    Raises:
        ModelError: As `require_head`.
    """
    heads = require_head(module)
    assert isinstance(module, Normalised)
    learning = {id(part) for head in heads for part in head.modules()}
    module.hold([part for part in module.modules() if id(part) not in learning])
    module.requires_grad_(False)
    for head in heads:
        head.requires_grad_(True)


@contextlib.contextmanager
def without_downloads() -> Iterator[None]:
    """Fetch no weights until the end of the block: a network whose file is missing keeps its initial weights."""
    token = _may_download.set(False)
    try:
        yield
    finally:
        _may_download.reset(token)


def may_download() -> bool:
    """Say whether weights may be fetched now."""
    return _may_download.get()


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal; of one that has not changed, as it was."""
    found = path.stat()
    return _sha256(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, _changed: int, _size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
