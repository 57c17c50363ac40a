"""What `python -m benchmarks.gpu` measures, keeps and shows, tried on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import checks, rates, seeds, steps
from benchmarks.gpu.job import Job, OutOfTimeError, SkipPartError
from benchmarks.gpu.tables import report

ROOT = Path(__file__).parents[2]
# Not of what a trial needs: whatever runs studies, records them or shows them.
BLOCKED = """
import runpy, sys
sys.modules.update(dict.fromkeys({blocked}))
sys.argv = {arguments}
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""
LIBRARIES = {
    *("ray", "mlflow", "optuna", "cmaes", "click", "rich", "psutil", "pynvml", "plotly", "jinja2", "scipy", "sklearn"),
    *("torchmetrics", "boto3", "psycopg"),
}


def job(out: Path, part: str = "twice", **options: Any) -> Job:
    return Job(part, torch.device("cpu"), out, options.pop("seconds", 60.0), **options)


@pytest.mark.slow
def test_a_trial_twice_needs_nothing_that_runs_or_records_studies(tmp_path: Path) -> None:
    arguments = ["gpu", "--only", "twice", "--device", "cpu", "--minutes", "0.005", "--out", str(tmp_path)]
    code = BLOCKED.format(blocked=LIBRARIES, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr  # time for the first row, which is begun at once
    (row,) = job(tmp_path).rows()
    assert row == {
        "what": "kd",
        "weights equal": True,
        "numbers equal": True,
        "from the CPU": 0.0,
        "state": "completed",
    }


def test_a_row_is_measured_once_and_kept_at_once(tmp_path: Path) -> None:
    made = job(tmp_path)
    made.measure("first", lambda: {"ms": 1.5})
    made.measure("first", lambda: pytest.fail("measured again"))
    with made.path.open("a") as file:
        file.write('\n{"what": "cut')  # by a machine that went away
    assert made.rows() == [{"what": "first", "ms": 1.5}]


def test_a_row_after_one_that_was_cut_is_whole(tmp_path: Path) -> None:
    made = job(tmp_path)
    made.path.write_text('{"what": "cut')
    made.measure("next", lambda: {"ms": 1.0})
    assert made.rows() == [{"what": "next", "ms": 1.0}]


def test_what_does_not_fit_is_a_row_with_its_error(tmp_path: Path) -> None:
    def too_large() -> dict[str, Any]:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    job(tmp_path).measure("large", too_large)
    assert job(tmp_path).rows() == [
        {"what": "large", "error": "OutOfMemoryError: CUDA out of memory. Tried to allocate"}
    ]


def test_nothing_is_begun_when_time_is_up(tmp_path: Path) -> None:
    late = job(tmp_path, seconds=1.0, began=time.monotonic() - 2.0)
    with pytest.raises(OutOfTimeError):
        late.measure("late", lambda: pytest.fail("measured"))


def test_bytes_and_operations_of_a_step_are_those_counted_by_hand() -> None:
    a, b = torch.ones(10, 20), torch.ones(20, 30)
    # The product reads 200 and 600 floats and writes 300; the view of it moves nothing; the sum reads 300, writes 300.
    flops, moved = rates.asked(lambda: (a @ b).view(-1).add(1.0))
    assert flops == 2 * 10 * 20 * 30
    assert moved == 4 * (200 + 600 + 300 + 300 + 300)


def test_shares_are_of_the_measured_rates(tmp_path: Path) -> None:
    (tmp_path / "rates.jsonl").write_text('{"what": "float32", "TFLOPS": 0.001}\n{"what": "copy", "GB/s": 0.5}\n')
    a = torch.ones(100, 100)
    row = steps.timed(job(tmp_path, "steps"), (lambda count: [a @ a for _ in range(count)], 10))
    assert row["share of float32"] == pytest.approx(row["GFLOP"] / row["ms"] / 0.001)
    assert row["share of copy"] == pytest.approx(1e3 * row["GB"] / row["ms"] / 0.5)
    assert row["images/s"] == pytest.approx(1e4 / row["ms"])


def test_full_recipes_without_data_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SkipPartError, match="--data DIR, a folder with cifar-100-python"):
        seeds.run(job(tmp_path, "seeds", data=tmp_path))


def test_the_recipes_of_the_table_are_study_files(tmp_path: Path) -> None:
    # One step of SGD on 10 L at a tenth of the rate, with ten times the decay, is one on L: lr (g + wd w).
    (_, lr, decay), (_, plain_lr, plain_decay) = seeds.ARMS["kd"], seeds.ARMS["none"]
    assert 10 * lr == pytest.approx(plain_lr)
    assert lr * decay == pytest.approx(plain_lr * plain_decay)
    for transfer, rate, wd in seeds.ARMS.values():
        names = {"root": tmp_path, "teacher": "wrn_40_2", "student": "wrn_16_2"}
        seeds.parse_study(seeds.STUDY.format(**names, transfer=transfer, lr=rate, decay=wd))


def test_the_tests_that_need_a_gpu_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None if name == "hypothesis" else object())
    with pytest.raises(SkipPartError, match="not installed: hypothesis"):
        checks.run(job(tmp_path, "checks"))


def test_the_files_make_a_page(tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_text('{"device": "card"}')
    (tmp_path / "parts.json").write_text('{"twice": {"state": "done", "seconds": 2.0, "why": ""}}')
    rows = [{"what": "kd", "equal": True}, {"what": "crd|x", "ms": 12.34567, "equal": False}]
    (tmp_path / "twice.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert report(tmp_path).splitlines() == [
        *("# kdstudy on this device", "", "- device: card", ""),
        *("| part | state | seconds | why |", "| --- | --- | --- | --- |", "| twice | done | 2.0 |  |", ""),
        *("## A trial twice, and on the CPU", "", "| what | equal | ms |", "| --- | --- | --- |"),
        *("| kd | yes |  |", "| crd\\|x | no | 12.35 |"),
    ]


@pytest.mark.long
@pytest.mark.slow
def test_all_of_it_runs_on_a_cpu_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def run(minutes: float) -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--minutes", str(minutes)]
        done = subprocess.run(
            [*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=250
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{tmp_path}/tables.md\n"
        told: dict[str, Any] = json.loads((tmp_path / "parts.json").read_text())
        return told

    first = run(2)
    assert list(first) == ["checks", "twice", "steps", "packs", "hours", "seeds"]
    assert {part["state"] for part in first.values()} <= {"done", "out of time", "skipped"}, first
    rows = {name: job(tmp_path, name).rows() for name in ("twice", "steps", "rates", "packs", "hours")}
    assert all(rows.values())
    assert not [row for each in rows.values() for row in each if "error" in row]
    second = run(0.5)
    assert all(second[name] == part for name, part in first.items() if part["state"] == "done"), "run again"
    for name, before in rows.items():
        assert job(tmp_path, name).rows()[: len(before)] == before


@pytest.mark.slow
def test_without_a_gpu_the_parts_say_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    command = [sys.executable, "-m", "benchmarks.gpu", "--only", "twice", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        4,
        "no CUDA device is visible here; --device cpu tries the script out\n",
    )
