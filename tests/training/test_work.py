"""How much work a step does, counted instead of timed: passes, multiplications, waits for the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kdstudy.layerwise import layer_groups
from kdstudy.study import ResourcesConfig
from kdstudy.training import Distiller, OptimizerSettings
from kdstudy.training.rng import generator
from kdstudy.trial import build_transfer, dataset_of, networks, training_batches
from tests.configs import fresh_teacher, trial_config


def distiller_of(transfer: str, *, gpus: int = 0) -> tuple[Distiller, Any, Any]:
    device = torch.device("cuda" if gpus else "cpu")
    config = dataclasses.replace(trial_config(transfer), resources=ResourcesConfig(gpus=gpus))
    data = dataset_of(config, with_test=False)
    data = dataclasses.replace(data, train=data.train.to(device))
    student, teacher, context = networks(config, data, fresh_teacher(), device)
    spec = config.transfer
    distiller = Distiller(
        student,
        teacher,
        build_transfer(spec.name, spec.options, context, seed=0).to(device),
        groups=layer_groups(student.module, context.layers, data.image_shape),
        optimizer=OptimizerSettings(0.05, 0.9, 5e-4, nesterov=False),
        schedule=lambda _: 1.0,
    )
    return distiller, config, data


def multiplications(transfer: str) -> tuple[float, float]:
    """Student's and teacher's multiplications of one step, in those of a plain training step."""
    distiller, config, data = distiller_of(transfer)
    batch = next(training_batches(config, data, torch.device("cpu"), 1))
    assert distiller.teacher is not None
    distiller.student.module.train()
    with FlopCounterMode(display=False) as plain:
        torch.nn.functional.cross_entropy(distiller.student.module(batch.images), batch.labels).backward()
    draws = distiller.transfer.draw(batch.images, generator(0, "directions"))
    with FlopCounterMode(display=False) as teacher, torch.no_grad():
        target = distiller.transfer.observe(distiller.teacher, batch.images, draws)
    with FlopCounterMode(display=False) as student:
        own = distiller.transfer.observe(distiller.student, batch.images, draws)
        terms = distiller.transfer.terms(own, target, batch)
        terms["labels"] = torch.nn.functional.cross_entropy(own.logits, batch.labels)
        torch.stack(list(terms.values())).sum().backward()
    base = plain.get_total_flops()
    return student.get_total_flops() / base, teacher.get_total_flops() / base


@pytest.mark.parametrize(
    ("transfer", "floor"),
    [
        ("none", 1.0),
        ("kd", 1.0),
        ("attention", 1.0),
        ("jacobian", 2.0),
        ("hessian", 2.0),
        ("{jacobian: {fraction: 0.25}}", 1.25),
        ("{hessian: {fraction: 0.25}}", 1.25),
        ("{hessian: {form: bilinear}}", 3.0),
    ],
)
def test_a_step_multiplies_no_more_than_its_method_needs(transfer: str, floor: float) -> None:
    student, teacher = multiplications(transfer)
    # The tangent enters the stem without the image's own gradient and leaves before the classifier.
    assert floor - 0.05 <= student <= floor + 0.02
    # The teacher here is the student's twin: a forward pass is a third of a step.
    assert teacher <= floor / 3 + 0.03


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("transfer", ["none", "kd", "attention", "jacobian", "hessian"])
def test_no_step_waits_for_the_device(transfer: str) -> None:
    distiller, config, data = distiller_of(transfer, gpus=1)

    def watched() -> Iterator[Any]:
        batches = training_batches(config, data, torch.device("cuda"), 1)
        yield next(batches)  # the first one may look at its maps
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield from batches
        finally:
            torch.cuda.set_sync_debug_mode("default")

    totals = distiller.begin_epoch(
        1, watched(), steps=6, directions=generator(0, "directions", 1), multipliers={}
    ).run()
    assert totals.loss > 0
