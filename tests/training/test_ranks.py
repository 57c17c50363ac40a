"""Ranks that share every batch take the steps of one process, whatever the method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from kdstudy.models import FeatureExtractor, synchronise_batch_norms
from kdstudy.plugins import TRANSFERS
from kdstudy.testing.networks import context_of, small_batch, small_net
from kdstudy.training import BatchShare, Distiller, OptimizerSettings, Ranks
from kdstudy.transfer import Batch
from tests.training.ranks import together

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in TRANSFERS},
    "kd of every layer": ("attention", {"kd_weight": 1.0}),
    "jacobian projection": ("jacobian", {"form": "projection", "fraction": 0.6}),
    "jacobian peak of parameters": ("jacobian", {"form": "peak", "wrt": "parameters"}),
    "jacobian of a part": ("jacobian", {"fraction": 0.6, "normalise": "teacher"}),
    "hessian bilinear": ("hessian", {"form": "bilinear", "normalise": "sample"}),
    "hessian hvp": ("hessian", {"form": "hvp"}),
    "fitnet of all": ("fitnet", {"at": "all"}),
}
STEPS = 3


def trained(case: str, ranks: Ranks | None, *, norms: bool) -> dict[str, Any]:
    """Train some steps; return the losses and all that has changed."""
    plugin, options = CASES[case]
    widths = (4, 6, 8) if options.get("wrt") == "parameters" else (5, 6, 9)
    student, teacher = small_net(1), small_net(2, widths=widths).eval()
    if not norms:
        for index in (1, 2, 3):
            student.get_submodule(f"stage{index}")[1] = nn.Identity()
    context = context_of(student, teacher)
    torch.manual_seed(0)
    transfer = TRANSFERS.load(plugin)(context, **options).double()
    if ranks is not None and norms:
        synchronise_batch_norms(student, ranks)
    distiller = Distiller(
        FeatureExtractor(student, context.layers),
        FeatureExtractor(teacher, context.teacher_layers),
        transfer,
        groups={"head": [name for name, _ in student.named_parameters()]},
        optimizer=OptimizerSettings(1e-3, 0.9, 5e-4, nesterov=False),
        schedule=lambda _: 1.0,
        share=None if ranks is None else BatchShare(ranks, transfer),
    )
    images, labels, indices = small_batch()
    rows = slice(None) if ranks is None else ranks.rows
    batches = [Batch(images.roll(step, 0)[rows], labels.roll(step, 0), indices.roll(step, 0)) for step in range(STEPS)]
    totals = distiller.begin_epoch(
        1, batches, steps=STEPS, directions=torch.Generator().manual_seed(3), multipliers={}, norms=True
    ).run()
    state = {**student.state_dict(), **{f"transfer.{key}": each for key, each in transfer.state_dict().items()}}
    return {"terms": totals.terms, "norms": totals.norms, "state": {k: v.clone() for k, v in state.items()}}


def every_case(ranks: Ranks) -> dict[tuple[str, bool], dict[str, Any]]:
    return {(case, norms): trained(case, ranks, norms=norms) for case in CASES for norms in (True, False)}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, bool], dict[str, Any]]]:
    return together(every_case, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("norms", [True, False], ids=["synchronised batch norm", "no batch norm"])
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_train_as_one_process(case: str, norms: bool, of_two: list[dict]) -> None:
    alone = trained(case, None, norms=norms)
    first, second = (each[case, norms] for each in of_two)
    assert first["terms"] == pytest.approx(alone["terms"], rel=1e-9)
    for layer, expected in alone["norms"].items():
        assert first["norms"][layer] == pytest.approx(expected, rel=1e-8)
    assert first["state"].keys() == alone["state"].keys()
    for name, expected in alone["state"].items():
        torch.testing.assert_close(first["state"][name], expected, rtol=1e-7, atol=1e-9)
        assert torch.equal(first["state"][name], second["state"][name]), f"the ranks disagree on {name}"
