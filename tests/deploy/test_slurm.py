"""docs/slurm.sbatch, run for real but for Slurm: a stand-in for srun starts every node on this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdstudy.ledger import Ledger

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "slurm.sbatch"
SRUN = r"""#!/usr/bin/env bash
# Every node is this machine; what fails on one ends all, as --kill-on-bad-exit says.
[[ $1 == --kill-on-bad-exit=1 && $2 == bash && $3 == -c ]] || exit 64
shift
children=()
for ((node = 0; node < SLURM_JOB_NUM_NODES; node++)); do
    SLURM_PROCID=$node "$@" &
    children+=($!)
done
trap 'kill "${children[@]}" 2> /dev/null' TERM
code=0
wait -n "${children[@]}" || code=$?
kill "${children[@]}" 2> /dev/null
wait
exit "$code"
"""
STUDY = """
name: on-slurm
data: {name: synthetic, val_fraction: 0.25}
teacher: {model: resnet8, epochs: 1, allow_weak: true}
student: {model: resnet8}
train: {epochs: EPOCHS, batch_size: 64, base_lr: {log: [0.01, 0.1]}}
arms: {transfers: [kd], policies: [constant]}
search: {trials_per_arm: 2, sampler: random}
confirm: {seeds: 0}
cache: {mode: "off"}
resources: {cpus: 1, gpus: 0}
"""


def test_it_is_bash_and_says_what_it_needs() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n") and os.access(SCRIPT, os.X_OK)
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    first = next(number for number, line in enumerate(text.splitlines()) if not line.startswith("#"))
    options = [number for number, line in enumerate(text.splitlines()) if line.startswith("#SBATCH ")]
    assert len(options) == 7 and max(options) < first, "Slurm reads none after the first command"
    done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "slurm.sbatch: no command; for example: sbatch slurm.sbatch run study.yaml\n"
    done = subprocess.run(
        ["bash", str(SCRIPT), "list"], capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode != 0 and "run it with sbatch" in done.stderr


def test_the_time_that_trials_get_is_less_than_what_slurm_gives() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    (given,) = re.findall(r"--signal=B:TERM@(\d+)", text)
    (grace,) = re.findall(r"KDSTUDY_GRACE:-(\d+)", text)
    assert int(grace) + 20 < int(given)


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """The environment of a job of two nodes with a CPU each, in a folder of its own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "srun").write_text(SRUN)
    (programs / "kdstudy").write_text(f'#!/bin/sh\nexec {sys.executable} -m kdstudy "$@"\n')
    (programs / "srun").chmod(0o755)
    (programs / "kdstudy").chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "KDSTUDY_STORE"))}
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "1"}
    return {**environment, **slurm, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def start(job: dict[str, str], folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command, together = ["bash", str(SCRIPT), *arguments], subprocess.STDOUT
    return subprocess.Popen(command, cwd=folder, env=job, text=True, stdout=subprocess.PIPE, stderr=together)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_is_stopped_by_slurms_signal_at_a_checkpoint(job: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace("EPOCHS", "200"))
    store = tmp_path / "kdstudy-data"
    with start(job, tmp_path, "run", "study.yaml") as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("ray is up with room for"):
                break
        assert "room for 2 trials at once" in said[-1], said
        (token,) = store.glob("ray-token-*")
        assert token.stat().st_mode & 0o777 == 0o600
        until_an_epoch(store)
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert process.returncode == 130, "".join(said) + rest
    assert "stop requested: trials end at their next checkpoint, within 90 s" in rest
    assert not list(store.glob("ray-token-*"))
    with Ledger.open(f"sqlite:///{store}/ledger.db") as ledger:
        assert ledger.study(ledger.resolve("latest")).status == "interrupted"


def until_an_epoch(store: Path) -> None:
    """Wait until a trial has trained an epoch."""
    until = time.monotonic() + 600
    while time.monotonic() < until:
        with Ledger.open(f"sqlite:///{store}/ledger.db") as ledger:
            study_id = ledger.resolve("latest")
            if any(ledger.epochs(study_id, trial.number) for trial in ledger.trials(study_id)):
                return
        time.sleep(1)
    raise AssertionError("no epoch was trained")


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_runs_to_its_end_on_all_nodes(job: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace("EPOCHS", "1"))
    with start(job, tmp_path, "run", "study.yaml", "--notify", 'echo "$KDSTUDY_STATUS" > told') as process:
        said = process.communicate(timeout=1200)[0]
    assert process.returncode == 0, said
    assert "room for 2 trials at once" in said and "trials: 2 completed" in said
    assert (tmp_path / "told").read_text() == "finished\n"
    assert not list((tmp_path / "kdstudy-data").glob("ray-token-*"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_ray_that_does_not_start_is_one_line(job: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin" / "ray").write_text('#!/bin/sh\n[ "$1" = status ] || { echo broken; exit 1; }\n')
    (tmp_path / "bin" / "ray").chmod(0o755)
    with start(job, tmp_path, "run", "study.yaml") as process:
        said = process.communicate(timeout=300)[0]
    assert process.returncode == 1
    assert said == f"slurm.sbatch: Ray did not start; see ray-{job['SLURM_JOB_ID']}.log\n"
    assert "broken" in (tmp_path / f"ray-{job['SLURM_JOB_ID']}.log").read_text()
