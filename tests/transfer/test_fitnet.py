"""Hints by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdstudy.transfer.fitnet import HintTransfer
from tests.transfer.waves import STUDENT, TEACHER, batch_of, context, fill, seen, wave


def test_equal_channels_are_compared_as_they_are() -> None:
    method = HintTransfer(context((1, 2, 2), (1, 2, 2)))
    student, teacher = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [3.0, 1.0]])
    terms = method.terms(seen(student.view(1, 1, 2, 2)), seen(teacher.view(1, 1, 2, 2)), batch_of(1))
    assert terms["fitnet/layer1"].item() == pytest.approx(100 * (4 + 9) / 4)
    assert not list(method.parameters())


def test_the_larger_is_pooled_to_the_smaller() -> None:
    method = HintTransfer(context((1, 2, 2), (1, 1, 1)), weight=1.0)
    student, teacher = (
        torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2),
        torch.tensor([4.0]).view(1, 1, 1, 1),
    )
    assert method.terms(seen(student), seen(teacher), batch_of(1))["fitnet/layer1"].item() == 1.5**2


def test_other_channels_go_through_convolution_and_batch_norm() -> None:
    method = HintTransfer(context((3, 2, 2), (4, 2, 2)), weight=1.0).double()
    adaptor = method.adaptors[0]
    assert [type(layer) for layer in adaptor] == [nn.Conv2d, nn.BatchNorm2d]
    fill(method.parameters())
    weight, scale, shift = (parameter.detach() for parameter in method.parameters())
    mixed = torch.einsum("oi,bihw->bohw", weight[:, :, 0, 0], STUDENT)
    mean, variance = mixed.mean((0, 2, 3), keepdim=True), mixed.var((0, 2, 3), keepdim=True, correction=0)
    column = (slice(None), None, None)
    adapted = (mixed - mean) / (variance + 1e-5).sqrt() * scale[column] + shift[column]
    expected = (adapted - TEACHER).square().mean().item()
    value = method.terms(seen(STUDENT), seen(TEACHER), batch_of(5))["fitnet/layer1"].item()
    assert value == pytest.approx(expected, rel=1e-10)


def test_by_default_the_middle_layer_gets_the_hint() -> None:
    method = HintTransfer(context((3, 2, 2), (3, 2, 2), layers=3))
    assert method.chosen == (1,)
    assert list(method.terms(seen(wave(2, 3, 2, 2)), seen(wave(2, 3, 2, 2)), batch_of(2))) == ["fitnet/layer2"]
