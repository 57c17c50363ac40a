"""A study goes through what clusters do to programs, and ledger and MLflow hold what an undisturbed one leaves."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.audit import compare
from benchmarks.chaos import FAULTS, THROUGH_ALL, disturbed, random_kills
from benchmarks.lab import Lab

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def calm(lab: Lab) -> dict[str, Any]:
    found, _, _ = disturbed(lab, [])
    return found


def test_the_undisturbed_study_is_whole(calm: dict[str, Any]) -> None:
    assert calm["status"] == "finished"
    assert len(calm["trials"]) == len(calm["runs"]) == 18
    assert all(len(trial["epochs"]) == 20 for trial in calm["trials"].values())
    assert all(count == 1 for count in calm["points"].values())
    assert len({trial["weights"] for trial in calm["trials"].values()}) == 18
    assert compare(calm, calm).good


def test_the_audit_sees_what_is_lost_doubled_or_altered(calm: dict[str, Any]) -> None:
    first = next(iter(calm["points"]))
    fewer = {**calm, "points": {key: count for key, count in calm["points"].items() if key != first}}
    assert compare(calm, fewer).points[3] == 1
    twice = {**calm, "points": {**calm["points"], first: 2}, "runs": {**calm["runs"], "0": ["FINISHED", "RUNNING"]}}
    assert (compare(calm, twice).points[2], compare(calm, twice).trials[2], compare(calm, twice).unfinished) == (
        1,
        1,
        1,
    )
    altered = {**calm, "trials": {**calm["trials"], "3": {**calm["trials"]["3"], "weights": "0" * 64}}}
    assert not compare(calm, altered).equal
    gone = {**calm, "runs": {number: run for number, run in calm["runs"].items() if number != "5"}}
    assert compare(calm, gone).trials[3] == 1


def test_one_study_through_everything(lab: Lab, calm: dict[str, Any]) -> None:
    found, _, _ = disturbed(lab, THROUGH_ALL)
    assert compare(calm, found).good, compare(calm, found)


@pytest.mark.parametrize("fault", ["host preempted", "driver stopped, resumed"])
def test_notice_is_taken(lab: Lab, calm: dict[str, Any], fault: str) -> None:
    found, _, _ = disturbed(lab, [FAULTS[fault]])
    assert compare(calm, found).good, compare(calm, found)


def test_a_driver_killed_at_random_moments(lab: Lab, calm: dict[str, Any]) -> None:
    found, kills, _ = random_kills(lab, 4)
    assert kills > 0
    assert compare(calm, found).good, compare(calm, found)
