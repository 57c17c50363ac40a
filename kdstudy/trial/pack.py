"""A pack: trials that see the same batches and the same teacher, trained a step each in turn in one process.

What they share is computed once a step, by whoever comes first: the batch, the teacher's pass over it, and what a
method says it observes of it. Each member's numbers are bit for bit those of `kdstudy.trial.run.run_trial`.
"""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdstudy.errors import ClusterError, DataError, KdstudyError, StoreError
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.storage import Folder
from kdstudy.study import TrialConfig
from kdstudy.training import fixed_numerics
from kdstudy.trial.inputs import SharedSources, Sources
from kdstudy.trial.run import Trial

Listen = Callable[[int, EpochRecord | None, TrialResult | None], bool]

NOBODYS = (torch.OutOfMemoryError, torch.AcceleratorError, MemoryError, StoreError, ClusterError, DataError)
"""Errors that are no trial's result: they end the pack."""


def run_pack(  # noqa: PLR0913 -- all but the first two by name
    configs: Mapping[int, TrialConfig],
    report: Listen,
    *,
    teacher: nn.Module | None = None,
    folder: Folder | None = None,
    cache: Path | None = None,
    with_test: bool = False,
    rest: Callable[[], None] = lambda: None,
) -> None:
    """Train the students of a pack, a step of each in turn; a single one as `kdstudy.trial.run.run_trial` does.

    Those with the fewest epochs go first, so that members whose checkpoints differ come into step. One that ends, is
    let go or raises leaves its share of the time to the others.

    Args:
        configs: The trials by number; what `common` returns must be equal.
        report: Called with a member's number and what `kdstudy.trial.run.run_trial` reports; or, once it has raised,
            without a record and with a result in state ``failed``. Returns whether the member is to go on.
        teacher: As for `kdstudy.trial.run.run_trial`.
        folder: That of the trials' folders, each named after its number.
        cache: As for `kdstudy.trial.run.run_trial`.
        with_test: Likewise.
        rest: Called whenever all that has been done is in checkpoints and has been reported.

    Raises:
        StoreError: A store does not work; so do the other errors in `NOBODYS` end the pack.
    """
    first, *others = configs.values()
    assert all(common(other) == common(first) for other in others)
    sources = SharedSources() if others else Sources()

    def member(number: int, config: TrialConfig) -> _Member:
        own = None if folder is None else folder / str(number)
        settings: dict[str, Any] = {"teacher": teacher, "folder": own, "cache": cache, "with_test": with_test}
        return _Member(number, functools.partial(Trial, config, sources=sources, **settings), report)

    with fixed_numerics(first.resources.cpus):
        try:
            _take_turns([member(*each) for each in configs.items()], rest)
        finally:
            sources.release()


def common(config: TrialConfig) -> tuple[object, ...]:
    """Return what the members of a pack must have in common: all that decides batches and the teacher's pass."""
    return (
        *(config.data, config.teacher, config.student, config.layers, config.train.batch_size, config.transfer.name),
        *(config.resources, config.numerics, config.cache, config.data_seed, config.split_seed),
    )


def failure(error: Exception, epochs: int) -> TrialResult:
    """Return the result of a trial that raised: one line if a user can put it right, else the traceback."""
    told = str(error) if isinstance(error, KdstudyError) else "".join(traceback.format_exception(error))
    return TrialResult("failed", epochs=epochs, error=told)


def _take_turns(members: list[_Member], rest: Callable[[], None]) -> None:
    several = len(members) > 1
    for member in members:  # to where its checkpoint stands
        member.advance(ambient=several)
    while members := [member for member in members if member.open]:
        least = min(member.epoch for member in members)
        for member in members:
            if member.epoch == least:
                member.advance(ambient=several)
        if any(member.open for member in members) and all(m.epoch > least for m in members if m.open):
            rest()
        members.append(members.pop(0))  # who comes first computes what is shared: each in turn


class _Member:
    """One trial of a pack: its turns, its end, the time it takes, its random streams.

    Args:
        number: The trial's.
        build: Makes the trial, given ``report`` and ``clock``.
        listen: Hears of its epochs and its end.

    Attributes:
        epoch: Epochs done and reported.
        open: Whether it goes on.
    """

    def __init__(self, number: int, build: Callable[..., Trial], listen: Listen) -> None:
        self.epoch, self.open = 0, True
        self._number, self._listen = number, listen
        self._turns = self._life(build)
        self._spent = self._since = 0.0
        self._streams: list[Tensor] = []

    def _life(self, build: Callable[..., Trial]) -> Generator[None, None, TrialResult]:
        return (yield from build(report=self._hear, clock=self._clock).run())

    def _hear(self, record: EpochRecord, result: TrialResult | None) -> None:
        self.epoch = record.epoch
        self.open = self._listen(self._number, record, result) and self.open

    def _clock(self) -> float:
        return self._spent + time.perf_counter() - self._since

    def advance(self, *, ambient: bool) -> None:
        """Take a turn.

        Args:
            ambient: Whether torch's global streams are the member's own during its turns.
        """
        self._since = time.perf_counter()
        if ambient and self._streams:
            _set_streams(self._streams)
        try:
            next(self._turns)
        except StopIteration:
            self.open = False
        except NOBODYS:
            raise
        except Exception as error:  # noqa: BLE001  the trial boundary: whatever a plug-in raises is this trial's result
            self.open = False
            self._listen(self._number, None, failure(error, self.epoch))
        if not self.open:
            self._turns.close()  # with all that it holds
        elif ambient:
            self._streams = _streams()
        self._spent += time.perf_counter() - self._since


def _streams() -> list[Tensor]:
    """Return the state of torch's global random streams."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())]


def _set_streams(states: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if states[1:]:
        torch.cuda.set_rng_state_all(states[1:])
