"""What all map methods share: names, weights, soft targets, pooling, empty maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.attention import AttentionTransfer
from kdstudy.transfer.base import Batch, Observation, TransferContext
from kdstudy.transfer.losses import soft_target_loss
from kdstudy.transfer.map_transfer import EmptyMapError

Build = Callable[..., nn.Module]
ContextOf = Callable[..., TransferContext]


def observation(*maps: torch.Tensor) -> Observation:
    return Observation(torch.zeros(6, 5), maps)


def test_attention_terms_by_hand(small_net: Build, context_of: ContextOf, batch: Batch) -> None:
    context = replace(
        context_of(small_net(), small_net()),
        layers=("a",),
        student_shapes=((1, 1, 2),),
        teacher_shapes=((1, 1, 2),),
    )
    student, teacher = torch.tensor([[[3.0, 4.0]]] * 6), torch.tensor([[[0.0, 1.0]]] * 6)
    terms = AttentionTransfer(context, weight=10.0).terms(observation(student), observation(teacher), batch)
    assert {name: value.item() for name, value in terms.items()} == {"attention/a": pytest.approx(4.0)}


def test_soft_targets_are_added_in_one_place(small_net: Build, context_of: ContextOf, batch: Batch) -> None:
    student, teacher = small_net(1), small_net(2).eval()
    method = AttentionTransfer(context_of(student, teacher), kd_weight=0.5, temperature=3.0)
    seen = [
        method.observe(FeatureExtractor(module, method.layers), batch.images, None) for module in (student, teacher)
    ]
    terms = method.terms(*seen, batch)
    expected = 0.5 * soft_target_loss(seen[0].logits, seen[1].logits, 3.0, multilabel=False)
    assert list(terms) == ["attention/stage1", "attention/stage2", "attention/stage3", "kd"]
    assert torch.equal(terms["kd"], expected)
    several = batch._replace(labels=torch.zeros(6, 5))
    assert not torch.equal(method.terms(*seen, several)["kd"], expected)


def test_larger_maps_are_pooled(small_net: Build, context_of: ContextOf, batch: Batch) -> None:
    student, teacher = small_net(1), small_net(2, strides=(1, 1, 2))
    method = AttentionTransfer(context_of(student, teacher))
    assert method.sizes == ((8, 8), (4, 4), (4, 4))
    for module in (student, teacher):
        maps = method.observe(FeatureExtractor(module, method.layers), batch.images, None).maps
        assert [tuple(m.shape) for m in maps] == [(6, 8, 8), (6, 4, 4), (6, 4, 4)]


@pytest.mark.parametrize("owner", ["student", "teacher"])
def test_an_empty_map_is_an_error(small_net: Build, context_of: ContextOf, batch: Batch, owner: str) -> None:
    networks = {"student": small_net(1), "teacher": small_net(2).eval()}
    nn.init.zeros_(networks[owner].stage2[1].weight)
    nn.init.constant_(networks[owner].stage2[1].bias, -1.0)
    method = AttentionTransfer(context_of(**networks))
    seen = [method.observe(FeatureExtractor(module, method.layers), batch.images, None) for module in networks.values()]
    with pytest.raises(EmptyMapError, match=rf"^attention: the {owner}'s map at layer 'stage2' is zero") as caught:
        method.terms(*seen, batch)
    assert (caught.value.owner, caught.value.layer) == (owner, "stage2")
    method.check()  # reported once


def test_one_empty_sample_is_no_error(small_net: Build, context_of: ContextOf, batch: Batch) -> None:
    method = AttentionTransfer(context_of(small_net(1), small_net(2)))
    maps = tuple(torch.rand(6, *size) for size in method.sizes)
    maps[0][0] = 0
    terms = method.terms(observation(*maps), observation(*maps), batch)
    assert all(value.item() == pytest.approx(0) for value in terms.values())


def test_no_layer_is_an_error(small_net: Build, context_of: ContextOf) -> None:
    with pytest.raises(MapError, match="no layer"):
        AttentionTransfer(replace(context_of(small_net(), small_net()), layers=()))
