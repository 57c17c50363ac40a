"""The probe: how far each crucial layer of the student is from the teacher's, measured without disturbing training."""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
from torch import Tensor

from kdstudy.errors import MapError
from kdstudy.layerwise import measure_divergence
from kdstudy.models import FeatureExtractor, evaluating
from kdstudy.results import finite
from kdstudy.transfer import MapTransfer

CHUNK = 256


class StudentMapsEmptyError(Exception):
    """More than half of a student layer's maps are zero everywhere: the student has diverged."""


class ProbeResult(NamedTuple):
    """What one probe has found: one number per crucial layer, in order of depth.

    Attributes:
        divergences: Of the student's maps from the teacher's of the same images, in [0, 1].
        chances: Of the student's maps from the teacher's of *other* images, in [0, 1]: what the divergence would be if
            the two agreed on no image. None where no pair of images has maps.
    """

    divergences: list[float]
    chances: list[float | None]


@final
class Probe:
    """Measures the divergence of each crucial layer on a fixed set of images, both networks in eval mode.

    The images are not augmented, the directions are drawn once, and the teacher's maps are computed once. The chance
    level costs no further pass: the maps of the whole set are there, and the teacher's are rolled by half of it, so
    that image i's map in the student meets that of image i - N // 2 in the teacher.

    Args:
        instrument: The method whose maps are compared; only observed, never trained.
        images: (N, C, H, W) float32 in [0, 1], on the training device.
        directions: Stream from which the fixed directions are drawn.
        b1: Weight of the student in the divergence, in (0, 1).
    """

    def __init__(self, instrument: MapTransfer, images: Tensor, directions: torch.Generator, b1: float) -> None:
        self._instrument = instrument.eval()
        self._chunks = [(chunk, instrument.draw(chunk, directions)) for chunk in images.split(CHUNK)]
        self._b1 = b1
        self._teacher_maps: tuple[Tensor, ...] | None = None

    def measure(self, student: FeatureExtractor, teacher: FeatureExtractor) -> ProbeResult:
        """Return each crucial layer's divergence and its chance level.

        Images of which either map is zero everywhere are left out, of the chance level pair by pair.

        Raises:
            StudentMapsEmptyError: More than half of the student's maps of a layer are zero everywhere.
            MapError: More than half of the teacher's are.
        """
        if self._teacher_maps is None:
            self._teacher_maps = self._maps(teacher)
        with evaluating(student.module):
            student_maps = self._maps(student)
        maps = list(zip(student_maps, self._teacher_maps, strict=True))
        layers = zip(self._instrument.layers, maps, strict=True)
        return ProbeResult(
            divergences=[self._layer(layer, *pair) for layer, pair in layers],
            chances=[self._chance(*pair) for pair in maps],
        )

    def _layer(self, layer: str, student_map: Tensor, teacher_map: Tensor) -> float:
        measured = measure_divergence(student_map, teacher_map, self._b1)
        if measured.teacher_failed:
            raise MapError(
                f"layers.{layer}: the teacher's map is zero everywhere for {measured.teacher_empty} of "
                f"{len(teacher_map)} probe images; choose another layer or another layerwise.map"
            )
        if measured.student_failed:
            raise StudentMapsEmptyError(
                f"the student's map at layer '{layer}' was zero everywhere for more than half of the probe's images"
            )
        return float(measured.value)

    def _chance(self, student_map: Tensor, teacher_map: Tensor) -> float | None:
        half = len(teacher_map) // 2
        value = measure_divergence(student_map, teacher_map.roll(half, 0), self._b1).value if half else math.nan
        return finite(value)

    @torch.no_grad()
    def _maps(self, network: FeatureExtractor) -> tuple[Tensor, ...]:
        observed = [self._instrument.observe(network, chunk, draws).maps for chunk, draws in self._chunks]
        return tuple(torch.cat(layer) for layer in zip(*observed, strict=True))
