"""Jacobian maps against the full Jacobian, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev

from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.base import Batch, TransferContext
from kdstudy.transfer.derivatives import Directions
from kdstudy.transfer.jacobian import JacobianTransfer
from kdstudy.transfer.maps import attention_map

Build = Callable[..., nn.Module]
ContextOf = Callable[..., TransferContext]
CLOSE = {"rtol": 0, "atol": 1e-10}


@pytest.fixture
def pair(small_net: Build) -> tuple[nn.Module, nn.Module]:
    return small_net(1).eval(), small_net(2, widths=(5, 6, 9)).eval().requires_grad_(False)


def full_jacobian(module: nn.Module, layer: str, images: Tensor, p: float = 2.0) -> Tensor:
    """dQ/dx of each sample, (B, H, W, C, H, W)."""
    stages = [module.stage1, module.stage2, module.stage3][: int(layer[-1])]

    def attention(image: Tensor) -> Tensor:
        x = (image.unsqueeze(0) - module.mean) / 0.25
        return attention_map(nn.Sequential(*stages)(x), p)[0]

    return torch.stack([jacrev(attention)(image) for image in images])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("p", [2.0, 3.0])
@pytest.mark.parametrize("form", ["tangent", "projection", "peak"])
def test_maps_are_products_with_the_full_jacobian(
    pair: tuple[nn.Module, nn.Module], context_of: ContextOf, batch: Batch, form: str, p: float
) -> None:
    method = JacobianTransfer(context_of(*pair), form=form, p=p)
    draws = method.draw(batch.images, generator())
    network = FeatureExtractor(pair[0], method.layers)
    seen = method.observe(network, batch.images, draws)
    attention = [attention_map(f, p) for f in network(batch.images).features]
    torch.testing.assert_close(seen.logits, pair[0](batch.images), **CLOSE)
    for index, layer in enumerate(method.layers):
        jacobian = full_jacobian(pair[0], layer, batch.images, p)
        if form == "tangent":
            expected = torch.einsum("bhwcij,bcij->bhw", jacobian, draws.images[0])
        elif form == "projection":
            expected = torch.einsum("bhwcij,bhw->bcij", jacobian, draws.positions[index])
        else:
            peak = attention[index].flatten(1).argmax(dim=1)
            expected = jacobian.flatten(1, 2)[torch.arange(6), peak]
        torch.testing.assert_close(seen.maps[index], expected, **CLOSE)


@pytest.mark.parametrize("form", ["tangent", "projection"])
def test_expected_loss_is_the_frobenius_distance(
    pair: tuple[nn.Module, nn.Module], context_of: ContextOf, batch: Batch, form: str
) -> None:
    method = JacobianTransfer(context_of(*pair), form=form)
    repeats = 400
    images = batch.images[:1].expand(repeats, -1, -1, -1)
    draws = method.draw(images, generator())
    with torch.no_grad():
        maps = [method.observe(FeatureExtractor(module, method.layers), images, draws).maps for module in pair]
    for index, layer in enumerate(method.layers):
        exact = (full_jacobian(pair[0], layer, images[:1]) - full_jacobian(pair[1], layer, images[:1])).square().sum()
        single = (maps[0][index] - maps[1][index]).flatten(1).square().sum(dim=1)
        standard_error = single.std() / repeats**0.5
        assert abs(single.mean() - exact) < 4 * standard_error
        assert standard_error < 0.1 * exact


@pytest.mark.parametrize("training", [False, True])
def test_forms_agree_on_their_inner_product(
    small_net: Build, pair: tuple[nn.Module, nn.Module], context_of: ContextOf, batch: Batch, training: bool
) -> None:
    """<v, J u> from the tangent equals <J^T v, u> from double backward.

    So do its gradients by the parameters in eval mode. In training the tangent form multiplies by the
    activation of the ordinary pass, whose statistics are live, the other one by the twin's.
    """
    module = small_net(1).train(training)
    directions = torch.randn(batch.images.shape, generator=generator(1), dtype=torch.float64)
    sides = []
    for form in ("tangent", "projection"):
        method = JacobianTransfer(context_of(module, pair[1]), form=form)
        weights = [torch.randn(6, *size, generator=generator(2), dtype=torch.float64) for size in method.sizes]
        draws = Directions(6, (directions,), tuple(weights))
        seen = method.observe(FeatureExtractor(module, method.layers), batch.images, draws)
        against = weights if form == "tangent" else [directions] * 3
        sides.append(torch.stack([(m * other).sum() for m, other in zip(seen.maps, against, strict=True)]))
    torch.testing.assert_close(*sides, **CLOSE)
    if not training:
        parameters = list(module.parameters())
        gradients = [torch.autograd.grad(side.sum(), parameters, materialize_grads=True) for side in sides]
        for a, b in zip(*gradients, strict=True):
            torch.testing.assert_close(a, b, **CLOSE)


def test_tangents_are_float32_under_autocast(small_net: Build, context_of: ContextOf, batch: Batch) -> None:
    student = small_net(1, torch.float32)
    method = JacobianTransfer(context_of(student, student))
    images, network = batch.images.float(), FeatureExtractor(student, method.layers)
    draws = method.draw(images, generator())
    plain = method.observe(network, images, draws).maps
    with torch.autocast("cpu", torch.bfloat16):
        lowered = method.observe(network, images, draws).maps
    for a, b in zip(plain, lowered, strict=True):
        assert b.dtype == torch.float32
        assert torch.equal(a, b)


@pytest.mark.parametrize("form", ["tangent", "projection", "peak"])
def test_a_fraction_of_the_batch(
    pair: tuple[nn.Module, nn.Module], context_of: ContextOf, batch: Batch, form: str
) -> None:
    method = JacobianTransfer(context_of(*pair), form=form, fraction=0.4)
    network = FeatureExtractor(pair[0], method.layers)
    pair[0].train()
    draws = method.draw(batch.images, generator())
    seen = method.observe(network, batch.images, draws)
    assert draws.samples == 3
    assert {len(m) for m in seen.maps} == {3}
    assert len(seen.logits) == 6
    method.eval()
    assert method.draw(batch.images, generator()).samples == 6


@pytest.mark.parametrize("form", ["projection", "peak"])
def test_by_parameters(small_net: Build, context_of: ContextOf, batch: Batch, form: str) -> None:
    student, teacher = small_net(1).eval(), small_net(2).eval().requires_grad_(False)
    method = JacobianTransfer(context_of(student, teacher), form=form, wrt="parameters")
    draws = method.draw(batch.images, generator())
    for module in (student, teacher):
        with torch.set_grad_enabled(module is student):
            seen = method.observe(FeatureExtractor(module, method.layers), batch.images, draws)
        features = FeatureExtractor(module.requires_grad_(True), method.layers)(batch.images).features
        for index, feature in enumerate(features):
            attention = attention_map(feature)
            scalar = (
                (attention * draws.positions[index]).sum()
                if form == "projection"
                else attention.flatten(1).max(dim=1).values.sum()
            )
            weight = module.get_parameter(f"stage{index + 1}.0.weight")
            (expected,) = torch.autograd.grad(scalar, weight, retain_graph=True)
            torch.testing.assert_close(seen.maps[index], expected.unsqueeze(0), **CLOSE)
            assert seen.maps[index].requires_grad == (module is student)


def test_frozen_weights_stay_frozen(small_net: Build, context_of: ContextOf, batch: Batch) -> None:
    student, teacher = small_net(1), small_net(2).eval().requires_grad_(False)
    method = JacobianTransfer(context_of(student, teacher), form="peak", wrt="parameters")
    with torch.no_grad():
        method.observe(FeatureExtractor(teacher, method.layers), batch.images, method.draw(batch.images, generator()))
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_refusals(small_net: Build, pair: tuple[nn.Module, nn.Module], context_of: ContextOf) -> None:
    with pytest.raises(MapError, match="with wrt: parameters choose"):
        JacobianTransfer(context_of(small_net(), small_net()), wrt="parameters")
    with pytest.raises(MapError, match=r"stage1\.0\.weight is \(4, 3, 3, 3\).*\(5, 3, 3, 3\)"):
        JacobianTransfer(context_of(*pair), form="peak", wrt="parameters")
    unruly = small_net(activation=nn.Tanhshrink)
    with pytest.raises(MapError, match=r"'tanhshrink'.*form: projection"):
        JacobianTransfer(context_of(unruly, pair[1]))
    JacobianTransfer(context_of(unruly, pair[1]), form="projection")


def test_construction_leaves_the_networks_alone(small_net: Build, context_of: ContextOf) -> None:
    student, teacher = small_net(1).train(), small_net(2).eval()
    before = [value.clone() for value in student.state_dict().values()]
    JacobianTransfer(context_of(student, teacher))
    assert all(module.training for module in student.modules())
    assert all(torch.equal(a, b) for a, b in zip(before, student.state_dict().values(), strict=True))
    assert not any(module._forward_hooks for module in student.modules())


def test_running_norms_make_the_loss_free_of_scale(
    pair: tuple[nn.Module, nn.Module], context_of: ContextOf, batch: Batch
) -> None:
    method = JacobianTransfer(context_of(*pair), normalise="running")
    maps = [torch.rand(6, *size) for size in method.sizes]
    others = [torch.rand(6, *size) for size in method.sizes]
    first = method.losses(maps, others)
    again = JacobianTransfer(context_of(*pair), normalise="running").losses(
        [1e-3 * m for m in maps], [1e4 * m for m in others]
    )
    for a, b in zip(first, again, strict=True):
        assert a.item() == pytest.approx(b.item(), rel=1e-5)
    # The mean square norm m is kept; a batch ten times larger in norm moves it to 0.9 m + 0.1 * 100 m.
    before = method.squares.clone()
    method.losses([10 * m for m in maps], others)
    torch.testing.assert_close(method.squares[0], 10.9 * before[0])
    torch.testing.assert_close(method.squares[1], before[1])
    method.eval().losses(others, maps)
    torch.testing.assert_close(method.squares[0], 10.9 * before[0])


@pytest.mark.parametrize("normalise", ["sample", "batch"])
def test_norms_of_the_present_keep_no_state(
    pair: tuple[nn.Module, nn.Module], context_of: ContextOf, normalise: str
) -> None:
    method = JacobianTransfer(context_of(*pair), normalise=normalise)
    maps = [torch.rand(6, *size) - 0.5 for size in method.sizes]
    losses = method.losses(maps, [-m for m in maps])
    assert [loss.item() for loss in losses] == pytest.approx([4.0] * 3)
    assert (method.squares == 0).all()
