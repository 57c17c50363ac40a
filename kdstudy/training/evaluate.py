"""Scores a network on a split: `evaluate`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdstudy.data import Batch
from kdstudy.models import evaluating
from kdstudy.training.objective import is_multilabel, label_loss, multilabel_scores
from kdstudy.training.ranks import ALONE, Ranks

NONE: Mapping[str, float] = MappingProxyType({})


class Evaluation(NamedTuple):
    """The scores of a network on a split.

    Attributes:
        score: The objective, in [0, 1]: accuracy, or of several labels macro mean average precision. None where it is
            not defined: of a network whose loss or logits are not finite, or without any positive.
        loss: Mean cross-entropy with the labels; may be NaN or infinite for a diverged network.
        scores: Further scores by name; empty for single labels and for a network whose logits are not finite.
    """

    score: float | None
    loss: float
    scores: Mapping[str, float] = NONE

    def trouble(self, epoch: int) -> str | None:
        """Return why a network has no score after an epoch's training, without a full stop; None if it has one."""
        if not math.isfinite(self.loss):
            return f"the loss on the validation images was {self.loss} after epoch {epoch}"
        if self.score is None:
            return f"the student's answers to the validation images were not finite numbers after epoch {epoch}"
        return None


@torch.no_grad()
def evaluate(module: nn.Module, batches: Iterable[Batch], ranks: Ranks = ALONE) -> Evaluation:
    """Score ``module`` in eval mode; the modes of its submodules are restored.

    Args:
        module: Maps images (B, C, H, W) to logits (B, K).
        batches: Every sample once, over all ranks.
        ranks: Those that score it, and all learn its scores.
    """
    correct = total_loss = torch.zeros((), dtype=torch.float64)
    count = 0
    several: list[tuple[Tensor, Tensor]] = []
    with evaluating(module):
        for images, labels, _ in batches:
            logits = module(images)
            if is_multilabel(labels):
                several.append((logits, labels))
            else:
                correct = correct.to(logits.device) + (logits.argmax(1) == labels).sum()
            total_loss = total_loss.to(logits.device) + label_loss(logits, labels, "sum").double()
            count += len(labels)
    answers = [torch.cat(parts).cpu() for parts in zip(*several, strict=True)]
    found = ranks.of_each((float(correct), float(total_loss), count, answers))
    right, losses, counts, parts = zip(*found, strict=True)
    loss = sum(losses) / sum(counts)
    if not any(parts):
        return Evaluation(sum(right) / sum(counts) if math.isfinite(loss) else None, loss)
    logits, labels = (torch.cat(each) for each in zip(*filter(None, parts), strict=True))
    scores = multilabel_scores(logits, labels)
    return Evaluation(scores.get("map"), loss, scores)
