"""What the environment says is read in one place, and what is set there is set for a while."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kdstudy.errors import StoreError
from kdstudy.settings import GRACE_SECONDS, Settings, child_environment, foreign, scoped_environment

NAME = "KDSTUDY_TEST_OF_SCOPES"


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)


def test_each_variable_has_a_field_and_an_empty_one_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KDSTUDY_ALLOW_PLUGINS")
    assert Settings.read() == Settings(None, None, None, None, None, (), None, None)
    for name, value in {
        "KDSTUDY_STORE": "s3://b/p", "KDSTUDY_LEDGER": "sqlite:///l", "MLFLOW_TRACKING_URI": "http://m",
        "KDSTUDY_DATA": "/d", "KDSTUDY_CACHE": "/c", "KDSTUDY_ALLOW_PLUGINS": "a, b.c  d,", "KDSTUDY_GRACE": "3",
        "KDSTUDY_NOTIFY": "echo x",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    found = Settings.read()
    assert found == Settings("s3://b/p", "sqlite:///l", "http://m", "/d", "/c", ("a", "b.c", "d"), "3", "echo x")
    assert found.grace_seconds == 3.0
    monkeypatch.setenv("KDSTUDY_STORE", "")
    assert Settings.read().store is None


def test_a_grace_that_is_no_number_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.read().grace_seconds == GRACE_SECONDS
    monkeypatch.setenv("KDSTUDY_GRACE", "soon")
    with pytest.raises(StoreError, match=r"KDSTUDY_GRACE: not a number of seconds, got 'soon'; write one, or unset it"):
        _ = Settings.read().grace_seconds


def test_other_programs_variables_and_a_childs_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert foreign("RAY_AUTH_MODE") == "token"
    assert child_environment(X="1") == {**os.environ, "X": "1"}


def test_a_variable_is_as_before_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="x"), scoped_environment({NAME: "ours"}):
        assert os.environ[NAME] == "ours"
        assert subprocess.check_output(["printenv", NAME], text=True) == "ours\n", "a child sees it"
        raise ValueError("x")
    assert NAME not in os.environ
    monkeypatch.setenv(NAME, "theirs")
    with scoped_environment({NAME: "ours"}):
        assert os.environ[NAME] == "theirs"
        with scoped_environment({NAME: "wanted"}, override=True):
            assert os.environ[NAME] == "wanted"
            with scoped_environment({NAME: "ours"}):
                assert os.environ[NAME] == "wanted"
        assert os.environ[NAME] == "theirs"
    assert os.environ[NAME] == "theirs"


def test_blocks_of_two_threads_may_overlap() -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with scoped_environment({NAME: "second"}):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with scoped_environment({NAME: "first"}):
        thread.start()
        assert entered.wait(10)
        assert os.environ[NAME] == "second"
    assert os.environ[NAME] == "second", "the other block has not been left"
    leave.set()
    thread.join()
    assert NAME not in os.environ


def test_used_as_a_library_it_says_nothing_unless_asked(tmp_path: Path) -> None:
    code = "import logging, kdstudy; {asked}; logging.getLogger('kdstudy.runner').{level}('heard')"
    heard = {}
    for asked in ("None", "logging.basicConfig(level=logging.INFO, format='%(message)s')"):
        for level in ("info", "warning"):
            command = [sys.executable, "-c", code.format(asked=asked, level=level)]
            heard[asked[:4], level] = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert heard == {
        ("None", "info"): "",
        ("None", "warning"): "",
        ("logg", "info"): "heard\n",
        ("logg", "warning"): "heard\n",
    }
