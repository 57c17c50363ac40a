"""The JSON Schemas: valid themselves, strict, and met by what the package prints."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

import kdstudy
from kdstudy.analysis import Gain, GainDifference, compare
from kdstudy.cli import schemas
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.report.curves import Curve, LayerCurve
from kdstudy.results import EpochRecord, LayerRecord, TrialResult
from kdstudy.study import ArmId
from tests.confirmed import record


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Two studies of two searches with every state a trial can be in, and a search that was added later."""
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        for position in range(2):
            study_id = f"digits-0000000{position}"
            runs = {
                f"attention/{policy}": [
                    [0.5 + (search + seed**2) / 50 * len(policy) / 9 for seed in range(2)] for search in range(3)
                ]
                for policy in ("constant", "layerwise")
            }
            record(opened, runs, "searches: 2, seeds: 2", study_id=study_id, seed=position)
            states = ("queued", "running", "completed", "stopped", "diverged", "failed")
            for index, state in enumerate(states, 1):
                number = 100 + index
                trial = TrialRecord(study_id, number, "search", ArmId("attention", "constant"), index, 1, 2, {"a.b": 1})
                opened.add_trial(trial)
                end(opened, study_id, number, state, index / 10)
        yield opened


def end(ledger: Ledger, study_id: str, number: int, state: str, score: float) -> None:
    if state == "queued":
        return
    ledger.start_trial(study_id, number)
    if state in ("completed", "stopped"):
        ledger.finish_trial(study_id, number, TrialResult(state, 1, score, score, "ab" * 32))
    elif state != "running":
        ledger.finish_trial(study_id, number, TrialResult(state, 1, error="Traceback" if state == "failed" else None))


def validate(name: str, document: Any) -> None:
    validator = Draft202012Validator(schemas.schema(name), format_checker=Draft202012Validator.FORMAT_CHECKER)
    validator.validate(document)


def show_document(ledger: Ledger, study_id: str) -> dict[str, Any]:
    study = ledger.study(study_id)
    return {
        "study_id": study.id,
        "name": study.name,
        "status": study.status,
        "created": study.created.isoformat(timespec="seconds"),
        "message": study.message,
        "seed": study.seed,
        "dataset": study.dataset.to_json(),
        "teacher": study.teacher.to_json(),
        "environment": study.environment,
        "tracking": study.tracking.to_json(),
        "warm_start": {"study_id": "digits-00000001", "trials": {"kd/constant": [2, 3]}},
        "best": {"trial": 2, "arm": "kd/constant", "values": {"a.b": 1}, "val": 0.2},
        "arms": [
            {
                "arm": {"transfer": "kd", "policy": "constant"},
                "trials": 6,
                "completed": 1,
                "stopped": 1,
                "diverged": 1,
                "failed": 1,
                "best": 2,
                "best_val": 0.2,
                "confirmed": 4,
                "test_mean": 0.5,
                "test_sd": None,
            }
        ],
        "importance": {"kd/constant": {"a.b": 1.0}},
        "trials": [trial.to_json() for trial in ledger.trials(study_id)],
    }


@pytest.mark.parametrize("name", schemas.NAMES)
def test_every_schema_is_one_and_forbids_what_it_does_not_name(name: str) -> None:
    loaded = schemas.schema(name)
    Draft202012Validator.check_schema(loaded)
    assert loaded["$schema"] == "https://json-schema.org/draft/2020-12/schema"

    def closed(node: Any) -> Iterator[bool]:
        if isinstance(node, dict):
            if "properties" in node:
                yield node["additionalProperties"] is False
            for child in node.values():
                yield from closed(child)
        elif isinstance(node, list):
            for child in node:
                yield from closed(child)

    assert all(closed(loaded))
    assert any(closed(loaded))


def test_the_package_offers_the_schemas() -> None:
    assert kdstudy.schema is schemas.schema
    with pytest.warns(DeprecationWarning, match=r"kdstudy\.schema;"):
        assert kdstudy.schemas is schemas


def test_the_schemas_cost_pydantic_alone() -> None:
    """A program that checks documents pays neither for the ledger nor for numbers."""
    code = "import sys, kdstudy; kdstudy.schema('report'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "scipy", "sqlalchemy", "ray", "mlflow", "optuna"} & set(done.stdout.split())


@pytest.mark.parametrize(
    "whole",
    [
        LayerRecord("layer1", 0.25, -0.5, 1.5),
        EpochRecord(1, 1.5, {}, 0.5, 1.25, 0.1, {}, (LayerRecord("layer1", 0.25, -0.5, 1.5),)),
        Gain("digits-00000000", "digits", 0.1, 3, 0.02),
        GainDifference("kd", "constant", "walk", *[Gain("digits-00000000", None, None, 0, None)] * 2, None, None, None),
        Curve("kd/constant", (1, 2), (0.5, 0.75), (None, 0.125), (1, 2)),
        LayerCurve("kd/walk", "layer1", "momentum", (1, 2), (0.5, 0.75), (None, 0.125), (1, 2)),
    ],
    ids=lambda whole: type(whole).__name__,
)
def test_a_record_that_is_printed_whole_forgets_no_field(whole: Any) -> None:
    assert json.dumps(whole.to_json()) == json.dumps(asdict(whole))


def test_a_comparison_of_one_and_of_several_studies(ledger: Ledger) -> None:
    one = compare(ledger, ["latest"]).to_json()
    validate("compare", one)
    assert [(row["family"], row["searches"]) for row in one["comparisons"]] == [("study", 2), ("exploratory", 3)]
    both = compare(ledger, ["digits-00000000", "digits-00000001"]).to_json()
    validate("compare", both)
    assert len(both["gain_differences"]) == 1
    assert [row["searches"] for row in both["comparisons"]] == [2, 3, 2, 3, 4], "and both together"


def test_a_list(ledger: Ledger) -> None:
    validate("list", [summary.to_json() for summary in ledger.summaries()])
    validate("list", [])


def test_a_study_shown(ledger: Ledger) -> None:
    document = show_document(ledger, "digits-00000000")
    assert {trial["state"] for trial in document["trials"]} == {
        "queued",
        "running",
        "completed",
        "stopped",
        "diverged",
        "failed",
    }
    validate("show", document)
    validate("show", {**document, "best": None, "arms": [], "importance": {}, "trials": []})


def test_one_trial_shown_has_its_epochs(ledger: Ledger) -> None:
    document = show_document(ledger, "digits-00000000")
    layers = (LayerRecord("layer1", 0.25, -0.5, 1.5),)
    epochs = [
        EpochRecord(1, 1.5, {"cross_entropy": 1.5}, 0.5, 1.25, 0.1, {"head": 0.1}, layers, 2.0),
        EpochRecord(2, None, {"cross_entropy": None}, None, None, 0.1, {"head": 0.1}),
    ]
    trial = {**document["trials"][0], "history": [epoch.to_json() for epoch in epochs]}
    validate("show", json.loads(json.dumps({**document, "trials": [trial]})))


def test_a_run(ledger: Ledger) -> None:
    compared = compare(ledger, ["latest"]).to_json()
    document = {
        "study_id": "digits-00000000",
        "status": "finished",
        "trials": {"completed": 6, "stopped": 2, "diverged": 2, "failed": 2},
        "best": {"trial": 2, "arm": "kd/constant", "values": {"a.b": 1}, "val": 0.2},
        "comparison": compared["comparisons"],
        "warnings": compared["warnings"],
        "answer": compared["answers"][0],
    }
    assert document["warnings"] and document["answer"]["take_home"]
    validate("run", document)
    validate("run", {**document, "best": None, "comparison": [], "warnings": []})


def test_a_reproduction() -> None:
    document = {
        "study_id": "digits-00000000",
        "trial": 3,
        "verdict": "within_tolerance",
        "epochs_compared": 8,
        "max_abs_difference": 1e-5,
        "weights_identical": False,
        "differences": [
            {"field": "numerics.threads", "recorded": 1, "here": 2},
            {"field": "git.diff", "recorded": None, "here": "x"},
        ],
        "tolerance": 1e-3,
        "deterministic": True,
    }
    validate("reproduce", document)
    validate("reproduce", {**document, "max_abs_difference": None, "weights_identical": None})


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "maybe"},
        {"p_value": 1.5},
        {"searches": 2.5},
        {"seeds": None},
        {"family": "others"},
        {"estimand": "both"},
        {"differences": ["0.1"]},
        {"surprise": 1},
        {"diverged": 1},
        {"diverged": {"baseline": 1, "treatment": 0.5}},
        {"detectable": -0.1},
        {"study_id": "x"},
        {"difference": "0.1"},
    ],
)
def test_a_wrong_row_is_refused(ledger: Ledger, change: dict[str, Any]) -> None:
    document = copy.deepcopy(compare(ledger, ["latest"]).to_json())
    document["comparisons"][0].update(change)
    with pytest.raises(ValidationError):
        validate("compare", document)


def test_every_field_of_a_row_is_required(ledger: Ledger) -> None:
    row = compare(ledger, ["latest"]).to_json()["comparisons"][0]
    for name in row:
        with pytest.raises(ValidationError, match=f"'{name}' is a required property"):
            validate(
                "compare",
                {
                    "study_id": "digits-00000000",
                    "warnings": [],
                    "answers": [],
                    "comparisons": [{key: value for key, value in row.items() if key != name}],
                },
            )


@pytest.mark.parametrize(
    "warning",
    [
        {"kind": "surprise", "arm": None, "message": "x"},
        {"kind": "at_chance", "message": "x"},
        {"kind": "at_chance", "arm": 1, "message": "x"},
        {"kind": "at_chance", "arm": None, "message": "x", "study_id": "x"},
    ],
)
def test_a_wrong_warning_is_refused(ledger: Ledger, warning: dict[str, Any]) -> None:
    document = compare(ledger, ["latest"]).to_json()
    assert [{*each} for each in document["warnings"]] == [{"kind", "arm", "message"}]
    with pytest.raises(ValidationError):
        validate("compare", {**document, "warnings": [warning]})


def test_times_are_utc(ledger: Ledger) -> None:
    summary = ledger.summaries()[0].to_json()
    trial = ledger.trial("digits-00000000", 103)
    assert summary["created"].endswith("+00:00")
    assert trial.to_json()["finished"].endswith("+00:00")
    assert trial.created.utcoffset() == timedelta(0)
