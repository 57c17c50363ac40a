"""A user's own guesses: which trials they become, and that nothing else is moved by when they run."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from kdstudy.errors import RecordError, StoreError, StudyError
from kdstudy.ledger import LeaseOwner, Ledger
from kdstudy.runner import enqueue
from kdstudy.study import Study, parse_study
from tests.search.driving import TEXT, drive, ledger_with, plan

ID = "queue-00000000"
GUESS = {"train.base_lr": 0.2, "weight": 30}
FILLED = {"train.base_lr": 0.2, "arms.transfers.attention.weight": 30.0}
TAUGHT = ["attention/constant", "attention/layerwise"]


def study_of(sampler: str = "tpe", confirm: str = "seeds: 0") -> Study:
    """Three trials of each of four arms, two of which have a weight."""
    text = TEXT.replace("SAMPLER", sampler).replace("trials_per_arm: 6", "trials_per_arm: 3, startup: 1")
    return parse_study(text.replace("seeds: 2", confirm), "queue.yaml")


def searched(ledger: Ledger) -> dict[tuple[str, int, int], dict[str, Any]]:
    return {(trial.arm, trial.search, trial.index): trial.values for trial in ledger.trials(ID, "search")}


def test_a_guess_is_the_next_trial_of_every_arm_that_searches_its_values(tmp_path: Path) -> None:
    study = study_of("random")
    ledger, without = (ledger_with(tmp_path / f"{name}.db", study) for name in ("with", "without"))
    for each in (ledger, without):
        drive(each, study, slots=2, order=random.Random(0), limit=5, seeds=0)
    before = searched(ledger)
    taken = {arm: max(index for name, _, index in before if name == arm) + 1 for arm in TAUGHT}
    assert [(guess.arm, guess.search, guess.index, guess.values) for guess in enqueue(ledger, ID, GUESS)] == [
        (arm, 0, taken[arm], FILLED) for arm in TAUGHT
    ]
    for each in (ledger, without):
        drive(each, study, slots=3, order=random.Random(1), seeds=0)
    after, plain = searched(ledger), searched(without)
    assert [*after] == [*plain], "the budgets are what they were"
    for arm in TAUGHT:
        place = (arm, 0, taken[arm])
        assert after.pop(place) == plain.pop(place) | FILLED, "what it leaves open is proposed"
    assert after == plain, "a sampler that does not learn proposes the rest as ever"


def test_interruptions_slots_and_order_do_not_change_what_becomes_of_a_guess(tmp_path: Path) -> None:
    study, found = study_of("tpe", "searches: 2, seeds: 0"), []
    for run, (slots, limit) in enumerate(((1, 10**6), (4, 7))):
        ledger = ledger_with(tmp_path / f"{run}.db", study)
        enqueue(ledger, ID, GUESS)
        enqueue(ledger, ID, {"base_lr": 0.5})
        while drive(ledger, study, slots=slots, order=random.Random(run), limit=limit, seeds=0):
            pass
        found.append(plan(ledger))
        trials = searched(ledger)
        for search in range(2):
            for arm in TAUGHT:
                assert trials[arm, search, 0].items() >= FILLED.items()
                assert trials[arm, search, 1]["train.base_lr"] == 0.5
            assert trials["none/constant", search, 0]["train.base_lr"] == 0.5
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"base_lr": 5},
            "--values: train.base_lr of attention/constant is searched in .*log.*, got 5; choose",
        ),
        ({"base_lr": "fast"}, "is searched in .* got fast"),
        ({"base_lr": True}, "is searched in .* got true"),
        ({"bas_lr": 0.1}, "--values: nothing is searched under 'bas_lr'; "),
        ({"epochs": 3}, "nothing is searched under 'epochs'; choose from"),
    ],
)
def test_values_that_no_arm_could_have_are_one_line(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    ledger = ledger_with(tmp_path / "ledger.db", study_of())
    with pytest.raises(StudyError, match=message):
        enqueue(ledger, ID, values)
    assert ledger.guesses(ID) == ()


def test_an_arm_takes_no_more_guesses_than_it_has_trials(tmp_path: Path) -> None:
    ledger = ledger_with(tmp_path / "ledger.db", study_of())
    for index in range(3):
        assert {guess.index for guess in enqueue(ledger, ID, GUESS)} == {index}
    with pytest.raises(StudyError, match="attention/constant, attention/layerwise have no trial left"):
        enqueue(ledger, ID, GUESS)
    assert {guess.arm for guess in enqueue(ledger, ID, {"base_lr": 0.3})} == {"none/constant", "none/layerwise"}


def test_a_study_that_runs_or_is_finished_takes_none(tmp_path: Path) -> None:
    ledger = ledger_with(tmp_path / "ledger.db", study_of())
    other = LeaseOwner.here()
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as driver:
        driver.acquire_lease(ID, other)
        with pytest.raises(StoreError, match="is running it; wait until it ends"):
            enqueue(ledger, ID, GUESS)
        driver.release_lease(ID, other)
    ledger.update_study(ID, status="finished")
    with pytest.raises(RecordError, match="is finished, and its budget spent"):
        enqueue(ledger, ID, GUESS)
    ledger.update_study(ID, status="interrupted")
    assert len(enqueue(ledger, ID, GUESS)) == 2, "no lease is left behind"
