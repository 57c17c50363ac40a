"""Loss and scores with the labels, chosen by their kind: one class per image, or any number.

Shapes: B samples, N of them in a split, K classes, P of them with at least one positive.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class LabelTerm(NamedTuple):
    """How the labels count in the loss of training.

    Attributes:
        weight: Factor on the cross-entropy, > 0.
        smoothing: See `label_loss`.
    """

    weight: float = 1.0
    smoothing: float = 0.0

    def of(self, logits_BK: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted mean cross-entropy, a scalar."""
        loss = label_loss(logits_BK, labels, smoothing=self.smoothing)
        return loss if self.weight == 1 else self.weight * loss


def is_multilabel(labels: Tensor) -> bool:
    """Return whether labels are (B, K) float32 in {0, 1} rather than (B,) int64 classes."""
    return labels.is_floating_point()


def label_loss(
    logits_BK: Tensor, labels: Tensor, reduction: Literal["mean", "sum"] = "mean", smoothing: float = 0.0
) -> Tensor:
    """Return the cross-entropy with the labels, in nats.

    Of several labels, the binary cross-entropies of the K independent questions, averaged over classes, as is
    usual. Where most answers are no it is much smaller than that of one label, and so are its gradients:
    larger learning rates and smaller transfer weights suit it.

    Args:
        logits_BK: Unscaled predictions.
        labels: (B,) int64, or (B, K) float32.
        reduction: Over samples.
        smoothing: s in [0, 1): the target is 1 - s of the label and s of the uniform distribution (Szegedy et al. 2016,
            arXiv 1512.00567, section 7); of several labels, where each has two answers, s / 2 for no.
    """
    if not is_multilabel(labels):
        return functional.cross_entropy(logits_BK, labels, reduction=reduction, label_smoothing=smoothing)
    if smoothing:
        labels = labels * (1 - smoothing) + smoothing / 2
    loss = functional.binary_cross_entropy_with_logits(logits_BK, labels, reduction=reduction)
    return loss if reduction == "mean" else loss / labels.shape[1]


def multilabel_scores(logits_NK: Tensor, labels_NK: Tensor) -> dict[str, float]:
    """Return the scores of multi-label predictions, by torchmetrics; none where they are not defined.

    ``map``: average precision, mean over the P classes that have a positive here; ``map_classes``: P;
    ``f1_micro`` and ``f1_macro``: F1 with yes from probability 1/2, over all decisions, and its mean over the
    P classes.

    They are not defined without a positive, nor for logits that are not finite.

    Args:
        logits_NK: Unscaled predictions.
        labels_NK: In {0, 1}.
    """
    if not bool(logits_NK.isfinite().all() & labels_NK.any()):
        return {}
    from kdstudy.data import import_torchvision

    import_torchvision()  # torchmetrics imports it, and cannot where its native library does not load
    from torchmetrics.functional.classification import binary_average_precision, multilabel_f1_score

    probabilities_NK, labels_NK = logits_NK.double().sigmoid(), labels_NK.long()  # float32 would tie near 1
    num_classes = labels_NK.shape[1]
    present_P = labels_NK.any(dim=0).nonzero().flatten()
    precisions = [binary_average_precision(probabilities_NK[:, k], labels_NK[:, k]) for k in present_P.tolist()]
    f1_K = multilabel_f1_score(probabilities_NK, labels_NK, num_classes, average="none")
    return {
        "map": float(torch.stack(precisions).double().mean()),
        "f1_micro": float(multilabel_f1_score(probabilities_NK, labels_NK, num_classes, average="micro")),
        "f1_macro": float(f1_K[present_P].double().mean()),
        "map_classes": float(len(present_P)),
    }


def chance_score(labels: Tensor, num_classes: int) -> float:
    """Return the score to expect of a network that knows nothing of an image.

    One label: the share of the most frequent class, which always naming it scores; 1 / K where classes are
    equally frequent. Several: the expected mean average precision of a random order, exactly; that is
    somewhat more than the mean share of positives, since a rare class may come early by luck.

    Source: Bestgen 2015, *Exact expected average precision of the random baseline for system evaluation*,
    Prague
        Bulletin of Mathematical Linguistics 103.

    Args:
        labels: Of the split; of several, at least one positive.
        num_classes: K.
    """
    if not is_multilabel(labels):
        return float(torch.bincount(labels, minlength=num_classes).max()) / len(labels)
    count = len(labels)
    positives_P = labels.sum(dim=0, dtype=torch.float64)
    positives_P = positives_P[positives_P > 0]
    assert len(positives_P), "no score is defined where there is no positive"
    harmonic = float((1 / torch.arange(1, count + 1, dtype=torch.float64)).sum())
    if count == 1:
        return 1.0
    expected_P = ((positives_P - 1) / (count - 1) * (count - harmonic) + harmonic) / count
    return float(expected_P.mean())
