"""What ledger and MLflow hold of a study, as JSON: run inside the lab, `compare` outside.

python -m benchmarks.audit STUDY_ID
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Wall time differs from run to run; everything else may not.
_TIMES = ("seconds", "started", "finished")


def audit(study_id: str) -> dict[str, Any]:
    """Return trials, epochs and MLflow's runs and points."""
    from mlflow import MlflowClient

    from kdstudy.ledger import Ledger

    with Ledger.open(os.environ["KDSTUDY_LEDGER"]) as ledger:
        study = ledger.study(study_id)
        trials = {
            trial.number: {
                "state": trial.state,
                "values": trial.values,
                "scores": [trial.val, trial.test],
                "weights": trial.weights_sha256,
                "epochs": [_timeless(record.to_json()) for record in ledger.epochs(study_id, trial.number)],
            }
            for trial in ledger.trials(study_id)
        }
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    runs: dict[int, list[str]] = {}
    points: dict[str, int] = {}
    for run in client.search_runs([study.tracking.experiment_id], f"tags.`kdstudy.study_id` = '{study_id}'"):
        if run.data.tags.get("kdstudy.kind") != "trial":
            continue
        number = int(run.data.tags["kdstudy.trial"])
        runs.setdefault(number, []).append(run.info.status)
        for name in run.data.metrics:
            if any(word in name for word in _TIMES):
                continue
            for point in client.get_metric_history(run.info.run_id, name):
                key = f"{number} {name} {point.step} {point.value!r}"
                points[key] = points.get(key, 0) + 1
    return {"status": study.status, "trials": trials, "runs": runs, "points": points}


def _timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _TIMES}


@dataclass(frozen=True)
class Verdict:
    """How a disturbed study compares with an undisturbed one.

    Args:
        trials: Expected, present, duplicated, lost.
        points: The same of MLflow's metric points; a point with another value is lost.
        unfinished: Runs that MLflow shows as running.
        equal: Whether proposals, scores, weights and every epoch's record agree bit for bit.
    """

    trials: tuple[int, int, int, int]
    points: tuple[int, int, int, int]
    unfinished: int
    equal: bool

    @property
    def good(self) -> bool:
        """Whether nothing was lost, doubled or altered."""
        return self.equal and self.unfinished == 0 and not any((*self.trials[2:], *self.points[2:]))


def compare(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Verdict:
    """Compare two audits."""
    ended = {number for number, trial in found["trials"].items() if trial["state"] == "completed"}
    present = ended & found["runs"].keys()
    runs = Counter({number: len(statuses) for number, statuses in found["runs"].items()})
    wanted, got = Counter(expected["points"]), Counter(found["points"])
    return Verdict(
        trials=(
            len(expected["trials"]),
            len(present),
            sum(count - 1 for count in runs.values()),
            len(expected["trials"].keys() - present),
        ),
        points=(wanted.total(), got.total(), (got - wanted).total(), (wanted - got).total()),
        unfinished=sum(status != "FINISHED" for statuses in found["runs"].values() for status in statuses),
        equal=json.dumps(found["trials"], sort_keys=True) == json.dumps(expected["trials"], sort_keys=True),
    )


if __name__ == "__main__":
    print(json.dumps(audit(sys.argv[1])))
