"""Knowledge review by hand and against torchdistill."""

from __future__ import annotations

import pytest
import torch

from kdstudy.transfer.reviewkd import Fusion, ReviewTransfer, context_loss
from tests.transfer.waves import STUDENT, TORCHDISTILL, batch_of, context, fill, seen, wave


def test_context_loss_by_hand() -> None:
    # 2x2 maps are compared as they are (weight 1) and as one mean (weight 1/2).
    student, teacher = torch.tensor([1.0, -1.0, 1.0, 3.0]).view(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    assert context_loss(student, teacher).item() == pytest.approx((3 + 1 / 2) / 1.5)
    one = torch.full((1, 1, 1, 1), 2.0)
    assert context_loss(one, torch.zeros_like(one)).item() == 4.0


def test_context_loss_against_torchdistill() -> None:
    student, teacher = wave(2, 3, 8, 8, phase=0.2), wave(2, 3, 8, 8, phase=0.9)
    assert context_loss(student, teacher).item() == pytest.approx(0.18179145269120864, **TORCHDISTILL)
    small = context_loss(student[..., :2, :2], teacher[..., :2, :2]).item()
    assert small == pytest.approx(0.201800466295739, **TORCHDISTILL)


def test_fusion_against_torchdistill() -> None:
    # AttentionBasedFusion(3, 2, 4, uses_attention=True), filled in the order of its parameters.
    fusion = Fusion(3, 2, 4, deepest=False).double()
    fill([*fusion.enter.parameters(), *fusion.leave.parameters(), *fusion.gates.parameters()])
    feature, residual = fusion(STUDENT, wave(5, 2, 1, 1, phase=0.5), (2, 2))
    assert feature.sum().item() == pytest.approx(-13.281831445688121, **TORCHDISTILL)
    assert feature.square().sum().item() == pytest.approx(79.4142171517486, **TORCHDISTILL)
    assert residual.sum().item() == pytest.approx(15.044444222617098, **TORCHDISTILL)
    assert residual.square().sum().item() == pytest.approx(38.955229219975216, **TORCHDISTILL)


def test_levels_are_fused_from_the_deepest_up() -> None:
    method = ReviewTransfer(context((3, 2, 2), (4, 2, 2), layers=2), weight=2.0).double()
    fill(method.parameters())
    student = [wave(5, 3, 2, 2, phase=float(index)) for index in range(2)]
    teacher = [wave(5, 4, 2, 2, phase=float(index + 2)) for index in range(2)]
    terms = method.terms(seen(*student), seen(*teacher), batch_of(5))
    first, second, last = method.fusions
    f3, residual = last(student[1].mean((2, 3), keepdim=True), None, (1, 1))
    f2, residual = second(student[1], residual, (2, 2))
    f1, _ = first(student[0], residual, (2, 2))
    expected = {
        "reviewkd/layer1": context_loss(f1, teacher[0]),
        "reviewkd/layer2": context_loss(f2, teacher[1]),
        "reviewkd/pooled": context_loss(f3, teacher[1].mean((2, 3), keepdim=True)),
    }
    assert list(terms) == list(expected)
    assert {key: term.item() for key, term in terms.items()} == pytest.approx(
        {key: 2 * value.item() for key, value in expected.items()}
    )
    assert not any(name.startswith("gates") for name, _ in last.named_parameters()), "nothing deeper to fuse"


def test_warm_up_starts_low() -> None:
    method = ReviewTransfer(context((3, 2, 2), (3, 2, 2)), warmup=5.0)  # 8 training images, 5 a batch
    maps = seen(wave(5, 3, 2, 2).float()), seen(wave(5, 3, 2, 2, phase=1.0).float())
    first, second = (sum(method.terms(*maps, batch_of(5)).values()).item() for _ in range(2))
    assert second == pytest.approx(2 * first, rel=1e-5)
