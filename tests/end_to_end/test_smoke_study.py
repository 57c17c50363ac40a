"""The whole road once, on real Ray Tune, Optuna and MLflow: every verb on one small study."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kdstudy.cli.schemas import schema
from kdstudy.ledger import Ledger
from tests.command_line import trial_processes
from tests.end_to_end.pinned import PINS
from tests.end_to_end.test_golden import STUDIES, check, digits, known_digits

SMOKE = Path(__file__).parents[2] / "studies" / "smoke.yaml"
# Drawn anew: written out here they would be in the diff that a record keeps of an edited checkout.
SECRETS = {
    name: secrets.token_hex(12)
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "PGPASSWORD", "GITHUB_TOKEN")
}
PINNED = {**SECRETS, **PINS}
"""Digits are compared with those of earlier versions: see `tests.end_to_end.test_golden`, whose study this is."""
ARMS = {("attention", "constant"), ("attention", "layerwise")}


def study_file(folder: Path) -> str:
    """Write studies/smoke.yaml, but for a lag that does not depend on the machine, and return where it is."""
    path = folder / "smoke.yaml"
    path.write_text(STUDIES["smoke"])
    return str(path)


def kdstudy(store: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    return started(store, "-m", "kdstudy", *arguments, code=code)


def started(store: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run Python to its end in an environment with secrets."""
    environment = {**os.environ, **PINNED, "KDSTUDY_STORE": str(store)}
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        env=environment,
        check=False,
        cwd=store.parent,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


def kdstudy_json(store: Path, *arguments: str, code: int = 0, name: str | None = None) -> Any:
    """Run with --json: stdout is one document that its shipped schema allows."""
    return allowed(json.loads(kdstudy(store, *arguments, "--json", code=code).stdout), name or arguments[0])


def allowed(document: Any, name: str) -> Any:
    """Return a document, which the schema of that name must allow."""
    jsonschema.validate(document, schema(name), cls=jsonschema.Draft202012Validator)
    return document


def documents(store: Path, *commands: list[str]) -> list[Any]:
    """Run several commands with --json, one after the other in one process, which is slow to start."""
    script = "import json, sys; from kdstudy.cli import run; sys.exit(max(map(run, json.loads(sys.argv[1]))))"
    lines = json.dumps([[*command, "--json"] for command in commands])
    text, found = started(store, "-c", script, lines).stdout, []
    for command in commands:
        document, end = json.JSONDecoder().raw_decode(text)
        found.append(allowed(document, command[0]))
        text = text[end:].lstrip()
    assert text == ""
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("smoke") / "store"


@pytest.fixture(scope="module")
def outcome(store: Path) -> dict[str, Any]:
    return kdstudy_json(store, "run", study_file(store.parent))


def test_run_says_what_came_out(outcome: dict[str, Any]) -> None:
    assert outcome["status"] == "finished"
    assert outcome["trials"] == {"completed": 8, "stopped": 0, "diverged": 0, "failed": 0}
    assert outcome["best"]["val"] > 0.5
    (row,) = outcome["comparison"]
    assert (row["transfer"], row["baseline"], row["treatment"]) == ("attention", "constant", "layerwise")
    assert (row["searches"], row["seeds"], row["estimand"], row["family"]) == (1, 2, "tuned", "study")
    assert row["difference"] == pytest.approx(row["treatment_mean"] - row["baseline_mean"])


def test_the_smallest_study_keeps_its_digits(store: Path, outcome: dict[str, Any]) -> None:
    check(known_digits()["smoke"], digits(store, outcome["study_id"]))


def test_trials_shared_the_teachers_outputs_and_say_so(store: Path, outcome: dict[str, Any]) -> None:
    with Ledger.open(f"sqlite:///{store / 'ledger.db'}") as ledger:
        modes = {trial.config["cache"]["mode"] for trial in ledger.trials(outcome["study_id"])}
    assert modes == {"schedule"}, "auto is decided, and the decision recorded"
    assert "mode: schedule" in kdstudy(store, "show", "latest", "--trial", "0", "--yaml").stdout
    assert not (store / "cache" / outcome["study_id"]).exists(), "removed when the study is finished"


def test_no_secret_of_the_environment_is_in_anything_that_was_written(store: Path, outcome: dict[str, Any]) -> None:
    written = [path for path in store.rglob("*") if path.is_file()]
    assert {"ledger.db", "mlflow.db", "ray-token"} <= {path.name for path in written}
    for secret in SECRETS.values():
        assert [path for path in written if secret.encode() in path.read_bytes()] == []
        assert secret not in json.dumps(outcome)
    assert (store / "ray-token").stat().st_mode & 0o777 == 0o600
    token = (store / "ray-token").read_text()
    assert [path.name for path in written if token.encode() in path.read_bytes()] == ["ray-token"]


def test_list_show_and_compare_read_the_record(store: Path, outcome: dict[str, Any]) -> None:
    (line,), shown, compared = documents(store, ["list"], ["show", outcome["study_id"][:-4]], ["compare", "latest"])
    assert (line["study_id"], line["status"], line["trials"]) == (outcome["study_id"], "finished", 8)
    trials = shown["trials"]
    assert {(t["arm"]["transfer"], t["arm"]["policy"]) for t in trials} == ARMS
    assert [t["trial"] for t in trials] == list(range(8))
    assert all((t["test"] is None) == (t["phase"] == "search") for t in trials)
    layerwise = [t for t in trials if t["arm"]["policy"] == "layerwise"]
    assert all({"train.base_lr", "arms.policies.layerwise.gain"} <= t["values"].keys() for t in layerwise)
    assert compared["comparisons"] == outcome["comparison"]
    assert "attention" in kdstudy(store, "compare").stdout


def test_layerwise_multipliers_move_and_weights_differ_from_constant(store: Path, outcome: dict[str, Any]) -> None:
    with Ledger.open(f"sqlite:///{store / 'ledger.db'}") as ledger:
        trials = ledger.trials(outcome["study_id"], "confirm")
        for trial in trials:
            updates = [layer for epoch in ledger.epochs(outcome["study_id"], trial.number) for layer in epoch.layers]
            assert bool(updates) == (trial.arm_id.policy == "layerwise")
            assert trial.arm_id.policy == "constant" or any(layer.multiplier != 1.0 for layer in updates)
    assert len({trial.weights_sha256 for trial in trials}) == len(trials)


@pytest.mark.slow
def test_the_same_study_again_gives_the_same_bits(store: Path, outcome: dict[str, Any]) -> None:
    again = kdstudy_json(store, "run", study_file(store.parent))
    assert again["study_id"] != outcome["study_id"]
    assert again["best"] == outcome["best"]
    first, second = (kdstudy_json(store, "show", study)["trials"] for study in (outcome["study_id"], again["study_id"]))
    for one, other in zip(first, second, strict=True):
        for key in ("trial", "arm", "seeds", "values", "config", "val", "test", "weights_sha256"):
            assert one[key] == other[key], key


def test_reproduce_is_identical_for_the_student_taken_home_and_two_others(store: Path, outcome: dict[str, Any]) -> None:
    chosen: list[list[str]] = [[], ["--trial", "1"], ["--trial", "6"]]
    for found in documents(store, *(["reproduce", outcome["study_id"], *trial] for trial in chosen)):
        assert found["verdict"] == "identical", found
        assert found["weights_identical"]
        assert found["max_abs_difference"] == 0


def test_reproduce_notices_a_record_that_was_altered(store: Path, outcome: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    with contextlib.closing(sqlite3.connect(copy / "ledger.db")) as database, database:
        database.execute("UPDATE kdstudy_trials SET weights_sha256 = ? WHERE number = 1", ("0" * 64,))
    found = kdstudy_json(copy, "reproduce", outcome["study_id"], "--trial", "1", code=1)
    assert found["weights_identical"] is False
    assert found["verdict"] != "identical"


def test_a_trial_printed_as_a_study_is_a_valid_study_without_holes(
    store: Path, outcome: dict[str, Any], tmp_path: Path
) -> None:
    text = kdstudy(store, "show", outcome["study_id"], "--yaml").stdout
    (tmp_path / "one.yaml").write_text(text)
    assert kdstudy(store, "check", str(tmp_path / "one.yaml")).stdout.startswith(f"{tmp_path / 'one.yaml'}: valid")
    number = str(outcome["answer"]["take_home"]["trial"])
    assert text == kdstudy(store, "show", outcome["study_id"], "--yaml", "--trial", number).stdout
    assert isinstance(yaml.safe_load(text)["train"]["base_lr"], float)


@pytest.mark.slow
def test_later_seeds_are_shown_apart(store: Path, outcome: dict[str, Any]) -> None:
    document = kdstudy_json(store, "confirm", outcome["study_id"], "--seeds", "1", name="run")
    assert document["trials"]["completed"] == 10
    declared, later = kdstudy_json(store, "compare", outcome["study_id"])["comparisons"]
    assert (declared["family"], declared["searches"], declared["seeds"]) == ("study", 1, 2)
    assert [declared] == outcome["comparison"], "the verdict stays"
    assert (later["family"], later["searches"], later["seeds"], later["verdict"]) == ("exploratory", 1, 3, "no_verdict")


def test_mlflow_shows_every_run_once(store: Path, outcome: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("digits-smoke")
    runs = [
        run
        for run in client.search_runs([experiment.experiment_id])
        if run.data.tags.get("kdstudy.study_id") == outcome["study_id"]
    ]
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert len(children) == len({run.data.tags["kdstudy.trial"] for run in children}) >= 8
    assert {run.info.status for run in runs} == {"FINISHED"}
    epochs = yaml.safe_load(SMOKE.read_text())["train"]["epochs"]
    for run in children:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val")]
        assert steps == list(range(1, epochs + 1))
        assert "train.base_lr" in run.data.params
        if run.data.tags["policy"] == "layerwise":
            assert {
                f"arms.policies.layerwise.{name}" for name in ("interval", "momentum", "gain")
            } <= run.data.params.keys()
            assert any(name.startswith("layers/") and name.endswith("multiplier") for name in run.data.metrics)


def started_until(folder: Path, mark: str) -> tuple[subprocess.Popen[str], list[str]]:
    """Start the smoke study in ``folder`` and return once it has printed a line that begins with ``mark``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kdstudy", "run", study_file(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=folder,
        env={**os.environ, **PINS, "KDSTUDY_STORE": str(folder / "store")},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - in the background it is ignored
    )
    lines: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if line.startswith(mark):
            return process, lines
    raise AssertionError("".join(lines))


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_driver_is_resumed_without_loss_or_repetition(
    store: Path, outcome: dict[str, Any], tmp_path: Path
) -> None:
    process, _ = started_until(tmp_path, "[3/8]")
    with process:
        os.kill(process.pid, signal.SIGKILL)
    fresh = tmp_path / "store"
    (line,) = kdstudy_json(fresh, "list")
    assert line["status"] == "interrupted"
    done = kdstudy_json(fresh, "resume", "latest", name="run")
    assert done["trials"] == {"completed": 8, "stopped": 0, "diverged": 0, "failed": 0}
    assert done["best"] == outcome["best"]
    assert done["comparison"][0]["difference"] == outcome["comparison"][0]["difference"]
    first, second = (
        kdstudy_json(place, "show", study)["trials"]
        for place, study in ((store, outcome["study_id"]), (fresh, done["study_id"]))
    )
    assert [(t["trial"], t["values"], t["weights_sha256"]) for t in first[:8]] == [
        (t["trial"], t["values"], t["weights_sha256"]) for t in second
    ]


@pytest.mark.slow
def test_ctrl_c_is_130_and_the_study_goes_on_later(tmp_path: Path) -> None:
    process, lines = started_until(tmp_path, "[2/8]")
    with process:
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        rest = process.stderr.read()
        assert process.wait(60) == 130, "".join(lines) + rest
    assert "resume" in rest
    assert "Traceback" not in rest
    (line,) = kdstudy_json(tmp_path / "store", "list")
    assert line["status"] == "interrupted"
    assert kdstudy_json(tmp_path / "store", "resume", name="run")["trials"]["completed"] == 8


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_trial_and_a_driver_told_to_go_cost_nothing(
    store: Path, outcome: dict[str, Any], tmp_path: Path
) -> None:
    process, lines = started_until(tmp_path, "[1/8]")
    with process:
        deadline = time.monotonic() + 60
        while not (trials := trial_processes(process.pid)):
            assert time.monotonic() < deadline, "no trial runs"
            time.sleep(0.05)
        os.kill(trials[0], signal.SIGKILL)
        second = kdstudy(tmp_path / "store", "resume", code=1)
        assert f"process {process.pid} on host" in second.stderr
        assert "is running it; wait until it ends, or stop it first" in second.stderr
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("[3/8]"))
        process.terminate()
        rest = process.stderr.read()
        assert process.wait(60) == 130, "".join(lines) + rest
    assert "stop requested: trials end at their next checkpoint" in rest
    assert "Traceback" not in rest
    (line,) = kdstudy_json(tmp_path / "store", "list")
    assert line["status"] == "interrupted"
    done = kdstudy_json(tmp_path / "store", "resume", name="run")
    assert done["trials"] == {"completed": 8, "stopped": 0, "diverged": 0, "failed": 0}
    calm, hit = (
        kdstudy_json(place, "show", study)["trials"][:8]
        for place, study in ((store, outcome["study_id"]), (tmp_path / "store", done["study_id"]))
    )
    assert [(t["values"], t["weights_sha256"]) for t in hit] == [(t["values"], t["weights_sha256"]) for t in calm]
