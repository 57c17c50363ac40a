"""A trial built for nothing but to see that it can be, and what it would need."""

from __future__ import annotations

import contextlib
import itertools
from typing import NamedTuple

import torch

from kdstudy.sources import Sources
from kdstudy.study import TrialConfig
from kdstudy.training.numerics import fixed_numerics
from kdstudy.training.probe import StudentMapsEmptyError
from kdstudy.training.seeding import generator
from kdstudy.trial import Trial


class Needs(NamedTuple):
    """What a trial needs of the teacher.

    Attributes:
        teacher: Whether its steps look at the teacher.
        file_bytes: Bytes of the teacher's outputs that the configuration's ``cache`` would keep of an epoch (or a
            view); None where it would keep nothing.
    """

    teacher: bool
    file_bytes: int | None


def preflight(config: TrialConfig, teacher: torch.nn.Module, *, batch: bool = False) -> Needs:
    """Build everything a trial needs, so that what cannot work is said before the study starts.

    Args:
        config: The trial.
        teacher: Trained or not.
        batch: Also train one batch and measure the probe once; nothing of it is kept.

    Raises:
        KdstudyError: The configuration cannot be run here.
    """
    with fixed_numerics(config.resources.cpus):
        sources = Sources()
        try:
            trial = Trial(config, lambda _record, _result: None, sources, teacher=teacher)
            if batch:
                _rehearse(trial, sources)
            trial.student.release()
            return Needs(trial.teaching is not None, None if trial.teaching is None else trial.teaching.file_bytes())
        finally:
            sources.release()


def _rehearse(trial: Trial, sources: Sources) -> None:
    """Train one batch and measure the probe."""
    trial.distiller.train_epoch(
        1,
        itertools.islice(sources.batches(trial.config, trial.data, trial.device, 1), 1),
        steps=1,
        directions=generator(trial.config.data_seed, "directions", 1),
        multipliers={},
    )
    if trial.probe is not None and trial.teacher is not None:
        with contextlib.suppress(StudentMapsEmptyError):
            trial.probe.measure(trial.student, trial.teacher)
