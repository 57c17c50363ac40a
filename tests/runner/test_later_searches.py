"""Searches that `kdstudy confirm` adds: whole ones, through every interruption, in ledgers old and new; without Ray."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kdstudy.analysis import compare
from kdstudy.cluster import EpochFinished
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.runner import confirm_study, resume_study, run_study
from kdstudy.seeds import confirm_seed, search_seed
from kdstudy.storage import Store
from kdstudy.study import parse_study
from tests.runner.in_process import InProcess
from tests.runner.test_whole_studies import TEXT, at, digits, trials


def store_in(folder: Path) -> Store:
    return Store.at(str(folder / "store"), tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of one search that was run to its end, and with what MLflow has of it."""
    folder = tmp_path_factory.mktemp("finished")
    run_study(parse_study(TEXT, "whole.yaml"), store_in(folder), cluster=InProcess())
    return folder


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Store:
    """Its store, copied: each test goes on with it in its own way."""
    shutil.copytree(finished, tmp_path / "own")
    return store_in(tmp_path / "own")


def places(found: tuple[TrialRecord, ...]) -> list[tuple[int, str, str, int]]:
    return [(trial.search, trial.arm, trial.phase, trial.index) for trial in found]


@pytest.mark.slow
def test_two_whole_searches_are_added_and_an_interruption_forgets_neither(store: Store) -> None:
    first = trials(store)
    assert {trial.search for trial in first} == {0}
    # The first search has numbers 0 to 5, the second begins at 100.
    with pytest.raises(KeyboardInterrupt):
        confirm_study("latest", store, searches=2, cluster=InProcess(at(102, EpochFinished, KeyboardInterrupt())))
    with Ledger.open(store.ledger_url) as ledger:
        study_id = ledger.resolve("latest")
        assert (ledger.study(study_id).status, ledger.study(study_id).searches) == ("interrupted", 3)
        rows = compare(ledger, [study_id]).rows
        assert [row.judgement.scores.count for row in rows] == [1], "nothing of the others is complete"
    result = resume_study("latest", store, cluster=InProcess())
    assert result.study.status == "finished"
    assert result.counts == {"completed": 18, "stopped": 0, "diverged": 0, "failed": 0}
    found = trials(store)
    assert found[:6] == first, "what there was is as it was"
    one = [(arm, phase, index) for _, arm, phase, index in places(first)]
    assert sorted(places(found)) == sorted((search, *place) for search in range(3) for place in one)
    assert {trial.search for trial in found if trial.exploratory} == {1, 2}, "the file declares one"
    for search in range(3):
        seeds = {trial.data_seed for trial in found if trial.search == search and trial.phase == "confirm"}
        assert seeds == {confirm_seed(search_seed(3, search), 0)}
        values = {trial.config["split_seed"] for trial in found if trial.search == search}
        assert values == {search_seed(3, search)}
    assert result.comparison is not None
    declared, later = result.comparison.rows
    assert (declared.judgement.scores.count, later.judgement.scores.count) == (1, 3)
    assert [row.verdict for row in (declared, later)] == ["no_verdict", "no_verdict"], "one seed, and exploratory"


@pytest.mark.slow
def test_interrupted_or_not_the_digits_are_the_same(store: Store, tmp_path: Path) -> None:
    confirm_study("latest", store, searches=1, cluster=InProcess())
    shutil.copy(tmp_path / "own" / "mlflow.db", tmp_path)
    other = store_in(tmp_path)
    run_study(parse_study(TEXT.replace("seeds: 1", "searches: 2, seeds: 1"), "whole.yaml"), other, cluster=InProcess())
    assert digits(other) == digits(store), "two searches at once, or one after the other"


def test_a_ledger_of_an_older_version_is_read_and_written(store: Store) -> None:
    first = trials(store)
    path = store.local / "ledger.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE IF EXISTS kdstudy_searches")
    with Ledger.open(store.ledger_url) as ledger:
        study_id = ledger.resolve("latest")
        assert ledger.study(study_id).searches is None
        assert ledger.trials(study_id) == first
        assert [row.judgement.scores.count for row in compare(ledger, [study_id]).rows] == [1]
    with closing(sqlite3.connect(path)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    assert "kdstudy_searches" not in tables, "reading writes nothing"
    assert confirm_study("latest", store, searches=1, cluster=InProcess()).counts["completed"] == 12
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT study_id, searches FROM kdstudy_searches").fetchall() == [(study_id, 2)]
        # An older kdstudy, which knows of no search, sees a trial of another index for each.
        indices = database.execute('SELECT "index" FROM kdstudy_trials WHERE number >= 100').fetchall()
    assert {index // 2**20 for (index,) in indices} == {1}
