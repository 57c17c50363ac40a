"""Measures how far two maps differ, as distributions over positions: the normalised Jensen-Shannon divergence.

Source: JSD(S, T) = H(b1 S + b2 T) - b1 H(S) - b2 H(T) of Kokane, Uddin, Xu, arXiv 2407.04871, after Lin 1991,
divided here by its upper bound H(b) = -b1 ln b1 - b2 ln b2, so that it lies in [0, 1] for any weights.

Shapes: B samples, P positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kdstudy.errors import MapError


@dataclass(frozen=True)
class LayerDivergence:
    """The divergence of one layer's maps over a probe set.

    Args:
        value: Mean over the samples used, in [0, 1]; NaN if none could be used.
        used: Samples whose two maps both have a finite, positive sum.
        student_empty: Samples left out because the student's map has not.
        teacher_empty: Samples left out because the teacher's map has not.
        samples: All of them, B.
    """

    value: float
    used: int
    student_empty: int
    teacher_empty: int
    samples: int

    @property
    def teacher_failed(self) -> bool:
        """Whether more than half of the teacher's maps are empty: there is nothing to compare with here."""
        return 2 * self.teacher_empty > self.samples

    @property
    def student_failed(self) -> bool:
        """Whether more than half were left out and the teacher is not to blame: the student diverged."""
        return 2 * self.used < self.samples and not self.teacher_failed


def measure_divergence(student_map: Tensor, teacher_map: Tensor, b1: float = 0.5) -> LayerDivergence:
    """Compare two maps sample by sample and average.

    Values count by their absolute size. Where heights or widths differ, the larger map is average-pooled: its
    mass is moved to the positions of the smaller one. Everything is computed in float64, since in float32
    near-identical maps give exactly 0.

    Args:
        student_map: (B, ...), any shape after the first.
        teacher_map: The same shape; the last two sizes may differ if there are three dimensions or more.
        b1: Weight of the student in (0, 1); the teacher's is 1 - b1.

    Raises:
        MapError: The shapes cannot be brought together.
    """
    student, teacher = _same_size(student_map.detach().double().abs(), teacher_map.detach().double().abs())
    mass_s, mass_t = student.flatten(1).sum(1), teacher.flatten(1).sum(1)
    full_s, full_t = _usable(mass_s), _usable(mass_t)
    both = full_s & full_t
    p_BP = student.flatten(1)[both] / mass_s[both, None]
    q_BP = teacher.flatten(1)[both] / mass_t[both, None]
    used = int(both.sum())
    value = float(_jensen_shannon(p_BP, q_BP, b1).mean()) if used else math.nan
    return LayerDivergence(value, used, int((~full_s).sum()), int((~full_t).sum()), len(both))


def _jensen_shannon(p_BP: Tensor, q_BP: Tensor, b1: float) -> Tensor:
    b2 = 1.0 - b1
    mixture = b1 * p_BP + b2 * q_BP
    # The three entropies are subtracted position by position: less is lost than between three sums.
    terms = b1 * (torch.xlogy(p_BP, p_BP) - torch.xlogy(p_BP, mixture)) + b2 * (
        torch.xlogy(q_BP, q_BP) - torch.xlogy(q_BP, mixture)
    )
    bound = -b1 * math.log(b1) - b2 * math.log(b2)
    return (terms.sum(1) / bound).clamp(0.0, 1.0)


def _usable(mass: Tensor) -> Tensor:
    return (mass > 0) & mass.isfinite()


def _same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    if student.shape == teacher.shape:
        return student, teacher
    if student.ndim not in (3, 4) or student.shape[:-2] != teacher.shape[:-2]:
        raise MapError(
            f"divergence: maps of shape {tuple(student.shape)} (student) and "
            f"{tuple(teacher.shape)} (teacher) cannot be compared; match layers whose maps "
            "differ in height and width only"
        )
    size = (min(student.shape[-2], teacher.shape[-2]), min(student.shape[-1], teacher.shape[-1]))
    return functional.adaptive_avg_pool2d(student, size), functional.adaptive_avg_pool2d(teacher, size)
