"""Whoever reads a record needs neither the plug-ins that its study used, nor torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = '''
"""A transfer method, a policy and a data set of the user's own."""

from kdstudy.layerwise.constant import ConstantPolicy
from kdstudy.transfer.attention import AttentionTransfer
from kdstudy.transfer.base import Weight


class Method(AttentionTransfer):
    """Attention transfer by another name, with an option that takes a mapping."""

    def __init__(self, context, *, weight: Weight = 2.0, plan: dict[str, int | str] = {"int": 3}) -> None:
        super().__init__(context, weight=weight)


class Policy(ConstantPolicy):
    """The constant rate by another name."""
'''
STUDY = """
name: outside
seed: 5
data: {name: synthetic}
teacher: {model: resnet8, epochs: 1}
student: {model: {choice: [resnet8, {resnet14: {shortcut: A}}]}}
train: {epochs: {int: [2, 3]}, batch_size: 32, base_lr: {log: [0.01, 1.0]}, weight_decay: {int: [0, 3]}}
arms:
  transfers: [{"my_pkg.mod:Method": {label: mine, weight: {log: [1, 100]}, plan: {int: 4}}}, none]
  policies: [constant, "my_pkg.mod:Policy"]
search: {trials_per_arm: 4}
confirm: {seeds: 1}
"""
MAKE = """
import sys
from pathlib import Path
from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TeacherInfo
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.search import TrialPlanner
from kdstudy.storage import Store
from kdstudy.study import load_study

store, study = Store.at("store"), load_study("study.yaml")
store.create()
with Ledger.open(store.ledger_url, create=True) as ledger:
    record = StudyRecord.of(study, {"python": "3"})
    ledger.create_study(record)
    dataset = DatasetInfo("synthetic", "f", train=9, val=1)
    ledger.update_study(record.id, dataset=dataset, teacher=TeacherInfo("k", "s", 0.9, seconds=1.0))
    queue = TrialPlanner(study, record.id, ledger, lag=1, seeds=1)
    while (trial := queue.next()) is not None:
        val = 0.5 + trial.number / 100
        ledger.record_epoch(record.id, trial.number, EpochRecord(1, 1.0, {}, val, 1.0, 0.1, {"head": 0.1}, seconds=1.0))
        test = val if trial.phase == "confirm" else None
        ledger.finish_trial(record.id, trial.number, TrialResult("completed", 1, val, test, "a" * 64, seconds=1.0))
        queue.ended(ledger.trial(record.id, trial.number))
    ledger.update_study(record.id, status="interrupted")
"""
READ = """
import sys
from kdstudy.cli import run
code = run(sys.argv[1:])
print("torch" in sys.modules, file=sys.stderr)
sys.exit(code)
"""

COMMANDS = [
    "list", "show", "show --json", "show --yaml", "show --trial 3", "show --watch", "compare", "compare --json",
    "report -o page.html", "report --format md", "report --format json",
]  # fmt: skip
READ_ALL = """
import contextlib, io, json, sys
from kdstudy.cli import run
found = {}
for command in sys.argv[1:]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*command.split(), "--store", "store"])
    found[command] = code, out.getvalue(), err.getvalue(), "torch" in sys.modules
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was made with a package of the user's own, which is gone."""
    folder = tmp_path_factory.mktemp("reading")
    (folder / "packages" / "my_pkg").mkdir(parents=True)
    (folder / "packages" / "my_pkg" / "__init__.py").touch()
    (folder / "packages" / "my_pkg" / "mod.py").write_text(PLUGIN)
    (folder / "study.yaml").write_text(STUDY)
    path = os.pathsep.join((str(folder / "packages"), os.environ.get("PYTHONPATH", "")))
    environment = os.environ | {"PYTHONPATH": path, "KDSTUDY_ALLOW_PLUGINS": "my_pkg"}
    subprocess.run([sys.executable, "-c", MAKE], cwd=folder, env=environment, check=True)
    return folder


def execute(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "KDSTUDY_ALLOW_PLUGINS"}
    words = [sys.executable, "-c", *command]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


@pytest.fixture(scope="module")
def read(folder: Path) -> dict[str, tuple[int, str, str, bool]]:
    """For each command, one after the other in one process: its code, what it wrote, was torch imported by then."""
    done = execute(folder, READ_ALL, *COMMANDS)
    return {command: tuple(found) for command, found in json.loads(done.stdout).items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_record_is_read_without_plug_ins_and_torch(read: dict[str, tuple[int, str, str, bool]], command: str) -> None:
    code, out, err, torch = read[command]
    assert code == 0, err
    assert out or command.startswith("report")
    assert not torch, "torch was imported"


def test_what_is_read_is_what_was_checked(folder: Path) -> None:
    document = json.loads(execute(folder, READ, "show", "--json", "--store", "store").stdout)
    own = {"transfer": "mine", "policy": "my_pkg.mod:Policy"}
    assert own in [row["arm"] for row in document["arms"]]
    trial = next(trial for trial in document["trials"] if trial["arm"] == own)
    (options,) = trial["config"]["transfer"].values()
    assert (options["label"], options["plan"]) == ("mine", {"int": 4})
    assert isinstance(trial["config"]["train"]["weight_decay"], float)
    assert isinstance(trial["values"]["train.weight_decay"], int)


def test_mlflow_is_brought_up_to_date_without_plug_ins(folder: Path) -> None:
    done = execute(folder, READ, "sync", "--store", "store")
    assert done.returncode == 0, done.stderr
    assert "everything is in MLflow" in done.stdout


def test_optunas_dashboard_is_fed_without_plug_ins(folder: Path) -> None:
    script = """
from kdstudy.ledger import Ledger
from kdstudy.report.optuna_dashboard import storage_of
from kdstudy.storage import Store
with Ledger.open(Store.at("store").ledger_url) as ledger:
    storage = storage_of(ledger, [ledger.resolve("latest")])
    for each in storage.get_all_studies():
        print(each.study_name, storage.get_n_trials(each._study_id))
"""
    done = execute(folder, script)
    assert done.returncode == 0, done.stderr
    assert [line.partition("/")[2] for line in done.stdout.splitlines()] == [
        "mine/constant 4", "mine/my_pkg.mod:Policy 4", "none/constant 4", "none/my_pkg.mod:Policy 4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [["resume"], ["confirm", "--seeds", "1"], ["reproduce", "--trial", "0"]], ids=lambda each: each[0]
)
def test_what_trains_says_in_one_line_which_plug_in_it_needs(folder: Path, arguments: list[str]) -> None:
    done = execute(folder, READ, *arguments, "--store", "store")
    assert done.returncode == 1
    (line,) = errors(done)
    assert "'my_pkg.mod:Method'" in line and "--allow-plugin my_pkg" in line
    allowed = execute(folder, READ, *arguments, "--allow-plugin", "my_pkg", "--store", "store")
    assert allowed.returncode == 1
    (line,) = errors(allowed)
    assert "'my_pkg.mod:Method' cannot be loaded (No module named 'my_pkg')" in line


def test_to_run_the_study_anew_needs_them_as_well(folder: Path) -> None:
    done = execute(folder, READ, "run", "study.yaml", "--store", "another")
    assert done.returncode == 1
    assert "'my_pkg.mod:Method' is code outside kdstudy" in done.stderr
    assert not (folder / "another").exists()
