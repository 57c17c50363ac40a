"""Score a network on a split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Evaluation(NamedTuple):
    """What a split says of a network.

    Attributes:
        score: Accuracy in [0, 1].
        loss: Mean cross-entropy; may be NaN or infinite for a diverged network.
    """

    score: float
    loss: float


@torch.no_grad()
def evaluate(module: nn.Module, batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Evaluation:
    """Score ``module`` in eval mode; its training mode is restored.

    Args:
        module: Maps images (B, C, H, W) to logits (B, K).
        batches: (images, labels, indices), every sample once.
    """
    training = module.training
    module.eval()
    try:
        correct = total_loss = torch.zeros((), dtype=torch.float64)
        count = 0
        for images, labels, _ in batches:
            logits = module(images)
            correct = correct.to(logits.device) + (logits.argmax(1) == labels).sum()
            total_loss = total_loss.to(logits.device) + F.cross_entropy(logits, labels, reduction="sum").double()
            count += len(labels)
        return Evaluation(float(correct) / count, float(total_loss) / count)
    finally:
        module.train(training)
