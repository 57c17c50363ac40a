"""`Dual` against torch's own derivatives, in float64: values, and gradients of tangents by the parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn import functional

from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.autodiff.forward_mode import Dual

LAYERS = ("stage1", "stage2", "stage3")
CLOSE = {"rtol": 0, "atol": 1e-10}


class Zoo(nn.Module):
    """One network that uses as many rules as possible, with a recorded layer at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
        self.bn = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.prelu = nn.PReLU(8)
        self.drop = nn.Dropout2d(0.3)
        self.out = nn.Sequential(nn.Conv2d(18, 4, 1, groups=2), nn.GELU(), nn.AvgPool2d(2))

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu6(self.bn(self.conv(2 * images - 1)), inplace=True)
        x = self.pool(x)
        x = x * self.gate(x)
        left, right = self.prelu(x).chunk(2, dim=1)
        x = torch.cat([left, functional.pad(right[:, :, ::2, ::2], (0, 2, 0, 2), value=1.5)], dim=1)
        x = self.drop(x) + functional.interpolate(x, scale_factor=0.5, mode="bilinear").mean((2, 3), keepdim=True)
        x = torch.cat([x, torch.ones_like(x), x[:, :2].clamp(-0.1, 0.2)], dim=1)
        return self.out(x).flatten(1)


class FixedStatistics(nn.Module):
    """Batch norm as a plain affine function with given statistics."""

    def __init__(self, source: nn.BatchNorm2d, inputs: Tensor) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = source.weight, source.bias, source.eps
        self.mean = inputs.detach().mean((0, 2, 3), keepdim=True)
        self.variance = (inputs.detach() - self.mean).square().mean((0, 2, 3), keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.view(1, -1, 1, 1) / (self.variance + self.eps).sqrt()
        return (x - self.mean) * scale + self.bias.view(1, -1, 1, 1)


def freeze(module: nn.Module, images: Tensor) -> nn.Module:
    """A network that shares the module's parameters, with the batch statistics of ``images`` frozen in."""
    norms = {name: child for name, child in module.named_modules() if isinstance(child, nn.BatchNorm2d)}
    seen: dict[str, Tensor] = {}
    handles = [
        child.register_forward_pre_hook(lambda _m, args, name=name: seen.update({name: args[0]}))
        for name, child in norms.items()
    ]
    probe = copy.deepcopy(module)  # hooks are copied; the module's own running statistics stay
    probe(images)
    for handle in handles:
        handle.remove()
    frozen = copy.deepcopy(module)
    for name, child in norms.items():
        frozen.set_submodule(name, FixedStatistics(child, seen[name]))
    for name, parameter in module.named_parameters():
        owner, _, attribute = name.rpartition(".")
        setattr(frozen.get_submodule(owner), attribute, parameter)
    return frozen


def oracle(module: nn.Module, layer: str, images: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Value and derivative of a layer's output by torch.func.jvp, differentiable by the parameters."""
    network = FeatureExtractor(module, (layer,))
    weights = dict(module.named_parameters())

    def run(x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        handle = module.get_submodule(layer).register_forward_hook(lambda _m, _i, output: outputs.append(output))
        functional_call(network.module, weights, (x,))
        handle.remove()
        return outputs[0]

    return jvp(run, (images,), (direction,))


def gradients(scalar: Tensor, module: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(scalar, list(module.parameters()), retain_graph=True, materialize_grads=True))


def agree(mine: Tensor, theirs: Tensor, module: nn.Module) -> None:
    torch.testing.assert_close(mine, theirs, **CLOSE)
    cotangent = torch.randn(mine.shape, generator=torch.Generator().manual_seed(1), dtype=mine.dtype)
    for a, b in zip(
        gradients((mine * cotangent).sum(), module),
        gradients((theirs * cotangent).sum(), module),
        strict=True,
    ):
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.fixture
def direction() -> Tensor:
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("layer", LAYERS)
def test_eval_network_agrees_with_jvp(
    small_net: Callable[..., nn.Module], images: Tensor, direction: Tensor, layer: str
) -> None:
    module = small_net().eval()
    (dual,) = FeatureExtractor(module, (layer,))(Dual(images, (direction,))).features
    value, tangent = oracle(module, layer, images, direction)
    agree(dual.value, value, module)
    agree(dual.tangents[0], tangent, module)


@pytest.mark.parametrize("layer", LAYERS)
def test_train_network_agrees_with_frozen_statistics(
    small_net: Callable[..., nn.Module], images: Tensor, direction: Tensor, layer: str
) -> None:
    module = small_net().train()
    plain = copy.deepcopy(module)
    frozen = freeze(module, images)
    (dual,) = FeatureExtractor(module, (layer,))(Dual(images, (direction,))).features
    _, tangent = oracle(frozen, layer, images, direction)
    agree(dual.tangents[0], tangent, module)
    (feature,) = FeatureExtractor(plain, (layer,))(images).features
    assert torch.equal(dual.value, feature)
    for a, b in zip(
        gradients(dual.value.square().sum(), module), gradients(feature.square().sum(), plain), strict=True
    ):
        assert torch.equal(a, b)


def test_running_statistics_are_updated_once(
    small_net: Callable[..., nn.Module], images: Tensor, direction: Tensor
) -> None:
    with_tangents, plain = small_net().train(), small_net().train()
    with_tangents(Dual(images, (direction, direction)))
    plain(images)
    for (name, a), b in zip(with_tangents.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("training", [False, True])
def test_zoo_agrees_with_jvp(images: Tensor, direction: Tensor, training: bool) -> None:
    torch.manual_seed(0)
    module = Zoo().double().train(training)
    module.drop.eval()
    reference = freeze(module, images) if training else module
    dual = module(Dual(images, (direction,)))
    value, tangent = oracle(reference, "", images, direction) if training else jvp(module, (images,), (direction,))
    torch.testing.assert_close(dual.value, value, **CLOSE)
    torch.testing.assert_close(dual.tangents[0], tangent, **CLOSE)
    if not training:  # in training the slope of a curved function depends on live statistics, frozen in the oracle
        agree(dual.tangents[0], tangent, module)
    assert dual.curved == "sigmoid"


@pytest.mark.parametrize(
    "function",
    [
        torch.relu,
        lambda x: functional.relu6(20 * x),
        functional.hardtanh,
        functional.leaky_relu,
        functional.elu,
        functional.silu,
        functional.softplus,
        torch.tanh,
        torch.abs,
        functional.mish,
        functional.hardswish,
        functional.gelu,
        lambda x: torch.clamp(x, min=0.1),
        lambda x: x.clip(-0.5, 0.5),
        lambda x: x**3,
        lambda x: 1 / (x + 9),
        lambda x: 3 - x,
        lambda x: torch.ones(5, 3, 8, 8, dtype=x.dtype) * 2 - x,
        lambda x: x / (x.abs() + 1),
        lambda x: torch.add(x, x * x, alpha=0.5),
        lambda x: torch.sub(x, x * x, alpha=0.5),
        lambda x: -x,
        lambda x: x + torch.ones(7, 1, 1, 1, 1, dtype=x.dtype),
        lambda x: x.permute(0, 2, 3, 1).reshape(5, 64, 3) @ torch.arange(6.0, dtype=x.dtype).view(3, 2),
        lambda x: torch.matmul(x, x.transpose(2, 3)),
        lambda x: torch.stack([x, x * 2], 1),
        lambda x: functional.adaptive_max_pool2d(x, 2),
        lambda x: functional.max_pool2d(x, 2, return_indices=True)[0],
        lambda x: functional.max_pool1d(x.flatten(2), 2),
        lambda x: functional.interpolate(x, scale_factor=2),
        lambda x: torch.where(torch.ones(()) > 0, 1.0, 2.0) * x.view(x.size(0), -1),
        lambda x: x.sum((1, 2)),
        lambda x: functional.linear(x, torch.arange(16.0, dtype=x.dtype).view(2, 8), torch.ones(2, dtype=x.dtype)),
        lambda x: x.unsqueeze(1).squeeze(1).contiguous().clone()[:, 1:, ..., 0],
        lambda x: x.mean(),
        lambda x: x.mul_(2).add_(1).relu_(),
        lambda x: torch.cat([x.split(1, 1)[2], x.unbind(1)[0].unsqueeze(1)], 1),
    ],
)
def test_each_function_agrees_with_jvp(function: Callable[..., Tensor], images: Tensor, direction: Tensor) -> None:
    x = images - 0.5
    value, tangent = jvp(lambda item: function(item * 1), (x,), (direction,))
    dual = function(Dual(x, (direction,)) * 1)
    torch.testing.assert_close(dual.value, value, **CLOSE)
    torch.testing.assert_close(dual.tangents[0], tangent, **CLOSE)


def test_two_tangents_equal_one_each(small_net: Callable[..., nn.Module], images: Tensor, direction: Tensor) -> None:
    module = small_net().eval()
    both = module(Dual(images, (direction, direction.flip(0))))
    assert torch.equal(both.tangents[0], module(Dual(images, (direction,))).tangents[0])
    assert torch.equal(both.tangents[1], module(Dual(images, (direction.flip(0),))).tangents[0])


def test_tangents_of_part_of_the_batch(small_net: Callable[..., nn.Module], images: Tensor, direction: Tensor) -> None:
    module = small_net().train()
    full = FeatureExtractor(module, LAYERS)(Dual(images, (direction,)))
    part = FeatureExtractor(module, LAYERS)(Dual(images, (direction[:2],)))
    assert torch.equal(part.logits.value, full.logits.value)
    for a, b in zip(part.features, full.features, strict=True):
        assert a.tangents[0].shape[0] == 2
        torch.testing.assert_close(a.tangents[0], b.tangents[0][:2], **CLOSE)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.view(x.size(0), -1),
        lambda x: x.reshape((x.shape[0], 3, -1)),
        lambda x: x.view(-1, 192),
        lambda x: x * torch.arange(5.0).view(5, 1, 1, 1),
        lambda x: torch.arange(5.0).view(5, 1, 1, 1) - x,
        lambda x: x[:, 1],
        lambda x: x / torch.arange(1.0, 6).view(5, 1, 1, 1),
        lambda x: x * x,
        lambda x: torch.cat([x, torch.ones(5, 1, 8, 8)], 1),
        lambda x: x.expand(5, 3, 8, 8),
    ],
)
def test_part_of_the_batch_through_functions_of_rows(
    function: Callable[..., Tensor], images: Tensor, direction: Tensor
) -> None:
    full, part = function(Dual(images, (direction,))), function(Dual(images, (direction[:2],)))
    torch.testing.assert_close(part.tangents[0], full.tangents[0][:2], **CLOSE)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.mean(0),
        lambda x: x.mean(),
        lambda x: x[:2],
        lambda x: torch.cat([x, x]),
        lambda x: x.transpose(0, 1),
    ],
)
def test_mixing_samples_is_refused_for_part_of_the_batch(
    function: Callable[..., Tensor], images: Tensor, direction: Tensor
) -> None:
    function(Dual(images, (direction,)))
    with pytest.raises(MapError, match=r"fraction: 1\.0|indexing of samples"):
        function(Dual(images, (direction[:2],)))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: functional.group_norm(x, 1), "group_norm"),
        (lambda x: x.cummax(1), "cummax"),
        (torch.fft.fft, "fft_fft"),
        (lambda x: x.T, "T"),
        (lambda x: torch.zeros(5, 3, 8, 8).add_(x), "add"),
        (lambda x: functional.conv2d(torch.ones(1, 3, 9, 9), x), "conv2d"),
    ],
)
def test_unknown_function_is_named(
    function: Callable[..., Tensor], name: str, images: Tensor, direction: Tensor
) -> None:
    with pytest.raises(MapError, match=f"'{name}.*form: projection") as caught:
        function(Dual(images.float(), (direction.float(),)))
    assert "\n" not in str(caught.value)


def test_dropout_shares_its_mask_and_the_random_stream(images: Tensor) -> None:
    torch.manual_seed(0)
    plain = functional.dropout(images, 0.5)
    torch.manual_seed(0)
    dual = functional.dropout(Dual(images, (torch.ones_like(images),)), 0.5)
    assert torch.equal(dual.value, plain)
    assert torch.equal(dual.tangents[0] == 0, plain == 0)


def test_in_place_functions_change_the_recorded_dual(images: Tensor, direction: Tensor) -> None:
    stage = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True)).double()
    (recorded,) = FeatureExtractor(stage, ("0",))(Dual(images, (direction,))).features
    (plain,) = FeatureExtractor(stage, ("0",))(images).features
    assert torch.equal(recorded.value, plain)
    assert (recorded.tangents[0][plain == 0] == 0).all()


def test_curved_is_known_where_it_happens(small_net: Callable[..., nn.Module], images: Tensor) -> None:
    straight = FeatureExtractor(small_net().eval(), LAYERS)(Dual(images, (images,)))
    assert [dual.curved for dual in straight.features] == [None, None, None]
    smooth = FeatureExtractor(small_net(activation=nn.GELU).eval(), LAYERS)(Dual(images, (images,)))
    assert [dual.curved for dual in smooth.features] == ["gelu"] * 3
    x = Dual(images, (images,))
    assert (x * x).curved == "mul"
    assert torch.cat([x, torch.tanh(x)]).curved == "tanh"
