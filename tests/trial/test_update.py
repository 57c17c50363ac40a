"""What a policy is handed of an epoch: each layer's own term, and a refusal that names every layer without one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from kdstudy.study import PluginSpec, StudentConfig
from kdstudy.transfer.attention import AttentionTransfer
from kdstudy.trial import inspect_parts
from kdstudy.trial.update import terms_of
from tests.configs import trial_config


def test_a_layer_s_term_is_the_one_that_bears_its_whole_name() -> None:
    terms = {"attention/blocks/1": 0.5, "attention/1": None, "kd": 2.0, "cross_entropy": 1.0, "attention/blocks": 4.0}
    assert terms_of(terms, ["blocks/1", "1", "blocks", "kd", "2"]) == [0.5, None, 4.0, None, None]


class Partly(AttentionTransfer):
    """Attention transfer that tells the first layer's term alone."""

    @property
    def term_layers(self) -> tuple[str, ...]:
        return self.layers[:1]


def test_one_layer_without_a_term_is_enough_to_refuse_a_policy_that_follows_terms() -> None:
    (fault,) = inspect_parts([trial_config(f"'{__name__}:Partly'", "{progress: {interval: 1}}")]).faults
    assert "has none of layer2, layer3; use it with" in fault.told()[1]
    assert not inspect_parts([trial_config(f"'{__name__}:Partly'", "{lag: {interval: 1}}")]).faults


class Smooth(nn.Module):
    """A network whose maps have derivatives that the tangent forms do not know."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(in_channels, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        held = torch.erf(self.second(torch.erf(self.first(images))))
        logits: Tensor = self.fc(held.mean((2, 3)))
        return logits


@pytest.mark.parametrize(("policy", "faults"), [("{layerwise: {interval: 2, map: hessian}}", 1), ("constant", 0)])
def test_what_a_policy_measures_with_is_built_before_anything_is_trained(policy: str, faults: int) -> None:
    config = trial_config("attention", policy)
    model = PluginSpec(f"{__name__}:Smooth", {})
    config = replace(config, student=StudentConfig(model), layers=(("first", "layer2"), ("second", "layer3")))
    found = inspect_parts([config]).faults
    assert [fault.path for fault in found] == ["arms.policies.layerwise"] * faults, found


def jumpy(progress: float, epochs: int) -> float:
    """A schedule of a user's own, with a slip."""
    raise ZeroDivisionError(f"{progress} of {epochs}")


def test_of_two_trials_that_differ_in_their_schedule_alone_both_are_looked_at() -> None:
    config = trial_config("none")
    other = replace(config, train=replace(config.train, schedule=PluginSpec(f"{__name__}:jumpy", {})))
    (fault,) = inspect_parts([config, other]).faults
    assert fault.path == "train.schedule" and "raised ZeroDivisionError: 0.0 of 3" in fault.told()[1]
