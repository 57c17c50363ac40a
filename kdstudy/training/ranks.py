"""The processes that train one trial together, its ranks: who they are, and the few things they tell each other.

Every rank calls the same of these in the same order; one that is alone calls none, so that the code of a trial reads as
that of one process. What goes between ranks are tensors and plain values, no code.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar, final

import torch
from torch import Tensor, distributed
from torch._C._distributed_c10d import Store

from kdstudy.seeds import derive

TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for the others. One that ends is noticed at once; this is for one that no longer moves."""

Plain = TypeVar("Plain")


class RankLostError(Exception):
    """Another rank has gone: the trial has to start again from its checkpoint."""


@final
class Ranks:
    """The ranks of a trial, seen from one of them; `ALONE` where there is one.

    Args:
        rank: Which this is, from 0; the first reports and writes.
        size: W, how many there are, >= 1.
        device: Where it trains.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.size = rank, size
        self._device = device or torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this rank reports and writes."""
        return self.rank == 0

    @property
    def rows(self) -> slice:
        """Which samples of a batch are this rank's: sample i is rank i % W's."""
        return slice(self.rank, None, self.size)

    @property
    def described(self) -> dict[str, int]:
        """What a result's numerics say of them: nothing of one that is alone."""
        return {} if self.size == 1 else {"ranks": self.size}

    def seed(self, seed: int) -> int:
        """Return the seed of this rank's global generators: dropout has masks of its own on each."""
        return seed if self.first else derive(seed, "rank", self.rank)

    def gather(self, tensor: Tensor) -> Tensor:
        """Return every rank's tensor, (W, ...), without gradients; all are of one shape."""
        own = tensor.detach().contiguous()
        found = own.new_empty((self.size, *own.shape))
        with _noticing():
            distributed.all_gather([*found.unbind()], own)
        return found

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over ranks, the same bits on each; without gradients."""
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        with _noticing():
            distributed.all_reduce(total)
        return total

    def first_of(self, tensor: Tensor) -> Tensor:
        """Return the first rank's tensor."""
        copy = tensor.detach().clone(memory_format=torch.contiguous_format)
        with _noticing():
            distributed.broadcast(copy, 0)
        return copy

    def from_first(self, make: Callable[[], Plain]) -> Plain:
        """Return what ``make`` gives on the first rank, the only one that calls it: plain values and CPU tensors."""
        if self.size == 1:
            return make()
        made = make() if self.first else None
        content = _packed(made) if self.first else b""
        length = int(self.first_of(torch.tensor([len(content)], device=self._device)))
        sent = torch.zeros(length, dtype=torch.uint8, device=self._device)
        if self.first:
            sent.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        received = self.first_of(sent)
        found: Plain = made if self.first else _unpacked(received)  # type: ignore[assignment]
        return found

    def of_each(self, value: Plain) -> list[Plain]:
        """Return every rank's value, plain or of CPU tensors, in their order."""
        if self.size == 1:
            return [value]
        content = _packed(value)
        lengths = self.gather(torch.tensor([len(content)], device=self._device)).flatten().tolist()
        padded = torch.zeros(max(lengths), dtype=torch.uint8, device=self._device)
        padded[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self._device)
        parts = self.gather(padded)
        return [_unpacked(part[:length]) for part, length in zip(parts, lengths, strict=True)]


ALONE = Ranks()
"""One process trains the trial."""


@contextlib.contextmanager
def joined(store: Store, rank: int, size: int, device: torch.device) -> Iterator[Ranks]:
    """Meet the other ranks; leave them at the end of the block.

    Args:
        store: Where they find each other.
        rank: Which this is.
        size: How many there are.
        device: Where this one trains: nccl between GPUs, gloo between CPUs.

    Raises:
        RankLostError: They cannot be met.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    with _noticing():
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield Ranks(rank, size, device)
    finally:
        distributed.destroy_process_group()


@contextlib.contextmanager
def _noticing() -> Iterator[None]:
    """Turn what torch raises where another rank has gone, or does not answer, into one kind of error."""
    try:
        yield
    except RuntimeError as error:  # gloo raises it as such; torch's own kinds derive from it
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise RankLostError(f"another rank of the trial has gone or does not answer ({reason})") from error


def _packed(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _unpacked(content: Tensor) -> Any:
    return torch.load(io.BytesIO(content.cpu().numpy().tobytes()), map_location="cpu", weights_only=True)
