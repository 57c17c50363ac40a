"""A local database: its artifacts follow a store that was copied or moved, and one that cannot be used is one line."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from kdstudy.errors import StoreError
from kdstudy.ledger import StudyRecord
from kdstudy.tracking import Tracker, check_access
from kdstudy.tracking.client import RejectedError, connect
from kdstudy.tracking.local import follow_store
from tests.servers import default_uri
from tests.tracking.records import make_epoch, make_study, make_trial

ADDRESSES = (
    "SELECT artifact_location FROM experiments WHERE name <> 'Default'",
    "SELECT artifact_uri FROM runs",
    "SELECT artifact_location FROM logged_models",
    "SELECT source FROM model_versions",
    "SELECT storage_location FROM model_versions",
)


def addresses(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [row[0] for query in ADDRESSES for row in connection.execute(query)]


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def publish(uri: str, artifacts: Path, study: StudyRecord) -> None:
    """Have a study's run, a trial's, a model and a version of it written, as a driver does."""
    tracker = Tracker(uri, artifacts)
    opened = make_study(**{**vars(study), "tracking": tracker.open_study(study)})
    tracker.publish_trial(opened, make_trial(study_id=study.id), [make_epoch(1)])
    client, experiment = tracker._client, opened.tracking.experiment_id
    model = client.create_logged_model(experiment, name="student", source_run_id=opened.tracking.run_id)
    if not client.search_registered_models("name = 'smoke'"):
        client.create_registered_model("smoke")
    client.create_model_version("smoke", str(model.artifact_location), opened.tracking.run_id, model_id=model.model_id)
    tracker.close()


@pytest.fixture
def first(tmp_path: Path, migrated: Path, study: StudyRecord) -> Path:
    """A store in which a study was published."""
    folder = tmp_path / "first"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    publish(default_uri(folder), folder / "artifacts", study)
    return folder


def copied(first: Path, second: Path) -> None:
    shutil.copytree(first, second)


def moved(first: Path, second: Path) -> None:
    second.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(first, second)


def blocked(first: Path, second: Path) -> None:
    moved(first, second)
    first.write_text("in the way of whoever would make the old place anew")


@pytest.mark.parametrize("how", [copied, moved, blocked])
@pytest.mark.parametrize("name", ["second", "with spaces and \u00fcml\u00e4uts/100 percent"])
def test_artifacts_are_in_the_store_in_use(
    first: Path, tmp_path: Path, study: StudyRecord, how: Callable[[Path, Path], None], name: str
) -> None:
    second = tmp_path / name
    how(first, second)
    before, already = files(first), set(files(second))
    publish(default_uri(second), second / "artifacts", make_study(**{**vars(study), "id": "smoke-89abcdef"}))
    assert files(first) == before, "the original is as it was, and no old place is made anew"
    assert {path.name for path in set(files(second)) - already} >= {"study.yaml", "environment.json"}
    found = addresses(second / "mlflow.db")
    assert len(found) == 1 + 4 + 2 + 2 + 2
    assert {address for address in found if not address.startswith((second / "artifacts").as_uri() + "/")} == set()
    if how is copied:
        assert all(
            address.startswith((first / "artifacts").as_uri() + "/") for address in addresses(first / "mlflow.db")
        )


def test_what_a_copied_run_had_is_found_in_the_copy(first: Path, tmp_path: Path) -> None:
    copied(first, tmp_path / "second")
    moved(first, tmp_path / "aside")
    tracker = Tracker(default_uri(tmp_path / "second"), tmp_path / "second" / "artifacts")
    opened = tracker.open_study(make_study())
    fetched = tracker._client.download_artifacts(opened.run_id, "study.yaml", str(tmp_path))
    tracker.close()
    assert Path(fetched).read_text() == make_study().text
    assert not first.exists(), "though MLflow, in this process, knows the run's old place"


def test_the_same_store_by_another_name_is_left_alone(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = addresses(first / "mlflow.db")
    (tmp_path / "link").symlink_to(first)
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "link", Path("first"), Path("link")):
        follow_store(folder / "mlflow.db", folder / "artifacts")
        assert addresses(first / "mlflow.db") == before


def test_a_database_that_stores_share_follows_only_one_that_is_gone(first: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared.db"
    shutil.copy(first / "mlflow.db", shared)
    before = addresses(shared)
    follow_store(shared, tmp_path / "second" / "artifacts")
    assert addresses(shared) == before, "two stores, one database"
    moved(first, tmp_path / "second")
    follow_store(shared, tmp_path / "second" / "artifacts")
    old, new = ((tmp_path / name / "artifacts").as_uri() for name in ("first", "second"))
    assert addresses(shared) == [address.replace(old, new) for address in before]


def test_drivers_that_open_a_copy_at_the_same_time_put_it_right_once(first: Path, tmp_path: Path) -> None:
    second = first / "artifacts" / "copy"  # whose addresses begin as the old ones do
    shutil.copytree(first, tmp_path / "aside")
    shutil.move(tmp_path / "aside", second)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: follow_store(second / "mlflow.db", second / "artifacts"), range(8)))
    old, new = (f"{(folder / 'artifacts').as_uri()}/" for folder in (first, second))
    before = addresses(first / "mlflow.db")
    assert addresses(second / "mlflow.db") == [new + address.removeprefix(old) for address in before]


READ_ONLY = """
import os, sys
from pathlib import Path
from kdstudy.errors import StoreError
from kdstudy.tracking.local import check_database, follow_store

if os.getuid() == 0:
    os.setuid(65534)
folder = Path(sys.argv[1])
check_database(folder / "mlflow.db")
database = folder / "mlflow.db"
for work, more in ((follow_store, [folder / "artifacts"]), (check_database, [])):
    try:
        work(database, *more, **({} if more else {"write": True}))
        print("done")
    except StoreError as error:
        print(error)
"""


def test_a_copy_that_cannot_be_written_is_refused_in_one_line(first: Path) -> None:
    second = Path("/tmp") / f"kd-read-only-{os.getpid()}"
    copied(first, second)
    second.chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(second)], capture_output=True, text=True, check=True
        )
    finally:
        second.chmod(0o755)
        shutil.rmtree(second)
    assert len(done.stdout.splitlines()) == 2, done.stderr
    for line in done.stdout.splitlines():
        assert line.startswith(f"tracking: {second}/mlflow.db is not a usable database (")
        assert line.endswith("copy the store and name that one")


@pytest.mark.parametrize("version", ["7f2a7d5fae7d", "ffffffffffff"])  # an earlier one, and one not known here
@pytest.mark.parametrize(
    "work",
    [connect, check_access, lambda uri: Tracker(uri, Path("artifacts"), check=False)],
    ids=["driver", "doctor", "resume"],
)
def test_a_database_of_another_mlflow_is_one_line_with_the_command(
    store: Path, version: str, work: Callable[[str], object]
) -> None:
    with closing(sqlite3.connect(store / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    with pytest.raises(RejectedError) as caught:
        work(default_uri(store))
    message = str(caught.value)
    assert f"`mlflow db upgrade {default_uri(store)}`" in message
    assert f"schema {version}, not " in message
    assert "\n" not in message


FULL = """
import resource, signal, sys
from kdstudy.errors import StoreError
from kdstudy.tracking.client import connect

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    connect(sys.argv[1])
except StoreError as error:
    print(error)
"""


def test_a_disk_that_is_full_when_the_database_is_made_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, default_uri(tmp_path)], capture_output=True, text=True, check=True, timeout=100
    )
    assert done.stdout.startswith(f"tracking: {default_uri(tmp_path)}: "), done.stderr
    assert "see that the disk has room" in done.stdout
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing half-made is left"


def test_a_folder_that_cannot_be_written_is_one_line_at_once() -> None:
    with pytest.raises(StoreError, match=r"tracking: /proc/mlflow.db cannot be used \(.*\); choose another --store"):
        connect("sqlite:////proc/mlflow.db")


def test_a_file_that_is_no_database_is_one_line_for_whoever_looks(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    for work in (connect, check_access):
        with pytest.raises(StoreError, match="is not a usable database"):
            work(default_uri(tmp_path))


def test_a_look_at_a_database_that_is_well_leaves_it_so(first: Path) -> None:
    before = (first / "mlflow.db").read_bytes()
    assert check_access(default_uri(first)).place == default_uri(first)
    assert (first / "mlflow.db").read_bytes() == before
