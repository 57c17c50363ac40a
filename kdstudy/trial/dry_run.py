"""Dry-run a trial, or every corner of a study: build everything, train at most one batch, keep nothing."""

from __future__ import annotations

import contextlib
import itertools
from typing import NamedTuple

import torch

from kdstudy.errors import KdstudyError, StudyError
from kdstudy.models import build_model
from kdstudy.study import Study, TrialConfig
from kdstudy.training import StudentMapsEmptyError, fixed_numerics, generator
from kdstudy.trial.build import dataset_of
from kdstudy.trial.inputs import Sources
from kdstudy.trial.run import Trial


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
                _one_batch(trial, sources)
            trial.student.release()
            return Needs(trial.teaching is not None, None if trial.teaching is None else trial.teaching.file_bytes())
        finally:
            sources.release()


def _one_batch(trial: Trial, sources: Sources) -> None:
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


def run_corners(study: Study) -> int:
    """Train one batch of every arm with an untrained teacher: all values at their first ends, then at their last.

    Returns:
        The number of corners run.

    Raises:
        StudyError: Every corner that cannot be run, one line each.
        DataError: The data set is not to be had.
    """
    problems, corners = [], corner_configs(study)
    for where, config in corners:
        try:
            _dry_run(config)
        except KdstudyError as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise StudyError(problems)
    return len(corners)


def corner_configs(study: Study) -> list[tuple[str, TrialConfig]]:
    """Return (name, trial) of each arm's two corners; one where nothing is searched."""
    corners = []
    for arm in study.arms:
        space = study.space(arm)
        for end in (0, -1) if space else (0,):
            values = {path: hole.ends()[end] for path, hole in space.items()}
            config = study.config(arm.name, values, data_seed=0, init_seed=0)
            corners.append((f"{arm.name} at its {'first' if end == 0 else 'last'} ends", config))
    return corners


def _dry_run(config: TrialConfig) -> None:
    data = dataset_of(config, with_test=False)
    model = config.teacher.model
    teacher = build_model(
        model.name,
        model.options,
        num_classes=data.num_classes,
        image_shape=data.image_shape,
        mean=config.teacher.mean or data.mean,
        std=config.teacher.std or data.std,
        seed=0,
    )
    preflight(config, teacher, batch=True)
