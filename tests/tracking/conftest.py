from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdstudy.ledger import StudyRecord
from kdstudy.tracking import Tracker
from tests.servers import default_uri
from tests.tracking.records import make_study


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One empty MLflow database for all tests: to create the schema takes a second or more."""
    folder = tmp_path_factory.mktemp("migrated")
    Tracker(default_uri(folder), folder / "artifacts").close()
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, migrated: Path) -> Path:
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def tracker(store: Path) -> Iterator[Tracker]:
    tracker = Tracker(default_uri(store), store / "artifacts")
    yield tracker
    tracker.close()


@pytest.fixture
def study() -> StudyRecord:
    return make_study()
