"""Faster arithmetic: close to the reference, exact where it must be, and the default is the reference itself."""

from __future__ import annotations

import copy
import dataclasses
import operator
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from kdstudy.errors import ModelError
from kdstudy.models import FeatureExtractor, build_model
from kdstudy.study import NumericsConfig, TrialConfig
from kdstudy.training.bn_folding import fold
from kdstudy.training.checkpoint import weights_sha256
from kdstudy.training.numerics import fixed_numerics, student_network, teacher_network
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
        {"deterministic": False},
        {"optimizer": "fused"},
    ],
)
def test_every_kind_trains_repeats_itself_and_is_part_of_the_record(numerics: dict[str, Any]) -> None:
    reference = trial_config("attention", epochs=1)
    config = dataclasses.replace(reference, numerics=NumericsConfig(**numerics))
    assert TrialConfig.from_json(config.to_json()) == config
    first, second = run(config), run(config)
    assert first.state == "completed"
    assert first.weights_sha256 == second.weights_sha256


def switches() -> dict[str, Any]:
    """All that a process may have set of torch's arithmetic."""
    backends: Any = torch.backends
    names = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
    found = {name: operator.attrgetter(name)(backends).fp32_precision for name in names}
    return found | {
        "allow_tf32": (backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32),
        "matmul": torch.get_float32_matmul_precision(),
        "benchmark": backends.cudnn.benchmark,
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "threads": torch.get_num_threads(),
    }


def as_torch_begins() -> None:
    """Nothing set."""


def the_older_way() -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = False


def the_newer_way() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cudnn.rnn.fp32_precision = "ieee"
    torch.backends.cudnn.allow_tf32 = False


def repeating() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True


@pytest.fixture
def untouched() -> Iterator[None]:
    was = switches()
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"
    torch.backends.cudnn.benchmark = was["benchmark"]
    torch.use_deterministic_algorithms(was["algorithms"], warn_only=was["warn_only"])
    assert switches() == was


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("set_by_the_process", [as_torch_begins, the_older_way, the_newer_way, repeating])
def test_a_trial_holds_what_decides_its_numbers_and_leaves_all_as_it_was(
    set_by_the_process: Callable[[], None], deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    set_by_the_process()
    before = switches()
    with pytest.raises(ZeroDivisionError), fixed_numerics(1, deterministic=deterministic):
        held = switches()
        workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
        _ = 1 / 0
    assert switches() == before
    assert {value for name, value in held.items() if "." in name} == {"ieee"}
    assert (held["allow_tf32"], held["matmul"]) == ((False, False), "highest")
    assert (held["algorithms"], held["warn_only"], held["benchmark"]) == (deterministic, False, not deterministic)
    assert workspace == (":4096:8" if deterministic else None)
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@pytest.mark.usefixtures("untouched")
def test_on_a_cpu_only_what_a_cpu_knows_is_held() -> None:
    assert not torch.cuda.is_available() or pytest.skip("this machine has a GPU")
    with fixed_numerics(1):
        assert not torch.are_deterministic_algorithms_enabled()
