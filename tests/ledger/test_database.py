"""Opening a ledger, and what is said where that, or a later transaction, fails."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kdstudy.errors import KdstudyError, RecordError, StoreError
from kdstudy.ledger import LeaseOwner, Ledger, StudyRecord

STUDY = StudyRecord("digits-00000001", "digits", 7, "name: digits\n")
SECRET = "s3cr3t"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def filled(path: Path) -> Iterator[Path]:
    with Ledger(f"sqlite:///{path}") as ledger:
        ledger.create_study(STUDY)
    yield path


def refusal(url: str, create: bool = False) -> str:
    """Return the one line that says why a ledger cannot be opened."""
    with pytest.raises(StoreError) as caught:
        Ledger.open(url, create=create)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is missing


def test_a_missing_ledger_reads_as_empty_and_nothing_is_created(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/store/ledger.db") as ledger:
        assert ledger.summaries() == ()
        assert ledger.trials("x") == ()
        for work in (lambda: ledger.resolve("latest"), lambda: ledger.create_study(STUDY), ledger.require):
            with pytest.raises(StoreError, match=r"ledger .*ledger\.db: does not exist; name the --store of your"):
                work()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["empty", "foreign"])
def test_a_database_without_our_tables_reads_as_empty_and_is_left_alone(path: Path, content: str) -> None:
    path.touch()
    if content == "foreign":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE other (a)")
    before = path.read_bytes()
    with Ledger.open(f"sqlite:///{path}") as ledger:
        assert ledger.summaries() == ()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_folders_and_tables_are_created_on_request_and_found_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a/b c/ledger.db"
    for create in (True, True, False):
        with Ledger.open(url, create=create) as ledger:
            ledger.create_study(STUDY)
            assert ledger.resolve("latest") == STUDY.id
            assert ledger.place == f"{tmp_path}/a/b c/ledger.db"


def test_a_relative_path_keeps_its_meaning_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Ledger("sqlite:///ledger.db") as ledger:
        ledger.create_study(STUDY)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert ledger.resolve("latest") == STUDY.id
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_two_that_create_at_once_make_one_ledger(path: Path) -> None:
    errors: list[BaseException] = []

    def create() -> None:
        try:
            Ledger(f"sqlite:///{path}").close()
        except BaseException as error:  # noqa: BLE001 - a thread's error must reach the test
            errors.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version FROM kdstudy_schema").fetchall() == [(1,)]


# What cannot be used


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "the URL cannot be read; write sqlite:///PATH or postgresql"),
        (f"postgresql+psycopg://kd:{SECRET}@host:port/x", "the URL cannot be read"),
        (
            f"mysql://kd:{SECRET}@host/x",
            "no such kind of database, got 'mysql'; write sqlite:///PATH or postgresql",
        ),
        (
            f"postgresql://kd:{SECRET}@host/x",
            "leaves the driver open, got 'postgresql'; write postgresql+psycopg://",
        ),
        (
            f"postgresql+nodriver://kd:{SECRET}@host/x?password={SECRET}",
            "postgresql+nodriver://kd:***@host/x: its driver",
        ),
        ("sqlite://", "a database in memory keeps no record"),
        ("sqlite:///:memory:", "a database in memory keeps no record"),
    ],
)
def test_urls_that_name_no_ledger(url: str, says: str) -> None:
    message = refusal(url, create=True)
    assert message.startswith("ledger")
    assert says in message
    assert SECRET not in message


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_no_database(path: Path, create: bool) -> None:
    path.write_bytes(b"not a database, but quite long enough to look like one " * 100)
    message = refusal(f"sqlite:///{path}", create)
    assert message == (
        f"ledger {path}: cannot be used, got 'file is not a database'; it is not a ledger, or is damaged: "
        "restore a copy, or choose another --ledger"
    )


def test_a_damaged_ledger(filled: Path) -> None:
    content = bytearray(filled.read_bytes())
    content[200:] = b"\xff" * (len(content) - 200)
    filled.write_bytes(content)
    assert "damaged: restore a copy" in refusal(f"sqlite:///{filled}")


@pytest.mark.parametrize("create", [True, False])
def test_a_folder_in_its_place(path: Path, create: bool) -> None:
    path.mkdir()
    assert refusal(f"sqlite:///{path}", create).endswith(
        "got 'unable to open database file'; check that the file and its folder are there and can be written"
    )


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refusal(f"sqlite:///{tmp_path}/file/ledger.db", create=True)
    assert message == (
        f"ledger {tmp_path}/file/ledger.db: its folder cannot be created, got 'File exists' for "
        f"{tmp_path}/file; choose another --store or --ledger"
    )


def test_a_ledger_of_a_newer_kdstudy(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.execute("UPDATE kdstudy_schema SET version = 2")
    for create in (True, False):
        assert refusal(f"sqlite:///{filled}", create) == (
            f"ledger {filled}: a newer kdstudy wrote it, got schema 2, this one knows 1; upgrade kdstudy"
        )


def test_a_ledger_that_vanishes_is_not_created_anew(filled: Path) -> None:
    with Ledger(f"sqlite:///{filled}") as ledger:
        filled.unlink()
        with pytest.raises(StoreError, match="unable to open database file"):
            ledger.summaries()
        with pytest.raises(StoreError, match="unable to open database file"):
            ledger.update_study(STUDY.id, lag=1)
    assert not filled.exists()


AS_NOBODY = """
import os, sys
from kdstudy.errors import KdstudyError
from kdstudy.ledger import Ledger
os.setgid(65534); os.setuid(65534)
with Ledger.open(sys.argv[1]) as ledger:
    print([study.id for study in ledger.summaries()])
    try:
        ledger.update_study("digits-00000001", lag=1)
    except KdstudyError as error:
        print(error)
try:
    Ledger(sys.argv[1] + ".new")
except KdstudyError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user who may not write")
def test_what_may_not_be_written_can_be_read(filled: Path) -> None:
    temporary = Path(tempfile.gettempdir())
    for folder in filled.parents:
        if folder != temporary and folder.is_relative_to(temporary):
            folder.chmod(0o755)
    filled.chmod(0o644)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, f"sqlite:///{filled}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0] == "['digits-00000001']"
    assert lines[1].startswith(f"ledger {filled}: cannot be used, got 'attempt to write a readonly database'; check")
    assert lines[2].startswith(f"ledger {filled}.new: cannot be used, got 'unable to open database file'; check")
    assert len(lines) == 3


# A busy database


def test_a_transaction_waits_until_another_is_over(filled: Path) -> None:
    with closing(sqlite3.connect(filled, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
        timer.start()
        with Ledger(f"sqlite:///{filled}") as ledger:
            begun = time.monotonic()
            ledger.update_study(STUDY.id, lag=3)
            assert time.monotonic() - begun > 0.1
            assert ledger.study(STUDY.id).lag == 3
        timer.join()


def test_readers_do_not_wait_and_patience_ends_in_one_line(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdstudy.ledger.engine._SQLITE_WAIT", 0.05)
    with (
        closing(sqlite3.connect(filled, isolation_level=None)) as other,
        Ledger(f"sqlite:///{filled}", patience=0.2) as ledger,
    ):
        other.execute("BEGIN IMMEDIATE")
        assert ledger.study(STUDY.id).lag is None
        begun = time.monotonic()
        with pytest.raises(StoreError, match="'database is locked'; another process has locked it") as caught:
            ledger.update_study(STUDY.id, lag=3)
        assert 0.1 < time.monotonic() - begun < 5
        assert "\n" not in str(caught.value)


def test_an_error_within_a_transaction_leaves_nothing_of_it(filled: Path) -> None:
    with Ledger(f"sqlite:///{filled}") as ledger:
        other = StudyRecord("other-00000001", "other", 0, "")
        with pytest.raises(KdstudyError):
            ledger._database.write(lambda connection: _half(connection, other))
        assert [study.id for study in ledger.summaries()] == [STUDY.id]


def _half(connection: object, study: StudyRecord) -> None:
    from kdstudy.ledger import studies

    studies.create(connection, study, "here")  # type: ignore[arg-type]
    raise RecordError("half way")


def test_a_forgotten_ledger_leaves_nothing_open(filled: Path) -> None:
    ledger = Ledger(f"sqlite:///{filled}")
    ledger.acquire_lease(STUDY.id, LeaseOwner.here())
    assert [path.name for path in filled.parent.iterdir()] == ["ledger.db"], "no connection, so no log beside it"
