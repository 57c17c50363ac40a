"""The probe's chance level: by hand, and against an independent computation on unrelated maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn

from kdstudy.models import FeatureExtractor
from kdstudy.training import Probe, ProbeResult
from kdstudy.training.probe import CHUNK
from kdstudy.transfer import TransferContext
from kdstudy.transfer.attention import AttentionTransfer

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]


class Seen(nn.Module):
    """A network whose one layer is the image itself, so that its attention map is known: the mean of squares."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).mean((2, 3))


def probe(images: Tensor) -> ProbeResult:
    """Return what the probe measures where student and teacher see the same in every image."""
    shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    student, teacher = Seen(), Seen()
    context = TransferContext(
        layers=("layer",),
        student_shapes=(shape,),
        teacher_shapes=(shape,),
        image_shape=shape,
        num_classes=shape[0],
        num_train=len(images),
        student=student,
        teacher=teacher,
        teacher_layers=("layer",),
    )
    made = Probe(AttentionTransfer(context), images, torch.Generator(), 0.5)
    return made.measure(FeatureExtractor(student, ("layer",)), FeatureExtractor(teacher.eval(), ("layer",)))


def test_the_chance_level_by_hand() -> None:
    left, right, even = [[[1.0, 0.0]]], [[[0.0, 1.0]]], [[[1.0, 1.0]]]
    # Each meets the other's map, of disjoint support.
    assert probe(torch.tensor([left, right])) == ([0.0], [pytest.approx(1.0, abs=1e-15)])
    # Rolled by 4 // 2: left and even meet each other, and so do right and even, all four at H(3/4, 1/4) - ln 2 / 2.
    half = (1.5 * np.log(2) - 0.75 * np.log(3)) / np.log(2)
    assert probe(torch.tensor([left, right, even, even])).chances == [pytest.approx(half, abs=1e-15)]


def test_an_image_without_a_map_is_left_out_pair_by_pair() -> None:
    left, right, none = [[[1.0, 0.0]]], [[[0.0, 1.0]]], [[[0.0, 0.0]]]
    # Rolled by 3 // 2: of (left, none), (right, left) and (none, right) one is a pair of maps.
    assert probe(torch.tensor([left, right, none])) == ([0.0], [pytest.approx(1.0, abs=1e-15)])
    # Rolled by 4 // 2, each meets an image without a map.
    assert probe(torch.tensor([left, right, none, none])) == ([0.0], [None])


def test_one_image_has_no_other() -> None:
    assert probe(torch.ones(1, 1, 2, 2)).chances == [None]


def test_the_teachers_maps_are_rolled_by_half_the_whole_set_however_it_is_cut_into_batches() -> None:
    count = CHUNK + 45
    images = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    maps = images.double().square().flatten(1).numpy()
    others = [jensenshannon(maps[i], maps[(i - count // 2) % count], base=2) ** 2 for i in range(count)]
    found = probe(images)
    assert found.divergences == [0.0]
    assert found.chances == [pytest.approx(np.mean(others), rel=1e-6)]  # the maps are float32


def half_normal(stream: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.abs(stream.standard_normal(shape))


def background(stream: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return 3.0 + stream.exponential(size=shape)


def channels(stream: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return (stream.standard_normal((*shape, 16)) ** 2).mean(-1)


def lognormal(sd: float) -> Draw:
    return lambda stream, shape: np.exp(sd * stream.standard_normal(shape))


def exponential(stream: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return stream.exponential(size=shape)


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize(
    ("draw", "lowest", "highest"),
    [
        (half_normal, 0.165, 0.200),
        (exponential, 0.214, 0.277),
        (channels, 0.033, 0.044),
        (lognormal(0.3), 0.023, 0.032),
        (lognormal(1.0), 0.19, 0.29),
        (background, 0.013, 0.019),
    ],
)
def test_unrelated_maps_have_the_level_of_their_shape(draw: Draw, lowest: float, highest: float, size: int) -> None:
    """By scipy, of pairs drawn by numpy; the bounds are those of the sizes from 2 to 32, each of 4,000 other pairs."""
    stream, count = np.random.default_rng(5), 1000
    images = torch.from_numpy(np.sqrt(draw(stream, (count, 1, size, size))))
    (found,) = probe(images).chances
    pairs = draw(stream, (2, count, size * size))
    independent = jensenshannon(pairs[0], pairs[1], base=2, axis=1) ** 2
    error = np.sqrt(2 / count) * np.std(independent)  # in the probe each map is in two pairs
    assert abs(found - independent.mean()) < 4 * np.hypot(error, error / np.sqrt(2))
    assert lowest - 4 * error < found < highest + 4 * error
