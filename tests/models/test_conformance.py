"""What every registered network must do, beyond `kdstudy.testing.ModelSuite`: tests/testing runs that over all."""

from __future__ import annotations

import copy
import functools
import re
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.func import jvp

from kdstudy.data import import_torchvision
from kdstudy.errors import MapError, ModelError
from kdstudy.layerwise import LayerPair, match_layers
from kdstudy.models import build_model
from kdstudy.models.features import FeatureExtractor, trace
from kdstudy.plugins import MODELS
from kdstudy.transfer import TransferContext
from kdstudy.transfer.autodiff import Dual
from kdstudy.transfer.hessian import HessianTransfer

NAMES = tuple(MODELS)
SHAPE = (3, 32, 32)
DIGITS = (1, 8, 8)
CLASSES = 5
# Networks that are not piecewise linear in the image, and the function that makes them so.
CURVED = {"tv_mobilenet_v3_small": "hardswish", "tv_efficientnet_b0": "silu"}
# Their stem and transitions divide an image by 32 without padding.
NOT_FOR_DIGITS = {
    "tv_densenet121": r"does not take images of 1x8x8.*larger images",
    "torchvision": "takes images of 3 channels, got 1",
}
# Networks that are named by an option: one of each library's.
OPTIONS = {name: {"name": "resnet18", "weights": "none"} for name in ("torchvision", "timm")}


def build(name: str, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> nn.Module:
    grey = (0.5,) * shape[0]
    if name == "timm":
        import_torchvision()
        pytest.importorskip("timm", reason="timm is not installed")
    return build_model(
        name, OPTIONS.get(name, {}), num_classes=CLASSES, image_shape=shape, mean=grey, std=grey, seed=seed
    )


@functools.cache
def shared(name: str) -> nn.Module:
    """One copy for the tests that change nothing."""
    return build(name).eval()


@functools.cache
def layers(name: str) -> tuple[LayerPair, ...]:
    own = trace(shared(name), SHAPE)
    return match_layers(own, own)


@functools.cache
def images(rows: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Tensor:
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def settled(name: str) -> nn.Module:
    """A double copy whose running statistics fit its activations, so that none vanishes or explodes."""
    module = copy.deepcopy(shared(name)).double()
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.momentum = None
        elif isinstance(child, nn.Dropout):
            child.p = 0.0
    with torch.no_grad():
        module.train()(images(2, seed=3))
    return module.eval()


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_logits_in_train_and_eval_mode(name: str) -> None:
    module, batch = copy.deepcopy(shared(name)), images(2).float()
    statistics = {key: value.clone() for key, value in module.named_buffers()}
    with torch.no_grad():
        logits = module.eval()(batch)
        assert torch.equal(module(batch), logits)
        assert all(torch.equal(value, statistics[key]) for key, value in module.named_buffers())
        trained = module.train()(batch)
    for each in (logits, trained):
        assert each.shape == (2, CLASSES)
        assert each.isfinite().all()
    assert any(not torch.equal(value, statistics[key]) for key, value in module.named_buffers())


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_digits_or_says_that_they_are_too_small(name: str) -> None:
    if name in NOT_FOR_DIGITS:
        with pytest.raises(ModelError, match=NOT_FOR_DIGITS[name]) as caught:
            build(name, DIGITS)
        assert "\n" not in str(caught.value)
        return
    module = build(name, DIGITS)
    assert module.training, "building leaves the mode alone"
    assert module(images(2, DIGITS).float()).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_its_first_weights_depend_on_the_seed(name: str) -> None:
    """And on nothing else: `ModelSuite`."""
    mine, other = shared(name).state_dict(), build(name, seed=1).state_dict()
    (first, *_) = (key for key, value in mine.items() if value.ndim == 4)
    assert not torch.equal(mine[first], other[first])


@pytest.mark.parametrize("name", NAMES)
def test_its_crucial_layers_shrink_with_depth(name: str) -> None:
    sizes = [pair.student_shape[1] for pair in layers(name)]
    assert len(sizes) >= 3
    assert sizes == sorted(set(sizes), reverse=True)
    assert all(pair.student == pair.teacher for pair in layers(name))


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_is_one_line_and_a_source(name: str) -> None:
    factory = MODELS.load(name)
    summary, _, rest = factory.__doc__.partition("\n")
    assert summary.startswith("Build ")
    assert summary.endswith(".")
    referred = re.search(r"see `(\w+)`", summary)
    if referred:
        rest += getattr(sys.modules[factory.__module__], referred[1]).__doc__
    assert "arXiv" in summary + rest


@pytest.mark.parametrize("name", NAMES)
def test_tangents_agree_with_torchs_own_at_every_crucial_layer(name: str) -> None:
    module, points = settled(name), [pair.student for pair in layers(name)]
    values, direction = images(1), images(1, seed=1) - 0.5
    network = FeatureExtractor(module, points)

    def run(batch: Tensor) -> tuple[Tensor, ...]:
        output = network(batch)
        return output.logits, *output.features

    output = network(Dual(values, (direction,)))
    with torch.no_grad():
        expected = jvp(run, (values,), (direction,))
    curved = None
    for dual, value, tangent in zip((output.logits, *output.features), *expected, strict=True):
        assert tangent.abs().max() > 0
        scale = {"rtol": 0, "atol": 1e-10 * tangent.abs().max().item()}
        torch.testing.assert_close(dual.tangents[0], tangent, **scale)
        torch.testing.assert_close(dual.value, value, rtol=1e-10, atol=1e-10)
        curved = curved or dual.curved
    assert curved == CURVED.get(name)


@pytest.mark.parametrize("name", NAMES)
def test_tangents_of_part_of_a_training_batch_are_those_of_the_whole(name: str) -> None:
    batch, direction = images(3), images(3, seed=1) - 0.5
    results = []
    for rows in (3, 2):
        module = settled(name).train()
        torch.manual_seed(0)  # stochastic depth
        with torch.no_grad():
            results.append(module(Dual(batch, (direction[:rows],))))
    whole, part = results
    assert torch.equal(part.value, whole.value)
    torch.testing.assert_close(part.tangents[0], whole.tangents[0][:2], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_hessian_tangents_are_refused_exactly_where_the_network_is_curved(name: str) -> None:
    module, pairs = shared(name), layers(name)
    names, shapes = tuple(pair.student for pair in pairs), tuple(pair.student_shape for pair in pairs)
    context = TransferContext(names, shapes, shapes, SHAPE, CLASSES, 10, module, module, names)
    if name in CURVED:
        with pytest.raises(MapError, match=f"calls '{CURVED[name]}'; choose form: hvp"):
            HessianTransfer(context, form="tangent")
        HessianTransfer(context, form="hvp")
    else:
        HessianTransfer(context, form="tangent")
