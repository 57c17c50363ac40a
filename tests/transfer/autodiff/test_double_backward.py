"""The twin stream: the ordinary pass is untouched, and no sample's derivative sees another sample."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.autodiff.double_backward import Frozen, differentiable
from kdstudy.transfer.base import Batch

LAYERS = ("stage1", "stage2", "stage3")


@pytest.mark.parametrize("count", [6, 2])
def test_ordinary_pass_is_untouched(small_net: Callable[..., nn.Module], batch: Batch, count: int) -> None:
    module, plain = small_net().train(), small_net().train()
    run = differentiable(FeatureExtractor(module, LAYERS), batch.images, count)
    assert torch.equal(run.logits, plain(batch.images))
    for a, b in zip(module.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(
        torch.autograd.grad(run.logits.square().sum(), list(module.parameters())),
        torch.autograd.grad(plain(batch.images).square().sum(), list(plain.parameters())),
        strict=True,
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("count", [6, 2])
def test_twin_has_the_same_values_and_separate_samples(
    small_net: Callable[..., nn.Module], batch: Batch, count: int
) -> None:
    module = small_net().train()
    features = FeatureExtractor(copy.deepcopy(module), LAYERS)(batch.images).features
    run = differentiable(FeatureExtractor(module, LAYERS), batch.images, count)
    for twin, feature in zip(run.features, features, strict=True):
        torch.testing.assert_close(twin, feature[:count], rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(run.features[-1][0].square().sum(), run.inputs)
    assert gradient[0].abs().max() > 0
    assert (gradient[1:] == 0).all()


def test_eval_network_runs_once(small_net: Callable[..., nn.Module], batch: Batch) -> None:
    module = small_net().eval()
    passes = []
    module.stage1.register_forward_hook(lambda _m, _i, output: passes.append(type(output)))
    differentiable(FeatureExtractor(module, LAYERS), batch.images, 6)
    assert passes == [torch.Tensor]


def test_dropout_has_one_mask(batch: Batch) -> None:
    streams = functional.dropout(Frozen(batch.images, (batch.images,), None), 0.5)
    assert torch.equal(streams.value, streams.twin)


def test_any_function_goes_through_but_mixing_samples_does_not(batch: Batch) -> None:
    streams = Frozen(batch.images, (batch.images[:2],), (6, 2))
    normed = functional.layer_norm(streams, (8,)).softmax(1).view(6, -1)
    torch.testing.assert_close(normed.twin, normed.value[:2], rtol=0, atol=1e-12)
    with pytest.raises(MapError, match=r"fraction: 1\.0"):
        streams.mean(0)
