"""A study of packs records what it records without them, whatever becomes of its trials and their process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kdstudy.ledger import Ledger
from tests.command_line import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

PLUGIN = '''
import os
import signal
from pathlib import Path

from kdstudy.search.pruners.base import Pruner
from kdstudy.transfer.attention import AttentionTransfer

STEPS = 6  # of an epoch


class Whim(Pruner):
    """Stops about every seventh epoch, by a digit of the score: on any machine some trials are, and some are not.

    Looks at no other trial, for what they have reported depends on their order.
    """

    def stops(self, own, others):
        return round(10_000 * own[max(own)]) % 7 == 0


class Mortal(AttentionTransfer):
    """Sends its process the signal that the environment names, in the second epoch of its first trial, once."""

    batch = 0

    def terms(self, student, teacher, batch):
        self.batch += 1
        with (Path("processes") / str(os.getpid())).open("a") as file:
            file.write(f"{id(self)}\\n")
        if "SIGNAL" in os.environ and self.batch == STEPS + 3 and not Path("hit").exists():
            Path("hit").write_text(str(os.getpid()))
            os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))
        return super().terms(student, teacher, batch)
'''

STEPS = 6  # of an epoch

STUDY = """
name: packs
seed: 1
data: {{name: synthetic, val_fraction: 0.25}}
teacher: {{model: resnet8, epochs: 2}}
student: {{model: resnet8}}
train: {{epochs: 5, batch_size: 32, base_lr: {{choice: [0.02, 0.5, 1.0e+30]}}, momentum: {{uniform: [0.5, 0.95]}}}}
arms:
  transfers: ["mortal_plugin:Mortal"]
  policies: [constant, {{layerwise: {{interval: 1, gain: 0.4, momentum: 0.5, probe_size: 64}}}}]
search: {{sampler: tpe, trials_per_arm: 6, startup: 3, lag: 4, pruner: "mortal_plugin:Whim"}}
confirm: {{seeds: 1}}
cache: {{mode: off}}
resources: {{pack: {pack}}}
"""


def command(folder: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    return {
        "args": [sys.executable, "-m", "kdstudy", *arguments, "--json", "--allow-plugin", "mortal_plugin"],
        "text": True,
        "cwd": folder,
        "env": {**os.environ, "PYTHONPATH": str(folder), "KDSTUDY_STORE": str(folder / "store"), **environment},
    }


def kdstudy(folder: Path, *arguments: str, **environment: str) -> tuple[Any, str]:
    done = subprocess.run(**command(folder, *arguments, **environment), capture_output=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout[done.stdout.index("{\n") :]), done.stderr  # Ray tells of a lost process before that


def prepare(folder: Path, pack: str) -> None:
    (folder / "processes").mkdir(parents=True)
    (folder / "study.yaml").write_text(STUDY.format(pack=pack))
    (folder / "mortal_plugin.py").write_text(PLUGIN)


def run(folder: Path, pack: str, **environment: str) -> tuple[str, str]:
    prepare(folder, pack)
    outcome, said = kdstudy(folder, "run", "study.yaml", **environment)
    return outcome["study_id"], said


def recorded(folder: Path, study_id: str) -> list[Any]:
    """All that ledger and MLflow hold of the trials, but for times."""
    client = MlflowClient(f"sqlite:///{folder}/store/mlflow.db")
    found = []
    with Ledger.open(f"sqlite:///{folder}/store/ledger.db") as ledger:
        for trial in ledger.trials(study_id):
            config = {**trial.config, "resources": {**trial.config["resources"], "pack": None}}
            epochs = [record.numbers() for record in ledger.epochs(study_id, trial.number)]
            points = sorted(
                (point.step, point.value) for point in client.get_metric_history(trial.published.run_id, "val")
            )
            assert points == [(each["epoch"], each["val"]) for each in epochs if each["val"] is not None]
            assert trial.seconds > 0
            found.append(
                {
                    **{key: getattr(trial, key) for key in ("number", "arm", "phase", "state", "epochs", "values")},
                    **{key: getattr(trial, key) for key in ("val", "test", "weights_sha256", "numerics", "error")},
                    **{"config": config, "records": epochs, "run": client.get_run(trial.published.run_id).info.status},
                }
            )
    return found


def most_together(folder: Path) -> int:
    """How many trials took four steps of a process in turn; alone, one may end and another begin."""
    turns = [path.read_text().split() for path in (folder / "processes").iterdir()]
    return max(len(set(each[at : at + 4])) for each in turns for at in range(len(each) - 3))


def test_a_study_of_packs_records_what_it_records_without_them(tmp_path: Path) -> None:
    off, on = tmp_path / "off", tmp_path / "on"
    plain_id, said = run(off, "off")
    assert "pack:" not in said
    packed_id, said = run(on, "4", SIGNAL="SIGKILL")
    assert "pack: mortal_plugin:Mortal: 4 trials per process, as the study file says\n" in said
    assert "their process was lost" in said and (on / "hit").exists()
    plain, packed = recorded(off, plain_id), recorded(on, packed_id)
    for one, other in zip(plain, packed, strict=True):
        assert one == other
    assert {trial["state"] for trial in plain} == {"completed", "stopped", "diverged"}, "the test meets all of them"
    assert (most_together(off), most_together(on)) == (2, 4)
    completed = next(trial for trial in packed if trial["state"] == "completed" and trial["phase"] == "search")
    again, _ = kdstudy(on, "reproduce", packed_id, "--trial", str(completed["number"]))
    assert (again["verdict"], again["weights_identical"]) == ("identical", True), "and what a fresh process gives"

    twice = tmp_path / "twice"
    prepare(twice, "4")
    begun = subprocess.Popen(
        **command(twice, "run", "study.yaml", SIGNAL="SIGTERM"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with begun:
        said = until(begun, "trial")  # "trials 0, 2, 4: their process was lost", or of one that goes on alone
        begun.kill()
    assert "process was lost" in said
    turns = Counter((twice / "processes" / (twice / "hit").read_text()).read_text().split())
    assert 2 * STEPS in turns.values() and STEPS + 3 not in turns.values(), "a pack told to go ends its epoch first"
    twice_id = said.partition("\n")[0].removeprefix("study ")
    kdstudy(twice, "resume", twice_id)
    for one, other in zip(plain, recorded(twice, twice_id), strict=True):
        assert one == other
    assert most_together(twice) == 4
