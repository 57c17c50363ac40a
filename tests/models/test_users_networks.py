"""Networks of users' own: what they may do, and what is refused in one line before anything is trained."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdstudy.errors import ModelError
from kdstudy.models import (
    FeatureExtractor,
    NetworkSpec,
    export_student,
    load_student,
    require_trainable,
    save_student,
    trace,
)
from kdstudy.plugins import allow_plugins
from kdstudy.training import weights_sha256
from kdstudy.transfer.autodiff import Dual, differentiable

SHAPE = (3, 8, 8)
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


@pytest.fixture(autouse=True)
def _allowed() -> None:
    allow_plugins("tests")


def spec(factory: Any, **options: Any) -> NetworkSpec:
    return NetworkSpec(f"{__name__}:{factory.__name__}", options, 5, SHAPE, MEAN, STD)


def images(rows: int = 4) -> Tensor:
    return torch.rand(rows, *SHAPE, generator=torch.Generator().manual_seed(1))


def by_hand(pictures: Tensor) -> Tensor:
    return torch.stack([(pictures[:, c] - MEAN[c]) / STD[c] for c in range(3)], 1)


def body(channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU()]


class Plain(nn.Module):
    """What the others are variants of."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*body(in_channels))
        self.top = nn.Linear(6, num_classes)

    def pooled(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3))

    def forward(self, x: Tensor) -> Any:
        return self.top(self.pooled(x))


# Random numbers while a network is built.


class LazyTop(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.top = nn.LazyLinear(num_classes)


class LazyBody(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.body = nn.Sequential(nn.LazyConv2d(6, 3), nn.LazyBatchNorm2d(), nn.ReLU())


class NumpyWeights(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.top.weight.data = torch.from_numpy(np.random.randn(num_classes, 6)).float()


class RandomWidth(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.scale = nn.Parameter(torch.tensor([random.choice(range(1000)) / 1000]))


@pytest.mark.parametrize("factory", [LazyTop, LazyBody, NumpyWeights, RandomWidth])
def test_initial_weights_are_a_function_of_the_seed(factory: Any) -> None:
    hashes = []
    for seed, elsewhere in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(elsewhere)
        np.random.seed(elsewhere)
        random.seed(elsewhere)
        hashes.append(weights_sha256(spec(factory).build(seed)))
    assert hashes[0] == hashes[1] != hashes[2]
    require_trainable(spec(factory))


def test_building_puts_every_global_generator_back() -> None:
    np.random.seed(3)
    random.seed(3)
    expected = np.random.rand(), random.random()
    np.random.seed(3)
    random.seed(3)
    spec(NumpyWeights).build(0)
    require_trainable(spec(RandomWidth))
    assert (np.random.rand(), random.random()) == expected


class ClockWeights(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        generator = torch.Generator().manual_seed(time.time_ns())
        nn.init.normal_(self.top.weight, generator=generator)


class SystemWidth(nn.Module):
    """Other shapes each time."""

    widths: Iterator[int] = iter(range(3, 1000))

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, next(self.widths), 3)
        self.top = nn.Linear(self.conv.out_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.top(self.conv(x).mean((2, 3)))


class SystemScale(Plain):
    """Random, and in no tensor."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.scale = float(np.random.default_rng().random())

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


class OwnDropout(Plain):
    """Its generator is seeded, but no checkpoint holds where it stands."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.generator = np.random.default_rng(0)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(x)
        if self.training:
            pooled = pooled * torch.from_numpy(self.generator.integers(0, 2, 6))
        return self.top(pooled)


class Counting(Plain):
    """Depends on a count of steps that no state dict holds."""

    steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return self.top(self.pooled(x)) * self.steps


_THE_ONE = Plain(5, 3)


def one_for_all(num_classes: int, in_channels: int) -> nn.Module:
    return _THE_ONE


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (ClockWeights, "other weights each time, 'top.weight' first"),
        (SystemWidth, "other weights each time, 'conv.weight' first"),
        (SystemScale, "other logits each time for the same images in eval mode"),
        (OwnDropout, "other logits each time for the same images in training mode"),
        (Counting, "keep what changes from step to step in buffers"),
        (one_for_all, "gives the same 'body.0.weight' each time it is called"),
    ],
)
def test_what_is_no_function_of_the_seed_is_refused(factory: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        require_trainable(spec(factory))
    assert "\n" not in str(caught.value)


class NumpyDropout(Plain):
    """Random in forward, from a global generator: seeded by each trial."""

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(x)
        if self.training:
            pooled = pooled * torch.from_numpy(np.random.rand(6) < 0.5) * (random.random() + 0.5)
        return self.top(functional.dropout(pooled, 0.1, self.training))


def test_draws_from_global_generators_in_forward_are_fine() -> None:
    require_trainable(spec(NumpyDropout))


# Networks that answer otherwise in training mode.


class Tupled(Plain):
    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return (logits, logits) if self.training else logits


class Outputs(NamedTuple):
    logits: Tensor
    aux_logits: Tensor


class Named(Plain):
    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return Outputs(logits, logits) if self.training else logits


class Mapped(Plain):
    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return {"out": logits, "aux": logits} if self.training else logits


class Breaking(Plain):
    def forward(self, x: Tensor) -> Any:
        if self.training:
            raise KeyError("teacher_logits")
        return super().forward(x)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (Tupled, "gives tuple of 2 in training mode for 2 images, not logits \\(2, 5\\).*aux_logits=False"),
        (Named, "gives Outputs of logits, aux_logits in training mode"),
        (Mapped, "gives a dict of out, aux in training mode"),
        (Breaking, "cannot run in training mode \\(KeyError: 'teacher_logits'\\); `kdstudy --debug` shows where"),
    ],
)
def test_what_gives_no_logits_in_training_mode_is_refused(factory: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        require_trainable(spec(factory))
    assert "\n" not in str(caught.value)
    if factory is not Breaking:
        spec(factory).build(0)  # as a loaded teacher it is never trained


def compiled(num_classes: int, in_channels: int) -> Any:
    return torch.compile(Plain(num_classes, in_channels))


def compiled_in_place(num_classes: int, in_channels: int) -> nn.Module:
    module = Plain(num_classes, in_channels)
    module.compile()
    return module


def traced(num_classes: int, in_channels: int) -> Any:
    return torch.jit.trace(Plain(num_classes, in_channels).eval(), torch.zeros(1, in_channels, 8, 8))


def broken(num_classes: int, in_channels: int) -> nn.Module:
    raise KeyError("WEIGHTS")


class Occupied(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.normalise = nn.BatchNorm2d(in_channels)


class Confused(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.tops(x)


class Unused(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.spare = nn.LazyLinear(3)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (compiled, "compiled by torch.compile"),
        (compiled_in_place, "compiled by torch.compile"),
        (traced, "a TorchScript program"),
        (broken, "'.*:broken' cannot be built \\(KeyError: 'WEIGHTS'\\); `kdstudy --debug` shows where"),
        (Confused, "does not take images of 3x8x8 \\(AttributeError: .*tops.*`kdstudy --debug` shows where"),
        (Occupied, "has a part 'normalise' of its own"),
        (Unused, "does not use its lazy 'spare.weight'"),
    ],
)
def test_what_cannot_be_a_network_here_is_refused(factory: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        spec(factory).build(0)
    assert "\n" not in str(caught.value)


# Networks that go through all their parts.


def sequential(num_classes: int, in_channels: int) -> nn.Module:
    return nn.Sequential(*body(in_channels), nn.Flatten(), nn.Linear(6 * 16, num_classes))


class Derived(nn.Sequential):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(*body(in_channels), nn.Flatten(), nn.Linear(6 * 16, num_classes))


class Listed(nn.ModuleList):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__([*body(in_channels), nn.Flatten(), nn.Linear(6 * 16, num_classes)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x)
        return x


class ByChildren(nn.Module):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        for place, part in enumerate([*body(in_channels), nn.Flatten(), nn.Linear(6 * 16, num_classes)]):
            self.add_module(str(place), part)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class ByMethod(Derived):
    """One with a method called as our part is."""

    def normalise(self, x: Tensor) -> Tensor:
        return x * 1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.normalise(x))


@pytest.mark.parametrize("factory", [sequential, Derived, Listed, ByChildren, ByMethod])
def test_a_networks_own_pass_does_not_meet_the_normalisation(factory: Any, tmp_path: Path) -> None:
    raw, built = factory(5, 3).eval(), spec(factory).build(0).eval()
    raw.load_state_dict({name: value for name, value in built.state_dict().items() if "normalise" not in name})
    expected = raw(by_hand(images()))
    assert torch.equal(built(images()), expected)
    assert [name for name, _ in trace(built, SHAPE)] == ["normalise", "0", "1", "2", "3", "4"]
    assert list(raw.state_dict()) == [name for name in built.state_dict() if "normalise" not in name]
    require_trainable(spec(factory))
    save_student(built, tmp_path, spec(factory))
    assert torch.equal(load_student(tmp_path)(images()), expected)


@pytest.mark.parametrize("factory", [Derived, ByChildren])
def test_such_a_network_is_exported_whole(factory: Any, tmp_path: Path) -> None:
    built = spec(factory).build(0).eval()
    save_student(built, tmp_path, spec(factory))
    export_student(tmp_path, tmp_path / "program.pt2", "torch")
    exported = torch.export.load(tmp_path / "program.pt2").module()
    assert torch.allclose(exported(images()), built(images()), atol=1e-6)


def test_modes_moves_and_replacements_reach_the_network() -> None:
    built = spec(ByMethod).build(0).train()
    with torch.no_grad():
        built(images())
    assert built.get_buffer("1.num_batches_tracked") == 1
    built.eval()
    before = built(images())
    assert torch.equal(built(images()), before)
    assert built.get_buffer("1.num_batches_tracked") == 1
    assert built.double()(images().double()).dtype == torch.float64
    built.set_submodule("4", nn.Linear(6 * 16, 7).double())
    assert built(images().double()).shape == (4, 7)


class KeepsNormFrozen(Plain):
    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.body[1].eval()
        return self


def test_a_networks_own_idea_of_training_mode_is_respected() -> None:
    built = spec(KeepsNormFrozen).build(0)
    built.eval().train()(images())
    assert built.get_buffer("body.1.num_batches_tracked") == 0
    assert built.training


# Layers that something writes into after they have run.


class Overwriting(nn.Module):
    """Three blocks; what follows the norm of each may work in place."""

    def __init__(self, num_classes: int, in_channels: int, *, how: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=how in ("module", "dropped"))
        self.top = nn.Linear(6, num_classes)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        if self.how == "function":
            functional.relu_(x)
        elif self.how == "addition":
            x += 1
            x = functional.relu(x - 1)
        elif self.how == "view":
            x.flatten(1).clamp_(min=0)
        elif self.how == "dropped":
            self.relu(x)
        else:
            x = self.relu(x)
        return self.top(x.mean((2, 3)))


@pytest.mark.parametrize("how", ["module", "function", "addition", "view", "dropped"])
@pytest.mark.parametrize("training", [False, True])
def test_the_map_of_a_layer_is_what_the_layer_gave(how: str, training: bool) -> None:
    """As in the network that works in place nowhere: values, and gradients through them."""
    found = []
    for each in ("no", how):
        module = spec(Overwriting, how=each).build(0).train(training)
        network = FeatureExtractor(module, ["bn"])
        for _ in range(2):
            output = network(images())
        module.zero_grad()
        (output.features[0].pow(3).mean() + output.logits.sum()).backward()
        found.append((output.logits, output.features[0], module.get_parameter("conv.weight").grad))
    for expected, got in zip(*found, strict=True):
        assert torch.allclose(expected, got, atol=1e-6)
    assert (found[1][1] < 0).any()


class Fickle(Plain):
    """Writes into a layer's output from its third pass on."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        x = self.body[1](self.body[0](x))
        return self.top((functional.relu_ if self.passes > 2 else functional.relu)(x).mean((2, 3)))


class SkipsInTraining(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.body[0](x) if self.training else self.body(x)
        return self.top(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("factory", "layer", "message"),
    [(Fickle, "body.1", "'body.1' is overwritten"), (SkipsInTraining, "body.2", "'body.2' did not run")],
)
def test_a_layer_without_a_map_of_its_own_is_refused_by_name(factory: Any, layer: str, message: str) -> None:
    network = FeatureExtractor(spec(factory).build(0).train(), [layer])
    with pytest.raises(ModelError, match=message) as caught:
        for _ in range(3):
            network(images())
    assert "\n" not in str(caught.value)


class WritesInTraining(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.body[1](self.body[0](x))
        return self.top((functional.relu_ if self.training else functional.relu)(x).mean((2, 3)))


@pytest.mark.parametrize("factory", [Plain, WritesInTraining])
def test_a_layer_is_recorded_in_every_mode_and_as_a_dual(factory: Any) -> None:
    """A dual's tangents are those of the layer itself, as is the twin of an ordinary pass."""
    module = spec(factory).build(0)
    network, pictures = FeatureExtractor(module, ["body.1"]), images()
    direction = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(2))
    for training in (False, True, False):
        module.train(training)
        output = network(Dual(pictures, (direction,)))
        assert (output.features[0].value < 0).any()
        assert (output.features[0].tangents[0] != 0).float().mean() > 0.9
        assert (network(pictures).features[0] < 0).any()
        assert (differentiable(network, pictures, 2).features[0] < 0).any()


def test_building_takes_no_activation_that_works_in_place_from_a_network_that_needs_it() -> None:
    """Its result would be another; the recorded map is a copy instead."""
    assert spec(Overwriting, how="dropped").build(0).get_submodule("relu").inplace
    assert not spec(Overwriting, how="module").build(0).get_submodule("relu").inplace
