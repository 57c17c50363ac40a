"""Runs a pack: trials that see the same batches and the same teacher, trained one step each in turn in one process.

What they share is computed once per step, by the first that needs it: the batch, the teacher's pass over it, and what
a method observes of the teacher. Each member's numbers are bit for bit those of `kdstudy.trial.run.run_trial`.
"""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from kdstudy.errors import ClusterError, DataError, KdstudyError, StoreError
from kdstudy.models import GeneratorStates, generator_states, preserved_generators, set_generator_states
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.storage import Folder
from kdstudy.study import TrialConfig
from kdstudy.training import RankLostError, choose_device, fixed_numerics
from kdstudy.trial.inputs import OwnInputs, SharedInputs, TrialInputs
from kdstudy.trial.rank_processes import RankHost, RankJob, together
from kdstudy.trial.run import TrialRun

PackReport = Callable[[int, EpochRecord | None, TrialResult | None], bool]

INFRASTRUCTURE_ERRORS = (
    torch.OutOfMemoryError,
    torch.AcceleratorError,
    MemoryError,
    StoreError,
    ClusterError,
    DataError,
    RankLostError,
)
"""Errors that abort the whole pack instead of failing one trial."""


def run_pack(  # noqa: PLR0913 -- all but the first two by name
    configs: Mapping[int, TrialConfig],
    report: PackReport,
    *,
    teacher: nn.Module | None = None,
    folder: Folder | None = None,
    cache: Path | None = None,
    with_test: bool = False,
    study_id: str | None = None,
    at_safe_point: Callable[[], None] = lambda: None,
    rank_host: RankHost | None = None,
) -> None:
    """Train the students of a pack, one step each in turn; a single one as `kdstudy.trial.run.run_trial` does.

    Those with the fewest epochs go first, so that members whose checkpoints differ come into step. A member that ends,
    is stopped or raises leaves its share of the time to the others.

    Args:
        configs: The trials by number; what `common` returns must be equal.
        report: Called with a member's number and what `kdstudy.trial.run.run_trial` reports; or, once it has raised,
            without a record and with a result in state ``failed``. Returns whether the member is to continue.
        teacher: As for `kdstudy.trial.run.run_trial`.
        folder: That of the trials' folders, each named after its number.
        cache: As for `kdstudy.trial.run.run_trial`.
        with_test: As for `kdstudy.trial.run.run_trial`.
        study_id: What the students' files call the study; None where it has none.
        at_safe_point: Called when every member is checkpointed and reported.
        rank_host: As for `kdstudy.trial.run.run_trial`; a trial of several ranks has no other in its pack.

    Raises:
        StoreError: A store does not work; so do the other `INFRASTRUCTURE_ERRORS` end the pack.
    """
    first, *others = configs.values()
    assert all(common(other) == common(first) for other in others)
    assert not others or first.resources.ranks == 1
    device = choose_device(first.resources.gpus)
    job = RankJob(first, teacher, cache, with_test=with_test, head_only=False)

    def member(number: int, config: TrialConfig, inputs: TrialInputs) -> _Member:
        own = None if folder is None else folder / str(number)
        settings: dict[str, Any] = {"teacher": teacher, "folder": own, "cache": cache, "with_test": with_test}
        if study_id is not None:
            phase = "confirm" if with_test else "search"
            settings["origin"] = {"study_id": study_id, "trial": number, "phase": phase}
        return _Member(number, functools.partial(TrialRun, config, inputs, **settings), report, alone=not others)

    with (
        together(job, rank_host) as ranks,
        fixed_numerics(first.resources.cpus, deterministic=first.numerics.deterministic),
        preserved_generators(),
        contextlib.closing(SharedInputs(device) if others else OwnInputs(device, ranks)) as inputs,
        contextlib.ExitStack() as stack,
    ):
        members = [member(number, config, inputs) for number, config in configs.items()]
        for each in members:
            stack.callback(each.close)
        _take_turns(members, at_safe_point)


def common(config: TrialConfig) -> tuple[object, ...]:
    """Return what the members of a pack must have in common: all that decides batches and the teacher's pass."""
    return (
        *(config.data, config.teacher, config.student, config.layers, config.train.batch_size, config.transfer.name),
        *(config.resources, config.numerics, config.cache, config.data_seed, config.split_seed),
    )


def failure(error: Exception, epochs: int) -> TrialResult:
    """Return the result of a trial that raised: one line if a user can put it right, else the traceback."""
    message = str(error) if isinstance(error, KdstudyError) else "".join(traceback.format_exception(error))
    return TrialResult("failed", epochs=epochs, error=message)


def _take_turns(members: list[_Member], at_safe_point: Callable[[], None]) -> None:
    for member in members:
        member.start()
    while members := [member for member in members if member.active]:
        fewest = min(member.epochs for member in members)
        for member in members:
            if member.epochs == fewest:
                member.train_a_step()
        active = [member for member in members if member.active]
        if active and all(member.epochs > fewest for member in active):
            at_safe_point()
        members.append(members.pop(0))  # the first computes what is shared: each in turn


@final
class _Member:
    """One trial of a pack, with its own clock and its own states of the global random generators.

    Args:
        number: The trial's.
        build: Makes the trial, given a clock.
        report: Called with each epoch and the end; returns whether the trial is to continue.
        alone: Whether the pack has no other member, so that the global generators are its own anyway.

    Attributes:
        epochs: Number of epochs done and reported.
        active: Whether it has not ended.
    """

    def __init__(self, number: int, build: Callable[..., TrialRun], report: PackReport, *, alone: bool) -> None:
        self.epochs, self.active = 0, True
        self._number, self._build, self._report, self._alone = number, build, report, alone
        self._trial: TrialRun | None = None
        self._seconds = self._turn_began = 0.0
        self._generators: GeneratorStates | None = None

    def start(self) -> None:
        """Build the trial and restore it from its checkpoint."""
        self._take_turn(self._start)

    def train_a_step(self) -> None:
        """Train one step, the first of an epoch if none is in progress; or end the epoch if no step is left."""
        self._take_turn(self._train_a_step)

    def close(self) -> None:
        """Free all that the trial holds."""
        if self._trial is not None:
            self._trial.close()
        self._trial = None

    def _start(self) -> None:
        self._trial = self._build(clock=self._clock)
        for record in self._trial.restore():
            self._report_epoch(record)
        if self._trial.done:
            self._finish(self._trial)

    def _train_a_step(self) -> None:
        trial = self._trial
        assert trial is not None
        if not trial.in_epoch:
            trial.begin_epoch()
        if trial.step():
            return
        record = trial.end_epoch()
        if trial.done:
            self._finish(trial)
        else:
            self._report_epoch(record)

    def _finish(self, trial: TrialRun) -> None:
        self._report_epoch(trial.history[-1], trial.finish())
        self.active = False

    def _report_epoch(self, record: EpochRecord, result: TrialResult | None = None) -> None:
        self.epochs = record.epoch
        self.active = self._report(self._number, record, result) and self.active

    def _take_turn(self, turn: Callable[[], None]) -> None:
        self._turn_began = time.perf_counter()
        if self._generators is not None:
            set_generator_states(self._generators)
        try:
            turn()
        except INFRASTRUCTURE_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001  the trial boundary: whatever a plug-in raises is this trial's result
            self.active = False
            self._report(self._number, None, failure(error, self.epochs))
        if not self.active:
            self.close()
        elif not self._alone:
            self._generators = generator_states()
        self._seconds += time.perf_counter() - self._turn_began

    def _clock(self) -> float:
        return self._seconds + time.perf_counter() - self._turn_began
