"""Losses and scores of one and of several labels, by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from kdstudy.training.evaluate import evaluate
from kdstudy.training.objective import LabelTerm, chance_score, label_loss, multilabel_scores


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_the_loss_of_one_label_is_the_negative_log_probability() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]])
    labels = torch.tensor([1, 1])
    assert float(label_loss(logits, labels)) == pytest.approx((-math.log(3 / 4) - math.log(1 / 5)) / 2)
    assert float(label_loss(logits, labels, "sum")) == pytest.approx(-math.log(3 / 4) - math.log(1 / 5))


def test_the_loss_of_several_labels_is_the_mean_over_samples_and_classes() -> None:
    logits = torch.tensor([[logit(0.9), logit(0.2)], [logit(0.5), logit(0.5)]])
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    each = [[-math.log(0.9), -math.log(0.8)], [math.log(2), math.log(2)]]
    assert float(label_loss(logits, labels)) == pytest.approx(sum(map(sum, each)) / 4)
    assert float(label_loss(logits, labels, "sum")) == pytest.approx(sum(map(sum, each)) / 2)


def test_labels_count_by_their_weight() -> None:
    logits, labels = torch.tensor([[0.0, math.log(3)]]), torch.tensor([1])
    assert float(LabelTerm(0.5).of(logits, labels)) == pytest.approx(-0.5 * math.log(3 / 4))
    smoothed = label_loss(logits, labels, smoothing=0.2)
    assert float(LabelTerm(2, 0.2).of(logits, labels)) == pytest.approx(2 * float(smoothed))


def test_smoothed_labels_share_some_of_their_weight_with_all_classes() -> None:
    logits = torch.tensor([[0.0, math.log(3)]])
    assert float(label_loss(logits, torch.tensor([1]), smoothing=0.2)) == pytest.approx(
        -0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4)
    )
    several = torch.tensor([[logit(0.9), logit(0.2)]])
    of_first = 0.9 * math.log(0.9) + 0.1 * math.log(0.1)
    of_second = 0.1 * math.log(0.2) + 0.9 * math.log(0.8)
    smoothed = label_loss(several, torch.tensor([[1.0, 0.0]]), smoothing=0.2)
    assert float(smoothed) == pytest.approx(-(of_first + of_second) / 2)


LOGITS = torch.tensor([[3.0, 1.0, -1.0], [2.0, 2.0, 1.0], [1.0, -3.0, -2.0], [-1.0, -1.0, -3.0]])
LABELS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])


def test_scores_of_several_labels_by_hand() -> None:
    # Class 0: positives at ranks 1 and 3: (1 + 2/3) / 2. Class 1: at ranks 1 and 4: (1 + 2/4) / 2.
    # Class 2 has none. Yes: class 0 three times, two rightly; class 1 twice, one rightly, one
    # missed; class 2 once, wrongly.
    scores = multilabel_scores(LOGITS, LABELS)
    assert scores == {
        "map": pytest.approx((5 / 6 + 3 / 4) / 2),
        "f1_micro": pytest.approx(2 * 3 / (2 * 3 + 3 + 1)),
        "f1_macro": pytest.approx((4 / 5 + 2 / 4) / 2),
        "map_classes": 2.0,
    }


def test_confident_logits_keep_their_order() -> None:
    logits = torch.tensor([[30.0, 0.0], [31.0, 0.0], [32.0, 0.0]])
    scores = multilabel_scores(logits, torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]))
    assert scores["map"] == 1
    assert scores["map_classes"] == 1


@pytest.mark.parametrize("logits", [LOGITS, LOGITS * math.inf, LOGITS * math.nan])
def test_what_is_not_defined_is_no_number(logits: torch.Tensor) -> None:
    assert multilabel_scores(logits, torch.zeros_like(LABELS)) == {}
    assert bool(multilabel_scores(logits, LABELS)) == bool(logits.isfinite().all())


def test_chance_of_labels_that_nobody_has_is_no_number_either() -> None:
    with pytest.raises(AssertionError, match="no positive"):
        chance_score(torch.zeros(4, 2), 2)


class Lookup(nn.Module):
    """Gives the logits that it was told, by the image's first pixel."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[images[:, 0, 0, 0].long()]


def parts(labels: torch.Tensor, size: int) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    indices = torch.arange(len(labels))
    images = indices.float().view(-1, 1, 1, 1)
    return [(images[part], labels[part], part) for part in indices.split(size)]


@pytest.mark.parametrize("size", [1, 3, 4])
def test_evaluation_of_several_labels_is_over_the_whole_split(size: int) -> None:
    module = Lookup(LOGITS).train()
    found = evaluate(module, parts(LABELS, size))
    assert found.scores == multilabel_scores(LOGITS, LABELS)
    assert found.score == found.scores["map"]
    assert found.loss == pytest.approx(float(label_loss(LOGITS, LABELS)))
    assert module.training


def test_evaluation_of_one_label_is_accuracy_and_nothing_else() -> None:
    found = evaluate(Lookup(LOGITS), parts(torch.tensor([0, 0, 1, 0]), 3))
    assert found.score == 0.75
    assert dict(found.scores) == {}


@pytest.mark.parametrize("labels", [LABELS, torch.tensor([0, 0, 1, 0])], ids=["several labels", "one label"])
def test_a_diverged_network_has_no_score(labels: torch.Tensor) -> None:
    found = evaluate(Lookup(LOGITS / 0), parts(labels, 3))
    assert not math.isfinite(found.loss)
    assert found.score is None
    assert dict(found.scores) == {}


def test_images_without_any_label_give_no_score() -> None:
    found = evaluate(Lookup(LOGITS), parts(torch.zeros_like(LABELS), 3))
    assert math.isfinite(found.loss)
    assert (found.score, dict(found.scores)) == (None, {})


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 1, 2, 3], 0.25), ([0, 1, 1], 2 / 3), ([3, 3, 3], 1.0), ([2, 0, 1, 2, 0, 2, 2, 2], 5 / 8)],
)
def test_chance_of_one_label_is_what_always_naming_the_most_frequent_class_scores(
    labels: list[int], expected: float
) -> None:
    assert chance_score(torch.tensor(labels), 4) == pytest.approx(expected)
    always = torch.zeros(len(labels), 4)
    always[:, torch.tensor(labels).bincount().argmax()] = 1
    assert float((always.argmax(dim=1) == torch.tensor(labels)).double().mean()) == pytest.approx(expected)


@pytest.mark.parametrize(("count", "positives"), [(1, 1), (2, 1), (5, 2), (6, 1), (6, 6)])
def test_chance_of_several_is_the_mean_over_all_orders(count: int, positives: int) -> None:
    found = []
    for places in itertools.combinations(range(1, count + 1), positives):
        found.append(sum(rank / place for rank, place in enumerate(places, 1)) / positives)
    labels = torch.zeros(count, 3)
    labels[:positives, :2] = 1  # the third class has none and does not count
    assert chance_score(labels, 3) == pytest.approx(sum(found) / len(found))
