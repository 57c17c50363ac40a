"""A trial as a member of a pack: its own clock, its own random generators, and what it raises is its own result."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from kdstudy.data import Batch
from kdstudy.errors import ClusterError, DataError, KdstudyError, StoreError, StudyError
from kdstudy.models import FeatureExtractor, GeneratorStates, generator_states, set_generator_states
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.training import EpochInProgress, RankLostError
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


def failure(error: Exception, epochs: int) -> TrialResult:
    """Return the result of a trial that raised: one line if a user can put it right, else the traceback."""
    message = str(error) if isinstance(error, KdstudyError) else "".join(traceback.format_exception(error))
    return TrialResult("failed", epochs=epochs, error=message)


@final
class Member:
    """One trial of a pack, with its own clock and its own states of the global random generators.

    Args:
        number: The trial's.
        build: Makes the trial, given a clock.
        report: Called with each epoch and the end; returns whether the trial is to continue.
        alone: Whether the pack has no other member, so that the global generators are its own anyway.

    Attributes:
        epochs: Number of epochs done and reported.
        active: Whether it has not ended.
        seconds: It has taken, but for the turn it is taking.
        batch: Of the step that it takes together with others, once it has been made.
        loss: Of that step, once it has been computed.
    """

    def __init__(self, number: int, build: Callable[..., TrialRun], report: PackReport, *, alone: bool) -> None:
        self.epochs, self.active, self.seconds = 0, True, 0.0
        self.batch: Batch | None = None
        self.loss: Tensor | None = None
        self._number, self._build, self._report, self._alone = number, build, report, alone
        self._trial: TrialRun | None = None
        self._turn_began = 0.0
        self._generators: GeneratorStates | None = None

    def start(self) -> None:
        """Build the trial and restore it from its checkpoint."""
        self._take_turn(self._start)

    def train_a_step(self) -> None:
        """Train one step, the first of an epoch if none is in progress; or end the epoch if no step is left."""
        self._take_turn(self._train_a_step)

    def take_batch(self) -> None:
        """Begin a step that is taken with others, the first of an epoch if none is in progress; or end the epoch."""
        self.batch = self.loss = None
        self._take_turn(self._take_batch)

    def compare(self, student: FeatureExtractor) -> None:
        """Compute the loss of the step, given what stands in for the student."""
        self._take_turn(lambda: self._compare(student))

    def learn(self) -> None:
        """End the step, the gradients being there."""
        self._take_turn(self._learn)

    @property
    def trial(self) -> TrialRun:
        """The trial, from `start` on as long as it is active."""
        assert self._trial is not None
        return self._trial

    @property
    def in_epoch(self) -> EpochInProgress:
        """The epoch in progress."""
        assert self.trial.epoch is not None
        return self.trial.epoch

    @property
    def images(self) -> Tensor:
        """Of the batch."""
        assert self.batch is not None
        return self.batch.images

    def close(self) -> None:
        """Free all that the trial holds."""
        self.batch = self.loss = None
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
        self._begin_epoch()
        if not self.trial.step():
            self._end_epoch()

    def _take_batch(self) -> None:
        self._begin_epoch()
        self.batch = self.in_epoch.next_batch()
        if self.batch is None:
            self._end_epoch()

    def _compare(self, student: FeatureExtractor) -> None:
        assert self.batch is not None
        written = self.images._version
        self.loss = self.in_epoch.loss(self.batch, student)
        if self.images._version != written:
            raise StudyError(["numerics.packs: the method writes into images, which the students share; write turns"])

    def _learn(self) -> None:
        self.in_epoch.update()

    def _begin_epoch(self) -> None:
        if self.trial.epoch is None:
            self.trial.begin_epoch()

    def _end_epoch(self) -> None:
        record = self.trial.end_epoch()
        if self.trial.done:
            self._finish(self.trial)
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
        self.seconds += time.perf_counter() - self._turn_began

    def _clock(self) -> float:
        return self.seconds + time.perf_counter() - self._turn_began
