"""A hundred sleeping trials on two slots: what the platform adds, beside the same study written by hand.

    python -m benchmarks.overhead [TRIALS [ROUNDS]]

Each trial sleeps for one second, so that N of them take N / 2 seconds at least. In turn: `kdstudy run`
(`benchmarks/sleeping.py`), and a study by hand with Ray Tune, OptunaSearch and MLflowLoggerCallback, whose processes
are reused as ours are. By hand a trial is a sleep and a report: it builds no network, writes no checkpoint and no
student, is not kept in a ledger and cannot be resumed. Both in processes of their own, Ray started by each. Printed:
seconds from the start of the process to the start of the first trial, seconds from there to the end of the last over
the ideal, and how many processes served the trials.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.sleeping import ROOT, Run, environment, run

SLOTS = 2


def by_hand(folder: Path, trials: int) -> None:
    """Run the study by hand in this process, and print when each trial began and ended, and where it ran."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    times: dict[str, list[float]] = {}

    class Clock(tune.Callback):
        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            times[trial.trial_id] = [time.time()]

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            times[trial.trial_id] += [time.time(), trial.last_result["pid"]]

    def sleep(config: dict[str, float]) -> None:
        time.sleep(1.0)
        tune.report({"val": config["base_lr"]})

    tune.Tuner(
        tune.with_resources(sleep, {"cpu": 1}),
        param_space={"base_lr": tune.loguniform(0.001, 0.3)},
        tune_config=tune.TuneConfig(
            metric="val", mode="max", search_alg=OptunaSearch(), num_samples=trials, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder / "ray"),
            verbose=0,
            callbacks=[MLflowLoggerCallback(f"sqlite:///{folder / 'mlflow.db'}", experiment_name="by-hand"), Clock()],
        ),
    ).fit()
    print(json.dumps(list(times.values())))


def run_by_hand(folder: Path, trials: int) -> Run:
    """Run the study by hand in a process of its own."""
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.overhead", "by-hand", str(folder), str(trials)],
        cwd=ROOT,
        env={**environment(SLOTS), "RAY_AIR_NEW_OUTPUT": "0", "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    times = json.loads(done.stdout.splitlines()[-1])
    first, last = min(each[0] for each in times), max(each[1] for each in times)
    return Run(len(times), first - began, last - first, time.time() - last, len({each[2] for each in times}))


def main(trials: int, rounds: int) -> None:
    """Run both in turn and print."""
    for number in range(rounds):
        for name in ("kdstudy", "by hand") if number % 2 else ("by hand", "kdstudy"):
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder)
                kdstudy = name == "kdstudy"
                found = run(place, slots=SLOTS, trials=trials) if kdstudy else run_by_hand(place, trials)
            print(
                f"{name}: {found.trials} trials, start-up {found.startup:.1f} s, first to last {found.span:.1f} s = "
                f"{found.span / (trials / SLOTS):.2f} x the ideal, {found.processes} processes, "
                f"load {os.getloadavg()[0]:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["by-hand"]:
        by_hand(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        numbers = [int(value) for value in sys.argv[1:]]
        main(*(numbers + [100, 3][len(numbers) :]))
