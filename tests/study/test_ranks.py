"""What a study file may say of ranks."""

from __future__ import annotations

import pytest

from kdstudy.errors import StudyError
from kdstudy.search.budget import TimeBudget, budget_of
from kdstudy.study import parse_study
from tests.tiny import TINY


def study(resources: str, text: str = TINY):
    return parse_study(f"{text}resources: {resources}\n")


def test_ranks_are_counted_in_the_hours_of_gpus() -> None:
    text = TINY.replace("trials_per_arm: 1", "budget: {gpu_hours: 8}")
    one, four = (budget_of(study(f"{{gpus: 1, ranks: {ranks}}}", text)) for ranks in (1, 4))
    assert isinstance(one, TimeBudget)
    assert isinstance(four, TimeBudget)
    assert one.seconds == 4 * four.seconds


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (
            "{gpus: 4}",
            r"resources\.gpus: one rank of .* on one GPU at most, got 4; write gpus: 1 and ranks: 4",
        ),
        ("{gpus: 0.5, ranks: 2}", r"resources\.gpus: each of several ranks takes a GPU of its own, got 0\.5"),
        ("{pack: 2, ranks: 2}", r"resources\.pack: trials of several ranks train alone, got 2; write off"),
        ("{ranks: 3}", r"train\.batch_size: must split over 3 ranks, as many images for each, got 32; write 33"),
    ],
)
def test_what_ranks_cannot_do_is_said(resources: str, said: str) -> None:
    with pytest.raises(StudyError, match=said):
        study(resources)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("{choice: [32, 33]}", "got 33; write 32"),
        ("{int: [16, 64]}", r"got 16 to 64; write a choice such as \[16, 32\]"),
    ],
)
def test_no_batch_size_may_be_drawn_that_does_not_split(size: str, said: str) -> None:
    with pytest.raises(StudyError, match=said):
        study("{ranks: 2}", TINY.replace("batch_size: 32", f"batch_size: {size}"))


def test_passes_of_ranks_that_wait_for_each_other_are_not_compiled() -> None:
    with pytest.raises(StudyError, match=r"numerics\.graph: a pass in which ranks wait .* got auto; write off"):
        study("{ranks: 2}", TINY + "numerics: {graph: auto}\n")
