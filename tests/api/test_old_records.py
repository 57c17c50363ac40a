"""Python reads the records of earlier versions: what they said then, and the figures of today."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kdstudy
from kdstudy.errors import RecordError, StudyError
from tests.fixtures.record_format_1.load import HERE, PLUGIN, load

EXPECTED = json.loads((HERE / "expected.json").read_text())
FINISHED, INTERRUPTED = (line["study_id"] for line in EXPECTED["list"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return load(tmp_path_factory.mktemp("records"))


@pytest.fixture
def _allowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets the network of the records, which lies beside them, be imported."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("KDSTUDY_ALLOW_PLUGINS", PLUGIN["KDSTUDY_ALLOW_PLUGINS"])
    yield
    sys.modules.pop(PLUGIN["KDSTUDY_ALLOW_PLUGINS"], None)


def plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize(("study_id", "shown"), [(FINISHED, "show"), (INTERRUPTED, "show_interrupted")])
def test_frames_hold_what_was_shown_then_and_need_no_plugin(store: Path, study_id: str, shown: str) -> None:
    study, then = kdstudy.load_study(study_id, store=store), EXPECTED[shown]
    rows = study.trials_dataframe().to_dict("records")
    assert len(rows) == len(then["trials"])
    for row, trial in zip(rows, then["trials"], strict=True):
        for name in ("trial", "phase", "state", "val", "test", "epochs"):
            assert plain(row[name]) == trial[name], (trial["trial"], name)
        assert row["arm"] == f"{trial['arm']['transfer']}/{trial['arm']['policy']}"
        for part in ("seeds", "values"):
            assert {name: row[f"{part}.{name}"] for name in trial[part]} == trial[part]
    frame = study.epochs_dataframe()
    assert len(frame) == sum(trial["epochs"] for trial in then["trials"])
    assert frame.groupby("trial").size().to_dict() == {
        trial["trial"]: trial["epochs"] for trial in then["trials"] if trial["epochs"]
    }
    assert repr(study) == f"<Study {study_id}: {study.status}, {len(rows)} trials>"


def test_an_epoch_is_what_it_was(store: Path) -> None:
    found = kdstudy.load_study(FINISHED, store=store).trial(1).epochs
    for was, now in zip(EXPECTED["history"], found, strict=True):
        document = now.to_json()
        assert {name: document[name] for name in ("epoch", "loss", "val", "rates")} == {  # type: ignore[literal-required]
            name: was[name] for name in ("epoch", "loss", "val", "rates")
        }


def test_studies_are_listed(store: Path) -> None:
    assert [summary.id for summary in kdstudy.studies(store=store)] == [FINISHED, INTERRUPTED]
    assert kdstudy.load_study(store=store).id == INTERRUPTED, "the latest"


@pytest.mark.usefixtures("_allowed")
def test_comparisons_come_to_the_same(store: Path) -> None:
    frame = kdstudy.compare(FINISHED, store=store).to_dataframe()
    then = EXPECTED["compare"]["comparisons"]
    assert list(frame["treatment"]) == [row["treatment"] for row in then]
    for name in ("baseline_mean", "treatment_mean"):
        missing = [math.nan if row[name] is None else row[name] for row in then]
        assert list(frame[name]) == pytest.approx(missing, rel=1e-12, nan_ok=True)
    assert list(frame["verdict"]) == ["not_told_apart", "no_verdict"], "once both were inconclusive"
    assert "strong" in str(kdstudy.compare(FINISHED, store=store))
    best = kdstudy.load_study(FINISHED, store=store).best_trial
    assert (best.number, best.arm, best.values) == tuple(
        EXPECTED["show"]["best"][key] for key in ("trial", "arm", "values")
    )
    nothing = kdstudy.compare(INTERRUPTED, store=store).to_dataframe()
    assert set(nothing["verdict"]) == {"no_verdict"}


@pytest.mark.usefixtures("_allowed")
def test_the_figures_of_a_real_study_are_drawn(store: Path) -> None:
    study = kdstudy.load_study(FINISHED, store=store)
    arm = "strong/layerwise"
    drawn = [
        study.plot_verdict(),
        study.plot_curves("strong"),
        study.plot_layers(arm),
        study.plot_layers(arm, "divergence"),
        study.plot_slice(arm, "train.base_lr"),
        study.plot_parallel_coordinate(arm),
        study.plot_cost(),
    ]
    assert all("var(" not in figure.to_json() for figure in drawn)
    confirmed = [trial for trial in study.trials if trial.arm == arm and trial.phase == "confirm"]
    last = [trial.epochs[-1].val or 0.0 for trial in confirmed]
    curve = next(trace for trace in drawn[1].data if trace.name == "layerwise")
    assert curve.y[-1] == pytest.approx(sum(last) / len(last))
    with pytest.raises(RecordError, match="too few search trials"):  # 20 of an arm
        study.plot_param_importances()
    page = study._repr_html_()
    assert "<td>strong/layerwise</td>" in page


def test_without_its_plugin_a_study_of_then_says_what_to_allow(store: Path) -> None:
    study = kdstudy.load_study(FINISHED, store=store)
    with pytest.raises(StudyError, match="allow_plugins"):
        study.compare()
    assert "allow_plugins" in study._repr_html_(), "a notebook shows it, and no traceback"
