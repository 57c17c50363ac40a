"""Which term of a loss was not finite, and where: told once an epoch, from values that no step has waited for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from kdstudy.training.evaluate import Evaluation
from kdstudy.training.term_log import TermLog

NAN, INF = float("nan"), float("inf")


def told(steps: int, at: Mapping[str, tuple[int, float]], names: str = "kd at") -> str | None:
    """What is said of an epoch in which each term of ``at`` has that value from that step, from 1, on."""
    log = TermLog()
    for step in range(1, steps + 1):
        values = {name: at[name][1] if name in at and step >= at[name][0] else 0.5 for name in names.split()}
        log.add({name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()})
    return log.trouble(4)


@pytest.mark.parametrize(
    ("steps", "at", "said"),
    [
        (300, {}, None),
        (5, {"at": (3, NAN)}, 'the term "at" of the loss was nan in epoch 4, step 3'),
        (5, {"at": (3, -INF), "kd": (4, NAN)}, 'the term "at" of the loss was -inf in epoch 4, step 3'),
        (5, {"at": (5, INF), "kd": (5, INF)}, 'the terms "kd", "at" of the loss were inf in epoch 4, step 5'),
        (5, {"at": (1, INF), "kd": (1, NAN)}, 'the terms "kd", "at" of the loss were not finite in epoch 4, step 1'),
        (300, {"kd": (128, NAN)}, 'the term "kd" of the loss was nan in epoch 4, step 128'),
        (300, {"kd": (129, NAN), "at": (300, NAN)}, 'the term "kd" of the loss was nan in epoch 4, step 129'),
    ],
)
def test_the_first_that_was_not_finite_is_named(steps: int, at: dict[str, tuple[int, float]], said: str | None) -> None:
    assert told(steps, at) == said


def test_many_terms_are_counted() -> None:
    names = "a b c d e"
    said = told(2, dict.fromkeys(names.split(), (2, NAN)), names)
    assert said == 'the terms "a", "b", "c" and 2 more of the loss were nan in epoch 4, step 2'


def test_an_epoch_without_a_step_has_no_trouble() -> None:
    assert TermLog().trouble(1) is None


def test_of_the_validation_images() -> None:
    assert Evaluation(0.5, 1.0).trouble(2) is None
    assert Evaluation(None, NAN).trouble(2) == "the loss on the validation images was nan after epoch 2"
    assert "answers to the validation images were not finite" in str(Evaluation(None, 1.0).trouble(2))
