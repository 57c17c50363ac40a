"""Dry-runs a trial, or every corner of a study: builds everything, trains at most one batch, keeps nothing."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch

from kdstudy.errors import KdstudyError, MapError, StudyError
from kdstudy.models import preserved_generators, require_trainable
from kdstudy.study import Study, TrialConfig
from kdstudy.training import StudentMapsEmptyError, choose_device, fixed_numerics, generator
from kdstudy.trial.build import dataset_of, student_spec, teacher_spec, verify_data
from kdstudy.trial.inputs import OwnInputs
from kdstudy.trial.run import TrialRun


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
    """Build everything a trial needs, so that what cannot work is reported before the study starts.

    Args:
        config: The trial.
        teacher: Trained or not.
        batch: Also train one batch and measure the probe once; nothing of it is kept.

    Raises:
        KdstudyError: The configuration cannot be run here, or the batch has no finite loss or gradient.
    """
    numerics = replace(config.numerics, graph="off")  # to compile takes minutes
    train = replace(config.train, clip_norm=None)  # one gradient that is no number would make all of them so
    config = replace(config, numerics=numerics, train=train)
    inputs = OwnInputs(choose_device(config.resources.gpus))
    with (
        fixed_numerics(config.resources.cpus, deterministic=config.numerics.deterministic),
        preserved_generators(),
        contextlib.closing(inputs),
        contextlib.closing(TrialRun(config, inputs, teacher=teacher)) as trial,
    ):
        if batch:
            _train_one_batch(trial, inputs)
        recipe = trial.recipe
        return Needs(recipe is not None, None if recipe is None else recipe.file_bytes())


def _train_one_batch(trial: TrialRun, inputs: OwnInputs) -> None:
    """Train one batch, whose loss and gradients must be finite numbers, and measure the probe."""
    totals = trial.distiller.begin_epoch(
        1,
        itertools.islice(inputs.batches(trial.config, trial.data, 1), 1),
        steps=1,
        directions=generator(trial.config.data_seed, "directions", 1),
        multipliers={},
    ).run()
    _require_finite(totals.terms, trial)
    if trial.probe is not None and trial.teacher is not None:
        with contextlib.suppress(StudentMapsEmptyError):
            trial.probe.measure(trial.student, trial.teacher)


def _require_finite(terms: Mapping[str, float | None], trial: TrialRun) -> None:
    """Refuse a first batch after which every trial would be lost: its numbers depend on no learning rate.

    Raises:
        MapError: Something of it is zero or not finite: what.
    """
    if not terms:
        raise MapError("the student's maps are zero over the whole first batch; mend its network, or name other layers")
    named = [("term", name) for name, value in terms.items() if value is None]
    parts = (("of the student's", trial.student.module), ("of the transfer method's", trial.distiller.transfer))
    named = named or [
        (f"the gradient {whose}", name)
        for whose, module in parts
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and not parameter.grad.isfinite().all()
    ]
    if not named:
        return
    what, more = " ".join((named[0][0], f"'{named[0][1]}'")), f" (and {len(named) - 1} more)" * (len(named) > 1)
    source = "the network's answers" if named[0][1] == "cross_entropy" else "what computes it"
    raise MapError(f"loss: {what}{more} is not a finite number in the first batch; mend {source}")


def run_corners(study: Study) -> int:
    """Train one batch of every arm with an untrained teacher: all values at their first ends, then at their last.

    Returns:
        The number of corners run.

    Raises:
        StudyError: Every corner that cannot be run, one line each.
        DataError: The data set is not available, or an image of it, of the test split too, cannot be decoded.
    """
    problems, corners = [], study.corners()
    own, cause = sorted({name for _, name in study.plugins() if ":" in name}), None
    verify_data(corners[0][1], study.confirm.searches)
    for where, config in corners:
        try:
            _dry_run(config)
        except KdstudyError as error:
            problems.append(f"{where}: {error}")
        except Exception as error:
            if not own:
                raise
            cause = cause or error
            said = " ".join(f"{type(error).__name__}: {error}".split())
            problems.append(f"{where}: {said}, in a batch with {' and '.join(own)}; mend it (--debug shows where)")
    if problems:
        raise StudyError(problems) from cause
    return len(corners)


def _dry_run(config: TrialConfig) -> None:
    data = dataset_of(config, with_test=False)
    require_trainable(student_spec(config, data))
    preflight(config, teacher_spec(config, data).build(seed=0), batch=True)
