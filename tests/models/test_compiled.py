"""A compiled pass computes what the module does, in training alone; where torch cannot compile, it is one line."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdstudy.errors import ModelError
from kdstudy.models import FeatureExtractor, compiled
from kdstudy.study import TrialConfig
from kdstudy.testing.networks import LAYERS, small_net
from tests.configs import trial_config
from tests.trial.test_recipe import WHOLE
from tests.trial.test_run import LAYERWISE, numbers, run

# Inside torch, as it imports its compiler.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:FutureWarning"),
]


def images(rows: int) -> Tensor:
    return torch.rand(rows, 3, 16, 16, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)


def network() -> nn.Module:
    return small_net().train()


def never(_images: Tensor) -> Tensor:
    raise AssertionError("the compiled pass is for training")


def by_sgd(config: TrialConfig) -> TrialConfig:
    return config


def by_adamw(config: TrialConfig) -> TrialConfig:
    return replace(config, train=replace(config.train, base_lr=0.003, **WHOLE))


def test_what_is_no_training_pass_of_plain_images_is_not_compiled() -> None:
    extractor = FeatureExtractor(network(), LAYERS, program=never)
    with torch.no_grad():
        extractor(images(2))
    extractor(images(2), exact=True)
    extractor(images(2).requires_grad_())
    extractor.module.eval()
    extractor(images(2))
    extractor.module.train()
    with pytest.raises(AssertionError):
        extractor(images(2))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_gives_logits_maps_gradients_and_statistics_of_the_module() -> None:
    plain = FeatureExtractor(network(), LAYERS)
    module = copy.deepcopy(plain.module)
    mine = FeatureExtractor(module, LAYERS, program=compiled(module))
    for rows in (6, 6, 4):
        outputs = [extractor(images(rows)) for extractor in (plain, mine)]
        for one, other in zip(*((output.logits, *output.features) for output in outputs), strict=True):
            torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-11)
        for output in outputs:
            sum(map(torch.sum, output.features), start=output.logits.square().sum()).backward()
    for one, other in zip(plain.module.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-7, atol=1e-9)
    for one, other in zip(plain.module.buffers(), module.buffers(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_the_network_writes_into_later_is_what_the_layer_gave() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

        def forward(self, images: Tensor) -> Tensor:
            given = self.conv(images)
            given += 1
            return self.fc(given.mean((2, 3)))

    module = Writes().double().train()
    extractor = FeatureExtractor(module, ["conv"], program=compiled(module))
    (given,) = extractor(images(2)).features
    torch.testing.assert_close(given, module.conv(images(2)), rtol=1e-9, atol=1e-11)


def graphed(transfer: str, graph: str) -> TrialConfig:
    config = trial_config(transfer, LAYERWISE)
    return replace(config, numerics=replace(config.numerics, graph=graph))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("updated", [by_sgd, pytest.param(by_adamw, marks=pytest.mark.long)])
def test_a_compiled_trial_is_resumed_bit_for_bit_and_rounds_otherwise_than_another(
    updated: Callable[[TrialConfig], TrialConfig], tmp_path: Path
) -> None:
    on, auto = (updated(graphed("attention", graph)) for graph in ("on", "auto"))
    whole, expected = run(on)
    run(on, tmp_path, stop_after=1)
    resumed, records = run(on, tmp_path)
    assert numbers(records) == numbers(expected)
    assert resumed.weights_sha256 == whole.weights_sha256
    assert whole.numerics["graph"] == "compiled"
    plain, others = run(auto)
    assert "graph" not in plain.numerics, "on a CPU"
    assert plain.weights_sha256 != whole.weights_sha256
    for one, other in zip(expected, others, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_torch_cannot_compile_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 5)).double().train()
    with pytest.raises(ModelError, match=r"^numerics\.graph: torch cannot compile .*; write graph: off$") as error:
        FeatureExtractor(module, ["0"], program=compiled(module))(images(3))
    assert "\n" not in str(error.value)
