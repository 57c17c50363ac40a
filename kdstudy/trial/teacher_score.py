"""How a teacher scores, and whether that is near chance: before a study runs, and when it does."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from kdstudy.data import Dataset, Split, eval_batches
from kdstudy.errors import ModelError
from kdstudy.models import pretrained_of
from kdstudy.study import TrialConfig
from kdstudy.training import chance_score, evaluate, fixed_numerics
from kdstudy.trial.build import EVAL_BATCH

CHANCE_MARGIN = 0.1
"""A teacher must be at least this share of the way from chance to perfect."""
MULTILABEL_MARGIN = 0.02
"""Likewise of mean average precision, which is low throughout where classes are rare, and varies less by luck."""
GLANCE = 512
"""Validation images that tell beforehand whether a teacher that is loaded is near chance."""


class Glance(NamedTuple):
    """What some validation images say of a teacher.

    Attributes:
        score: On them, in [0, 1].
        chance: The chance level there.
        images: How many they are.
        of: How many there are.
    """

    score: float
    chance: float
    images: int
    of: int

    @property
    def whole(self) -> bool:
        """Whether all were looked at."""
        return self.images == self.of

    @property
    def told(self) -> str:
        """On how many images the score is."""
        return f"{self.of} images" if self.whole else f"{self.images} of {self.of} images"


def glance(config: TrialConfig, module: nn.Module, data: Dataset) -> Glance | None:
    """Score a network on validation images, spread over all of them where they are many.

    Args:
        config: Any trial of the study.
        module: The teacher, with its weights.
        data: With a validation split, decoded or not.

    Returns:
        None where no score is defined, since none of those images has a label.

    Raises:
        ModelError: Its answers are not finite numbers.
        DataError: An image cannot be decoded.
    """
    count = len(data.val)
    images = min(count, GLANCE)
    some = data.val.take(torch.arange(images) * count // images)
    if data.multilabel and not some.labels.any():
        return None
    score = finite_score(config, module, some.decoded())
    return Glance(score, chance_score(some.labels, data.num_classes), images, count)


def finite_score(config: TrialConfig, module: nn.Module, split: Split) -> float:
    """Return the score of a teacher that was loaded.

    Raises:
        ModelError: It has none.
    """
    score, known = score_on(config, module, split), pretrained_of(module)
    if score is None:
        raise ModelError(
            f"teacher.path: with the weights of {config.teacher.path or (known and known.file)} the answers are not "
            "finite numbers; check the file, teacher.mean, std and key_map"
        )
    return score


def score_on(config: TrialConfig, module: nn.Module, split: Split) -> float | None:
    """Return a network's score on a split, on the CPU; None where its answers are not finite numbers."""
    with fixed_numerics(config.resources.cpus):
        return evaluate(module, eval_batches(split, EVAL_BATCH, torch.device("cpu"))).score


def weakness(config: TrialConfig, data: Dataset, val: float, chance: float) -> str | None:
    """Return why a teacher is refused that scores near chance; None where it does not, or may.

    Args:
        config: Any trial of the study.
        data: Its data set.
        val: The teacher's score on validation images.
        chance: The chance level there.
    """
    margin = MULTILABEL_MARGIN if data.multilabel else CHANCE_MARGIN
    if config.teacher.allow_weak or val >= chance + margin * (1 - chance):
        return None
    longer = "train it longer, " if config.teacher.trained_epochs else ""
    return (
        f"its validation score {val:.3f} is near chance ({chance:.3f}); {longer}check mean, std and key_map, or set "
        "teacher.allow_weak: true"
    )
