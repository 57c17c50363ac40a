"""Faster arithmetic: close to the reference, exact where it must be, and the default is the reference itself."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from kdstudy.errors import ModelError
from kdstudy.models import FeatureExtractor, build_model
from kdstudy.study import NumericsConfig, TrialConfig
from kdstudy.training.bn_folding import fold
from kdstudy.training.checkpoint import weights_sha256
from kdstudy.training.numerics import student_network, teacher_network
from kdstudy.trial import run_trial
from tests.configs import fresh_teacher, trial_config

SHAPE = (3, 16, 16)
LAYERS = ("layer1", "layer2", "layer3")


def settled(name: str = "resnet8", options: dict[str, Any] | None = None) -> nn.Module:
    """A network whose batch norms have statistics of their own."""
    module = build_model(
        name, options or {}, num_classes=10, image_shape=SHAPE, mean=(0.5,) * 3, std=(0.25,) * 3, seed=1
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(10):
            module(torch.rand(32, *SHAPE))
    return module.eval().requires_grad_(False)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "mobilenetv2", "shufflenetv1"])
def test_folding_keeps_the_function_and_the_original(name: str) -> None:
    module = settled(name)
    before, images = weights_sha256(module), torch.rand(8, *SHAPE)
    folded = fold(module, (), SHAPE)
    norms = [sum(isinstance(child, nn.BatchNorm2d) for child in each.modules()) for each in (module, folded)]
    assert norms[0] > norms[1] == 0
    assert error(folded(images), module(images)) < 1e-5
    assert weights_sha256(module) == before


def test_a_layer_between_convolution_and_norm_cannot_be_folded_away() -> None:
    with pytest.raises(ModelError, match=r"layer 'conv1' stands before the batch norm"):
        fold(settled(), ("conv1",), SHAPE)


class ReadTwice(nn.Module):
    """A convolution whose output the batch norm is not the only one to read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.running_mean, 3.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        made = self.conv(images)
        return (self.norm(made) + made).mean((2, 3))


def test_folding_that_would_change_the_function_is_refused() -> None:
    with pytest.raises(ModelError, match="something else reads"):
        fold(ReadTwice().eval(), (), SHAPE)


@pytest.mark.parametrize(
    ("numerics", "bound"),
    [
        (NumericsConfig(), 0.0),
        (NumericsConfig(memory_format="channels_last"), 1e-5),
        (NumericsConfig(teacher="folded"), 1e-5),
        (NumericsConfig(teacher="folded", memory_format="channels_last"), 1e-5),
        (NumericsConfig(teacher="bfloat16"), 5e-2),
    ],
)
def test_the_error_of_a_teachers_features_is_as_stated(numerics: NumericsConfig, bound: float) -> None:
    module = settled()
    before, images = weights_sha256(module), torch.rand(16, *SHAPE)
    exact = FeatureExtractor(copy.deepcopy(module), LAYERS)(images)
    found = teacher_network(module, LAYERS, numerics, SHAPE)(images)
    for own, other in zip((found.logits, *found.features), (exact.logits, *exact.features), strict=True):
        assert own.dtype == torch.float32
        assert error(own, other) <= bound
    assert weights_sha256(module) == before
    assert module.conv1.weight.is_contiguous(), "the teacher that was given serves other trials"


def test_low_precision_is_used_in_plain_passes_and_never_for_derivatives() -> None:
    network = student_network(settled(), LAYERS, NumericsConfig(student="bfloat16"))
    seen: list[torch.dtype] = []
    network.module.conv1.register_forward_hook(lambda _m, _i, output: seen.append(output.dtype))
    images = torch.rand(2, *SHAPE)
    network(images)
    network(images, exact=True)
    assert seen == [torch.bfloat16, torch.float32]


def run(config: TrialConfig) -> Any:
    return run_trial(config, lambda _record, _result: None, teacher=fresh_teacher())


@pytest.mark.parametrize("form", ["tangent", pytest.param("hvp", marks=pytest.mark.slow)])
def test_a_derivative_method_is_untouched_by_low_precision(form: str) -> None:
    config = trial_config(f"{{hessian: {{form: {form}}}}}", epochs=1)
    low = dataclasses.replace(config, numerics=NumericsConfig(student="bfloat16"))
    low_teacher = dataclasses.replace(config, numerics=NumericsConfig(teacher="bfloat16"))
    assert run(low).weights_sha256 == run(config).weights_sha256
    folded = dataclasses.replace(config, numerics=NumericsConfig(teacher="folded"))
    assert run(low_teacher).weights_sha256 == run(folded).weights_sha256


@pytest.mark.parametrize(
    "numerics",
    [
        {"memory_format": "channels_last"},
        {"student": "bfloat16"},
        {"teacher": "folded"},
        {"teacher": "bfloat16"},
    ],
)
def test_every_kind_trains_repeats_itself_and_is_part_of_the_record(numerics: dict[str, Any]) -> None:
    reference = trial_config("attention", epochs=1)
    config = dataclasses.replace(reference, numerics=NumericsConfig(**numerics))
    assert TrialConfig.from_json(config.to_json()) == config
    first, second = run(config), run(config)
    assert first.state == "completed"
    assert first.weights_sha256 == second.weights_sha256
