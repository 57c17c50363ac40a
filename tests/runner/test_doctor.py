"""`kdstudy doctor`: every finding on real things, good and bad."""

from __future__ import annotations

import http.server
import json
import threading
from collections import namedtuple
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from kdstudy.cli import run
from kdstudy.errors import StoreError
from kdstudy.runner import doctor
from kdstudy.storage import DiskFolder
from kdstudy.tracking import check_access, health

Usage = namedtuple("Usage", "total used free")


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, object]]]:
    code = run(["doctor", "--store", "store", "--json", *arguments])
    return code, {found["question"]: found for found in json.loads(capsys.readouterr().out)}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_laptop_is_well(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    code, found = findings(capsys)
    assert (code, [question for question in found if not found[question]["good"]]) == (0, [])
    assert list(found) == [
        "versions",
        "processors",
        "shared memory",
        "plug-ins",
        "weights",
        "storage",
        "record",
        "tracking",
        "token",
    ]
    assert not list((here / "store").glob("probe-*"))
    assert run(["doctor", "--store", "store"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found), "one line each"
    assert all(line.startswith("ok ") for line in lines)


def test_weights_that_are_here_are_named_with_their_sha256(
    capsys: pytest.CaptureFixture[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(here))
    assert "none at " in findings(capsys)[1]["weights"]["said"]
    folder = here / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "net.pth").write_bytes(b"abc")
    (folder / "net.txt").write_bytes(b"no weights")
    said = findings(capsys)[1]["weights"]["said"]
    assert said.startswith(f"net.pth (sha256 ba7816bf8f01) at {folder}")  # of "abc": FIPS 180-2, appendix B.1


@pytest.mark.parametrize(("free", "little"), [(64 * 10**6, True), (8 * 10**9, False)])
def test_shared_memory_is_told_and_little_of_it_is_called_so(
    free: int, little: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: Usage(8 * 10**9, 8 * 10**9 - free, free))
    _, found = findings(capsys)
    assert found["shared memory"]["good"]
    said = str(found["shared memory"]["said"])
    assert said.startswith(f"{free / 1e6:,.0f} of 8,000 MB free at /dev/shm")
    assert ("--shm-size" in said) == little


def test_a_full_disk_and_a_damaged_record_are_trouble_and_the_rest_is_still_told(
    capsys: pytest.CaptureFixture[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "store").mkdir()
    (here / "store" / "ledger.db").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: Usage(10**12, 10**12, 5 * 10**8))
    code, found = findings(capsys)
    assert code == 1
    assert [question for question in found if not found[question]["good"]] == ["storage", "record"]
    assert "only 0.5 GB are free" in str(found["storage"]["said"])
    assert "\n" not in str(found["record"]["said"])


def test_a_store_that_cannot_be_written_is_trouble(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    (here / "store").write_text("a file")
    code, found = findings(capsys)
    assert code == 1
    assert "cannot be created" in str(found["storage"]["said"])


def test_a_clusters_token_must_be_set_and_private(
    capsys: pytest.CaptureFixture[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def token() -> str:
        _, found = findings(capsys, "--address", "127.0.0.1:1")
        assert found["address"]["good"] is False
        return f"{found['token']['good']}: {found['token']['said']}"

    assert token().startswith("False: RAY_AUTH_MODE is not set: anyone who reaches the cluster can run code on it")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert token().startswith("False: RAY_AUTH_MODE is disabled")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(here / "token"))
    assert "the token is not there" in token()
    (here / "token").write_text("secret-token")
    (here / "token").chmod(0o644)
    assert "others may read it (mode 0644)" in token()
    (here / "token").chmod(0o600)
    assert token() == f"True: token authentication; {here / 'token'} is private"
    (here / "token").chmod(0o644)
    monkeypatch.setattr(doctor, "MOUNTED", here)
    assert token().startswith("True"), "a container's secret has the mode that its host gave it"


class Server(http.server.BaseHTTPRequestHandler):
    """Answers MLflow's search for experiments, with a login if ``login`` says so, at a time ``ahead`` of ours."""

    login, ahead = True, 0.0

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(b"{}")

    def answer(self, body: bytes) -> None:
        known = self.headers.get("Authorization") or not self.login
        self.send_response_only(200 if known else 401)
        self.send_header("Date", formatdate(doctor.time.time() + self.ahead, usegmt=True))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(b"{}")))
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()
    Server.login, Server.ahead = True, 0.0


def test_a_tracking_server_must_answer_ask_for_a_login_and_tell_the_time(
    capsys: pytest.CaptureFixture[str], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "somebody")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "something")
    code, found = findings(capsys, "--tracking-uri", server)
    assert (code, found["tracking"]["said"]) == (0, f"{server}: it asks for a login, and takes ours")
    Server.ahead = 3600.0
    code, found = findings(capsys, "--tracking-uri", server)
    assert code == 1
    assert "its clock differs by 3600 s" in str(found["tracking"]["said"]) or "3599" in str(found["tracking"]["said"])
    Server.ahead = 0.0
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    code, found = findings(capsys, "--tracking-uri", server)
    assert code == 1
    assert "something" not in str(found)
    code, found = findings(capsys, "--tracking-uri", "http://127.0.0.1:1")
    assert code == 1
    assert "check that the server runs" in str(found["tracking"]["said"])


def test_a_server_without_login_may_only_be_on_loopback(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Server.login = False
    assert check_access(server).login == "no login: it is on loopback"
    monkeypatch.setattr(health, "_loopback", lambda _host: False)  # there is no other network here
    with pytest.raises(StoreError, match="lets anybody read and write"):
        check_access(server)


def test_what_is_loopback() -> None:
    assert [health._loopback(host) for host in ("127.0.0.1", "127.8.0.1", "localhost", "::1")] == [True] * 4
    assert [health._loopback(host) for host in ("10.0.0.1", "mlflow", "0.0.0.0", None)] == [False] * 4


def test_a_nodes_answer_is_judged_by_versions_storage_and_clock(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store-id").touch()
    here = doctor.look_around(DiskFolder(tmp_path / "store", marker=tmp_path / "store" / "store-id"))
    assert here["trouble"] is None
    resources = {"CPU": 2.0, "GPU": 1.0}

    def said(**changes: object) -> str:
        now = here["time"]
        found = doctor._judge_node("node", {**here, **changes}, here, (now, now + 1), resources)
        return f"{found.good}: {found.said}"

    assert said() == "True: 2 CPUs, 1 GPUs; same versions, writes the store, clock agrees"
    assert said(time=here["time"] + 5.9).startswith("True"), "the answer may have been late"
    assert (
        said(time=here["time"] + 61)
        == "False: its clock differs by 60 s; make versions, store and clocks of the nodes match the driver"
    )
    assert said(time=here["time"] - 60).startswith("False: its clock differs by 60 s")
    assert "ray 1.0 there" in said(versions={**here["versions"], "ray": "1.0"})
    assert said(python="2.7.18").startswith("False: Python 2.7.18 there")
    elsewhere = doctor.look_around(DiskFolder(tmp_path / "gone", marker=tmp_path / "gone" / "store-id"))
    assert "the store has gone" in said(trouble=elsewhere["trouble"])
