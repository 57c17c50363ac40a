"""Distances between what a student and a teacher give: logits and maps.

Shapes: B samples, K classes, M entries of a map.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

# Under the root of a squared norm: keeps every derivative finite at a zero map, far below any map that
# matters.
_EPS = 1e-16


def soft_target_loss(student_BK: Tensor, teacher_BK: Tensor, temperature: float, *, multilabel: bool) -> Tensor:
    """Return ``T^2 * KL(teacher || student)`` of the softened predictions, the mean over samples.

    Args:
        student_BK: The student's logits.
        teacher_BK: The teacher's logits; no gradient flows to them.
        temperature: T > 0 divides both; the factor T^2 keeps the size of the gradient nearly independent of
            it.
        multilabel: Classes are independent yes/no questions: the KL divergences of K Bernoulli variables are
            summed.

    Source: Hinton, Vinyals, Dean 2015, arXiv 1503.02531, section 2.1. They write the cross-entropy with soft
        targets; the KL divergence differs from it by the teacher's entropy alone, has the same gradient and
        is 0 when the two agree. The Bernoulli form for several labels is ours.
    """
    student, teacher = student_BK / temperature, teacher_BK.detach() / temperature
    if multilabel:
        yes = teacher.sigmoid() * (functional.logsigmoid(teacher) - functional.logsigmoid(student))
        no = (-teacher).sigmoid() * (functional.logsigmoid(-teacher) - functional.logsigmoid(-student))
        return temperature**2 * (yes + no).sum(dim=1).mean()
    log_student, log_teacher = functional.log_softmax(student, dim=1), functional.log_softmax(teacher, dim=1)
    return temperature**2 * functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def unit_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared distance of two maps, each divided by its own L2 norm, the mean over samples."""
    return squared_distance(_unit(student), _unit(teacher.detach()))


def squared_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared L2 distance of two maps (B, ...), summed over entries, averaged over samples."""
    return (student - teacher).flatten(1).square().sum(dim=1).mean()


def mean_square_norm(maps: Tensor) -> Tensor:
    """Return the mean over samples of the squared L2 norm of maps of shape (B, ...)."""
    return maps.flatten(1).square().sum(dim=1).mean()


def batch_unit_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared distance of two batches of maps, each divided by its own RMS norm over the batch.

    The gradient flows through the student's norm, so it has no component along the scale of its maps.
    """
    return squared_distance(_batch_unit(student), _batch_unit(teacher.detach()))


def _batch_unit(maps: Tensor) -> Tensor:
    return maps / (mean_square_norm(maps) + _EPS).sqrt()


def _unit(maps: Tensor) -> Tensor:
    flat_BM = maps.flatten(1)
    return flat_BM / (flat_BM.square().sum(dim=1, keepdim=True) + _EPS).sqrt()
