"""Looking at a network leaves no trace on it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import kdstudy.models
from kdstudy.models import FeatureExtractor, evaluating, watching


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten())


def test_every_submodule_gets_its_own_mode_back() -> None:
    module = network().train()
    module[1].eval()  # a norm that is held fixed in training
    with pytest.raises(ZeroDivisionError), evaluating(module):
        assert not any(child.training for child in module.modules())
        raise ZeroDivisionError
    assert [child.training for child in module.modules()] == [True, True, False, True]


def test_watched_layers_are_named_as_they_run_and_only_within_the_block() -> None:
    module, calls = network(), list[tuple[str, Any, Any]]()
    images = torch.zeros(1, 1, 4, 4)
    with watching({"norm": module[1], "conv": module[0]}, lambda *call: calls.append(call)):
        module(images)
    module(images)
    assert [name for name, _, _ in calls] == ["conv", "norm"]
    assert calls[0][1][0] is images
    assert calls[1][1][0] is calls[0][2]


def test_a_network_can_be_copied_while_it_is_watched() -> None:
    module = network()
    extractor = FeatureExtractor(module, ["0"])
    assert copy.deepcopy(module)(torch.zeros(1, 1, 4, 4)).shape == (1, 8)
    extractor.release()


def test_an_extractor_asks_its_memory_only_where_no_gradient_is_wanted() -> None:
    asked: list[Tensor] = []

    def memory(images: Tensor, _key: object, make: Any) -> Any:
        asked.append(images)
        return make()

    extractor, images = FeatureExtractor(network(), ["0"], memory=memory), torch.zeros(2, 1, 4, 4)
    extractor(images)
    assert not asked
    with torch.no_grad():
        output = extractor(images)
    assert asked == [images]
    assert output.features[0].shape == (2, 2, 2, 2)


def test_the_older_name_of_the_extractor_still_works() -> None:
    with pytest.warns(DeprecationWarning, match="FeatureExtractor"):
        assert kdstudy.models.Network is FeatureExtractor
