"""Hessian maps against exact second derivatives, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian

from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.autodiff import differentiable
from kdstudy.transfer.base import Batch, TransferContext
from kdstudy.transfer.hessian import HessianTransfer
from kdstudy.transfer.maps import attention_map, curvature_map

Build = Callable[..., nn.Module]
ContextOf = Callable[..., TransferContext]
CLOSE = {"rtol": 0, "atol": 1e-10}


@pytest.fixture
def pair(small_net: Build) -> tuple[nn.Module, nn.Module]:
    return small_net(1).eval(), small_net(2).eval().requires_grad_(False)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def second_derivative(q: Tensor, inputs: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """D^2 Q[u, v] of every position by reverse over reverse, differentiable."""
    rows = []
    for entry in q.flatten(1).sum(dim=0):  # samples do not interact
        (slope,) = torch.autograd.grad(entry, inputs, create_graph=True)
        (along,) = torch.autograd.grad((slope * u).sum(), inputs, create_graph=True)
        rows.append((along * v).flatten(1).sum(dim=1))
    return torch.stack(rows, dim=1).view_as(q)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("form", ["tangent", "bilinear"])
def test_pushed_forms_agree_with_reverse_over_reverse(
    pair: tuple[nn.Module, nn.Module], context_of: ContextOf, batch: Batch, form: str, training: bool
) -> None:
    """Values and gradients by the parameters at every layer; in train mode with batch statistics held."""
    student, teacher = pair
    student.train(training)
    images = batch.images[:3]
    method = HessianTransfer(context_of(student, teacher), form=form)
    draws = method.draw(images, generator())
    run = differentiable(FeatureExtractor(copy.deepcopy(student), method.layers), images, 3)
    reference = FeatureExtractor(student, method.layers)
    exact_run = differentiable(reference, images, 3)
    seen = method.observe(FeatureExtractor(student, method.layers), images, draws)
    assert torch.equal(run.logits, seen.logits)
    parameters = list(student.parameters())
    for feature, mine in zip(exact_run.features, seen.maps, strict=True):
        exact = second_derivative(attention_map(feature), exact_run.inputs, draws.images[0], draws.images[-1])
        torch.testing.assert_close(mine, exact, **CLOSE)
        cotangent = torch.randn(mine.shape, generator=generator(1), dtype=torch.float64)
        options = {"retain_graph": True, "materialize_grads": True}
        for a, b in zip(
            torch.autograd.grad((mine * cotangent).sum(), parameters, **options),
            torch.autograd.grad((exact * cotangent).sum(), parameters, **options),
            strict=True,
        ):
            torch.testing.assert_close(a, b, **CLOSE)


def test_tiny_network_by_hand() -> None:
    """a = relu(W x) with W = [[1, 2], [3, -1], [-1, -1]] at x = (1, 1): rows one and two are active.

    Q = (a1^2 + a2^2 + a3^2) / 3, its Hessian 2/3 (w1 w1^T + w2 w2^T) = 2/3 [[10, -1], [-1, 5]].
    """
    weights = torch.tensor([[1.0, 2.0], [3.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
    u = torch.tensor([2.0, -1.0], dtype=torch.float64)

    def attention(x: Tensor) -> Tensor:
        return attention_map((weights @ x).relu().view(1, 3, 1, 1)).sum()

    full = hessian(attention, torch.ones(2, dtype=torch.float64))
    assert isinstance(full, Tensor)
    torch.testing.assert_close(full, 2 / 3 * torch.tensor([[10.0, -1.0], [-1.0, 5.0]], dtype=torch.float64))
    # u^T H u = 2/3 (10 * 4 + 2 * 2 + 5) = 98/3; tangents a' = (0, 7, 0): 2/3 * 49.
    assert (u @ full @ u).item() == pytest.approx(98 / 3)
    tangent = ((weights @ u) * torch.tensor([1.0, 1.0, 0.0])).view(1, 3, 1, 1)
    assert curvature_map(tangent, tangent).item() == pytest.approx(98 / 3)


def test_trap_the_hessian_of_an_activation_is_zero(pair: tuple[nn.Module, nn.Module], batch: Batch) -> None:
    run = differentiable(FeatureExtractor(pair[0], ("stage3",)), batch.images, 6)
    weights = torch.randn(run.features[0].shape, generator=generator(), dtype=torch.float64)
    (slope,) = torch.autograd.grad((run.features[0] * weights).sum(), run.inputs, create_graph=True)
    assert slope.abs().max() > 0
    (curvature,) = torch.autograd.grad(slope.square().sum(), run.inputs, materialize_grads=True)
    assert (curvature == 0).all()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
@pytest.mark.parametrize("p", [2.0, 3.0])
@pytest.mark.parametrize("form", ["hvp", "hutchinson"])
def test_backward_forms_agree_with_the_full_hessian(
    small_net: Build,
    context_of: ContextOf,
    batch: Batch,
    form: str,
    p: float,
    activation: Callable[..., nn.Module],
) -> None:
    student = small_net(1, activation=activation).eval()
    images = batch.images[:1, :, :4, :4]
    method = HessianTransfer(context_of(student, student, 4), form=form, p=p)
    draws = method.draw(images, generator())
    network = FeatureExtractor(student, method.layers)
    maps = method.observe(network, images, draws).maps
    for index in range(3):
        v = draws.positions[index] if form == "hvp" else 1.0
        full = hessian(lambda x, i=index, v=v: (attention_map(network(x).features[i], p) * v).sum(), images)
        u = draws.images[0].flatten()
        expected = full.view(48, 48) @ u * (1.0 if form == "hvp" else u)
        torch.testing.assert_close(maps[index].flatten(), expected, **CLOSE)


def test_signs_are_blind_where_gaussian_directions_are_not(context_of: ContextOf, small_net: Build) -> None:
    """dH = diag(1, -1, 2, -2): signs give 0 always, Gaussian u the mean square (tr)^2 + 2 ||dH||^2 = 20."""
    difference = torch.tensor([1.0, -1.0, 2.0, -2.0], dtype=torch.float64)
    method = HessianTransfer(context_of(small_net(1), small_net(2)))
    images = torch.zeros(20000, 1, 2, 2, dtype=torch.float64)
    signs = method.directions(images, generator(), signs=1).images[0].flatten(1)
    assert signs.unique().tolist() == [-1.0, 1.0]
    assert ((signs.square() * difference).sum(dim=1) == 0).all()
    (gaussian,) = method.draw(images, generator()).images
    forms = (gaussian.flatten(1).square() * difference).sum(dim=1).square()
    assert abs(forms.mean().item() - 20) < 4 * (forms.std() / 20000**0.5).item()
    bilinear = HessianTransfer(context_of(small_net(1), small_net(2)), form="bilinear")
    u, v = (item.flatten(1) for item in bilinear.draw(images, generator()).images)
    products = (u * difference * v).sum(dim=1).square()
    assert abs(products.mean().item() - 10) < 4 * (products.std() / 20000**0.5).item()


def test_refusals(small_net: Build, context_of: ContextOf) -> None:
    straight, smooth = small_net(1), small_net(2, activation=nn.GELU)
    for form in ("tangent", "bilinear"):
        with pytest.raises(MapError, match=f"form: {form} holds for p = 2 only, got p: 3"):
            HessianTransfer(context_of(straight, straight), form=form, p=3.0)
        for networks in ((straight, smooth), (smooth, straight)):
            with pytest.raises(MapError, match="'gelu'; choose form: hvp"):
                HessianTransfer(context_of(*networks), form=form)
    HessianTransfer(context_of(smooth, smooth), form="hvp", p=3.0)
