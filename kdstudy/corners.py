"""Rehearse a study: one batch of every arm at both ends of its space, with an untrained teacher. Nothing is kept."""

from __future__ import annotations

from kdstudy.assembly import dataset_of
from kdstudy.errors import KdstudyError, StudyError
from kdstudy.models import build_model
from kdstudy.preflight import preflight
from kdstudy.study import Study, TrialConfig


def run_corners(study: Study) -> int:
    """Run one batch of every arm with all its values at their first ends, and at their last.

    Returns:
        The number of corners run.

    Raises:
        StudyError: Every corner that cannot be run, one line each.
        DataError: The data set is not to be had.
    """
    problems, corners = [], corner_configs(study)
    for where, config in corners:
        try:
            _rehearse(config)
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


def _rehearse(config: TrialConfig) -> None:
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
