from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdstudy.errors import StoreError
from kdstudy.ledger import StudyRecord
from kdstudy.tracking import Tracker
from kdstudy.tracking.client import RejectedError, UnavailableError, close, connect, mlflow_environment, redact
from tests.servers import default_uri


def answering(status: int) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_arguments: object) -> None:
            pass

    return Handler


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that answers everything with the given status."""
    with http.server.HTTPServer(("127.0.0.1", 0), answering(request.param)) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:secret@host:5000/path?token=secret#secret", "https://host:5000/path"),
        ("http://host", "http://host"),
        ("postgresql+psycopg://user:secret@host/db", "postgresql+psycopg://host/db"),
        ("sqlite:////tmp/mlflow.db?key=secret", "sqlite:////tmp/mlflow.db"),
    ],
)
def test_no_secret_of_an_address_is_shown(uri: str, shown: str) -> None:
    assert redact(uri) == shown


def test_pickled_models_are_switched_off_whatever_the_user_has_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    with mlflow_environment():
        close(connect(default_uri(tmp_path)))
        assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "true", "the caller's setting is the caller's"


def test_an_unreachable_server_is_one_line_without_secrets() -> None:
    with pytest.raises(UnavailableError) as caught:
        connect("http://user:hunter2@127.0.0.1:9")  # the discard port: nothing listens
    message = str(caught.value)
    assert message.startswith("tracking: http://127.0.0.1:9: ")
    assert "hunter2" not in message
    assert "user" not in message
    assert "\n" not in message
    assert "check that the server runs" in message


def test_a_study_that_was_published_before_goes_on_without_its_server(tmp_path: Path, study: StudyRecord) -> None:
    tracker = Tracker("http://127.0.0.1:9", tmp_path, check=False)
    with pytest.raises(UnavailableError):
        tracker.open_study(study)


@pytest.mark.parametrize("server", [503], indirect=True)
def test_a_server_in_trouble_may_recover(server: str) -> None:
    with pytest.raises(UnavailableError):
        connect(f"http://{server}")


@pytest.mark.parametrize("server", [401, 404], indirect=True)
def test_a_server_that_refuses_will_refuse_again(server: str) -> None:
    with pytest.raises(RejectedError):
        connect(f"http://{server}")


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "databricks", "postgresql://u:p@h/d"])
def test_other_kinds_of_address_are_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="give sqlite:///PATH or the http") as caught:
        Tracker(uri, tmp_path)
    assert "u:p" not in str(caught.value)


def test_a_store_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(StoreError, match="choose another --store"):
        connect(default_uri(tmp_path / "store"))


@pytest.mark.slow
def test_two_first_connections_at_the_same_time_both_succeed(tmp_path: Path) -> None:
    code = (
        "import sys; from kdstudy.tracking.client import connect; connect(sys.argv[1]).create_experiment(sys.argv[2])"
    )
    uri = default_uri(tmp_path)
    drivers = [subprocess.Popen([sys.executable, "-c", code, uri, name]) for name in ("one", "two")]
    assert [driver.wait(timeout=120) for driver in drivers] == [0, 0]
    client = connect(uri)
    assert {found.name for found in client.search_experiments()} == {"Default", "one", "two"}
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_pickles_are_off_unless_the_user_says_otherwise(store: Path) -> None:
    with mlflow_environment():
        connect(default_uri(store))
        assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "MLFLOW_ALLOW_PICKLE_DESERIALIZATION" not in os.environ


def test_importing_the_package_does_not_import_mlflow() -> None:
    code = "import sys, kdstudy.tracking; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_local_database_is_opened_in_silence(tmp_path: Path) -> None:
    code = "import sys; from kdstudy.tracking.client import connect; connect(sys.argv[1])"
    command = [sys.executable, "-c", code, default_uri(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
