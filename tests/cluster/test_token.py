"""Which authentication Ray is told to use, and where its token is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kdstudy.cluster.token import cluster_token, local_token


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any token, in a process that has not met Ray."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("kdstudy.cluster.token._chosen", {})
    return tmp_path


def test_an_instance_of_our_own_has_a_token_of_our_own_and_the_process_keeps_to_it(tmp_path: Path) -> None:
    before = dict(os.environ)
    chosen = local_token(tmp_path)
    assert chosen == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "ray-token")}
    assert (tmp_path / "ray-token").stat().st_mode & 0o777 == 0o600
    assert len((tmp_path / "ray-token").read_text()) == 64
    assert local_token(tmp_path / "another store") == chosen, "Ray has read the first one"
    assert cluster_token() == chosen
    assert dict(os.environ) == before


@pytest.mark.parametrize("given", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "file", None])
def test_a_cluster_gets_the_users_token_if_there_is_one(
    given: str | None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given == "file":
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").touch()
    elif given is not None:
        monkeypatch.setenv(given, "x")
    assert cluster_token() == {"RAY_AUTH_MODE": "disabled" if given is None else "token"}


def test_what_the_user_has_chosen_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert (local_token(tmp_path), cluster_token()) == ({}, {})
    assert not (tmp_path / "ray-token").exists()
