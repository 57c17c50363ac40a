"""What the feature methods share: chosen layers, sizes, unit vectors, warm-up."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from kdstudy.transfer.features import Warmup, common_size, pooled, unit
from kdstudy.transfer.maps import resize
from kdstudy.transfer.sp import SimilarityTransfer
from tests.transfer.waves import batch_of, context, seen, wave


@pytest.mark.parametrize(
    ("layers", "at", "names"),
    [
        (3, "all", ["layer1", "layer2", "layer3"]),
        (3, "last", ["layer3"]),
        (3, "middle", ["layer2"]),
        (2, "middle", ["layer2"]),
        (1, "middle", ["layer1"]),
    ],
)
def test_the_layers_compared(layers: int, at: str, names: list[str]) -> None:
    method = SimilarityTransfer(context((3, 2, 2), (4, 2, 2), layers=layers), at=at)
    maps = [wave(4, 3, 2, 2, phase=float(index)) for index in range(len(names))]
    assert list(method.terms(seen(*maps), seen(*maps), batch_of(4))) == [f"sp/{name}" for name in names]


def test_the_smaller_height_and_the_smaller_width_are_common() -> None:
    student, teacher = common_size(torch.arange(8.0).view(1, 1, 4, 2), torch.arange(8.0).view(1, 1, 2, 4))
    assert torch.equal(student, torch.tensor([[[[1.0, 2.0], [5.0, 6.0]]]]))
    assert torch.equal(teacher, torch.tensor([[[[0.5, 2.5], [4.5, 6.5]]]]))


@pytest.mark.parametrize(("shape", "size"), [((7, 14), (4, 4)), ((5, 3), (2, 3)), ((6, 4), (4, 3)), ((5, 9), (1, 2))])
def test_sizes_that_do_not_divide_pool_as_torch_does(shape: tuple[int, int], size: tuple[int, int]) -> None:
    feature = wave(2, 3, *shape)
    assert torch.allclose(resize(feature, size), functional.adaptive_avg_pool2d(feature, size), rtol=0, atol=1e-14)


def test_pooling_keeps_channels() -> None:
    assert torch.equal(pooled(torch.arange(8.0).view(1, 2, 2, 2)), torch.tensor([[1.5, 5.5]]))


def test_a_zero_vector_stays_zero_without_gradient() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    values = unit(vectors)
    assert torch.allclose(values, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    values[:, 0].sum().backward()
    assert torch.allclose(vectors.grad, torch.tensor([[0.128, -0.096], [0.0, 0.0]]))


def test_warm_up_counts_images_in_train_mode_only() -> None:
    warmup = Warmup(2.0, 10)
    assert [float(warmup(5)) for _ in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    warmup = Warmup(2.0, 10)
    warmup.eval()(5)
    assert float(warmup(5)) == 0.0
    assert Warmup(0.0, 10)(5) == 1.0
    resumed = Warmup(2.0, 10)
    resumed.load_state_dict({"seen": torch.tensor(5)})
    assert float(resumed(5)) == 0.5
