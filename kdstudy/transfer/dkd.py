"""Decoupled knowledge distillation: soft targets in two parts, weighed apart.

Shapes: B samples, K classes.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from kdstudy.data import Batch
from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.base import (
    Observation,
    Temperature,
    TransferContext,
    WeighedTransfer,
    Weight,
)
from kdstudy.transfer.features import Warmup, WarmupEpochs


class DecoupledTransfer(WeighedTransfer):
    """Matches how sure the teacher is of the true class, and what it thinks of the others among themselves.

    With softened probabilities p = softmax(z / T) and true class t, let b = (p_t, 1 - p_t) and q_i = p_i / (1
    - p_t) for i != t. The loss is ``T^2 (alpha KL(b_T || b_S) + beta KL(q_T || q_S))``, the mean over
    samples; its terms are ``dkd/target`` and ``dkd/others``. Soft targets are the case alpha = 1 and beta = 1
    - p_t of the teacher, which is small where the teacher is sure: DKD lifts that coupling.

    Args:
        context: Networks and shapes; no layer is looked at.
        weight: Factor on both parts; 0 measures without teaching.
        alpha: Factor on the part of the true class.
        beta: Factor on the part of the other classes.
        warmup: Epochs over which the weight rises to its full value; 0: at once.
        kd_weight: Factor on soft targets besides; 0 leaves them out.
        temperature: T > 0 of all softened predictions.

    Raises:
        MapError: In the first batch, for multi-label data: there is no one true class.

    Source: Zhao et al. 2022, arXiv 2203.08679, equation 7; T^2, and defaults alpha 1, beta 8, T 4, as in the
        authors' code (mdistiller), where beta is tuned for each pair of networks. That
        code warms up over 20 of 240 epochs, by whole epochs; here the factor rises at every step, and the
        default is none, since a study may have fewer epochs than that. It removes the true class by
        subtracting 1000 from its logit, and can give an infinite loss where a probability underflows; here
        the class is left out and everything is computed from logarithms.
    """

    name: ClassVar[str] = "dkd"
    splits_batches: ClassVar[bool] = True
    needs: ClassVar[Literal["layers", "embedding", "nothing"]] = "nothing"
    cache_neutral_options: ClassVar[frozenset[str] | None] = frozenset(
        {"weight", "alpha", "beta", "warmup", "kd_weight", "temperature"}
    )

    def __init__(  # noqa: PLR0913 - a method's options
        self,
        context: TransferContext,
        *,
        weight: Weight = 1.0,
        alpha: Weight = 1.0,
        beta: Weight = 8.0,
        warmup: WarmupEpochs = 0.0,
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(context, weight=weight, kd_weight=kd_weight, temperature=temperature)
        self.alpha, self.beta = alpha, beta
        self.warmup = Warmup(warmup, context.num_train)

    def observe(self, network: FeatureExtractor, images: Tensor, draws: Any) -> Observation:
        """Run ``network`` and keep its logits."""
        return Observation(network(images).logits, ())

    def terms(self, student: Observation, teacher: Observation, batch: Batch) -> dict[str, Tensor]:
        """Return the two weighted divergences, and the soft targets' term if asked for.

        Raises:
            MapError: The data is multi-label.
        """
        if batch.labels.is_floating_point():
            raise MapError(
                "dkd: needs one true class an image, got multi-label data; choose kd or a method that compares layers"
            )
        target, others = decoupled_losses(student.logits, teacher.logits.detach(), batch.labels, self.temperature)
        factor = self.warmup(len(batch.labels))
        losses = {"target": factor * self.alpha * target, "others": factor * self.beta * others}
        return self.weighed(losses, student, teacher, batch)


def decoupled_losses(
    student_BK: Tensor, teacher_BK: Tensor, labels_B: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return T^2 times the divergence of (true class, rest) and of the other classes, means over samples.

    Args:
        student_BK: The student's logits.
        teacher_BK: The teacher's logits.
        labels_B: The true classes.
        temperature: T > 0.
    """
    parts = [_split(logits / temperature, labels_B) for logits in (student_BK, teacher_BK)]
    target, others = (
        temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
        for student, teacher in zip(*parts, strict=True)
    )
    return target, others


def _split(logits_BK: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of (p_t, 1 - p_t), (B, 2), and of the other classes' shares, (B, K - 1)."""
    column = torch.arange(logits_BK.shape[1] - 1, device=labels_B.device)
    others_BK = logits_BK.gather(1, column + (column >= labels_B.unsqueeze(1)))  # skips the true class
    true_B1 = logits_BK.gather(1, labels_B.unsqueeze(1))
    pair_B2 = torch.cat([true_B1, others_BK.logsumexp(dim=1, keepdim=True)], dim=1)
    return pair_B2.log_softmax(dim=1), others_BK.log_softmax(dim=1)
