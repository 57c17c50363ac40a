"""What MLflow shows of a study and its trials: names, parameters, metrics, tags.

Pure functions of the record. Names are made for MLflow's own pages: a slash opens a group of charts, so
``layers/layer1/momentum`` and ``rates/layer1`` are drawn together, and every parameter is one scalar, so that
parallel coordinates can sort it.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from kdstudy.ledger import StudyRecord, TrialRecord, git_state
from kdstudy.results import EpochRecord
from kdstudy.study import TrialConfig, arm_colours, flatten

STUDY_TAG = "kdstudy.study_id"
TRIAL_TAG = "kdstudy.trial"
KIND_TAG = "kdstudy.kind"
# How a run's status reads in MLflow. A diverged trial is a result like a completed one, its tag ``state``
# tells; a trial the pruner stopped was ended from outside.
TRIAL_STATUS = {
    "queued": "SCHEDULED",
    "running": "RUNNING",
    "completed": "FINISHED",
    "diverged": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
}
STUDY_STATUS = {"running": "RUNNING", "interrupted": "KILLED", "finished": "FINISHED", "failed": "FAILED"}
MAX_VALUE = 500
_FORBIDDEN = re.compile(r"[^\w\-. :/]")


class Point(NamedTuple):
    """One value of one metric.

    Attributes:
        name: As MLflow accepts it.
        value: Finite.
        step: The epoch.
        milliseconds: Since the Unix epoch; a function of the record alone, so that a point sent twice is one
            point.
    """

    name: str
    value: float
    step: int
    milliseconds: int


def milliseconds(moment: datetime) -> int:
    """Return ``moment`` as milliseconds since the Unix epoch."""
    return round(moment.timestamp() * 1000)


def run_name(trial: TrialRecord) -> str:
    """Return the trial's name: the arm, then its number or, in confirmation, its search and seed."""
    if trial.phase == "confirm":
        return f"{trial.arm} search {trial.search} seed {trial.index}"
    return f"{trial.arm} #{trial.number}"


def trial_tags(trial: TrialRecord) -> dict[str, str]:
    """Return what a user filters by."""
    tags = {
        STUDY_TAG: trial.study_id,
        TRIAL_TAG: str(trial.number),
        KIND_TAG: "trial",
        "arm": trial.arm,
        "transfer": trial.arm_id.transfer,
        "policy": trial.arm_id.policy,
        "phase": trial.phase,
        "search": str(trial.search),
        "state": trial.state,
        "exploratory": json.dumps(trial.exploratory),
    }
    if trial.weights_sha256:
        tags["kdstudy.weights_sha256"] = trial.weights_sha256
    if trial.reason:
        tags["error"] = trial.reason[:MAX_VALUE]
    return tags


def run_colour(study: StudyRecord, trial: TrialRecord) -> str:
    """Return the colour of the trial's arm, ``#rrggbb``, as in the report; by default MLflow gives each run its own."""
    return arm_colours([arm.name for arm in study.study().arms])[trial.arm][0]


def trial_params(trial: TrialRecord) -> dict[str, str]:
    """Return the resolved configuration, one scalar per parameter, each under the path that `flatten` gives it.

    Empty and missing values are left out, unless they were searched, and so are the study's name and what the trial ran
    on.
    """
    flat = flatten(TrialConfig.from_json(trial.config, f"{trial.study_id}: trial {trial.number}"))
    flat |= {path: "null" for path in trial.values if flat.get(path, 0) is None}
    told = {path: value for path, value in flat.items() if path.partition(".")[0] not in ("name", "resources")}
    return {_legal(name): _text(value) for name, value in _scalars(told).items()}


def study_params(study: StudyRecord) -> dict[str, str]:
    """Return what two studies are compared by: seed, data, teacher, code."""
    flat: dict[str, Any] = {"seed": study.seed}
    flat.update(_scalars({"data": study.dataset.to_json(), "teacher": study.teacher.to_json()}))
    commit = git_commit(study)
    if commit:
        flat["git.commit"] = commit
    return {_legal(name): _text(value) for name, value in flat.items()}


def study_tags(study: StudyRecord) -> dict[str, str]:
    """Return what finds the study and what MLflow's run page shows."""
    tags = {STUDY_TAG: study.id, KIND_TAG: "study", "status": study.status}
    if study.dataset.fingerprint:
        tags["kdstudy.fingerprint"] = study.dataset.fingerprint
    if study.teacher.sha256:
        tags["kdstudy.teacher_sha256"] = study.teacher.sha256
    commit = git_commit(study)
    if commit:
        tags["mlflow.source.git.commit"] = commit
    return tags


def git_commit(study: StudyRecord) -> str | None:
    """Return the commit of kdstudy's own checkout, else of the directory the study was started in."""
    state = git_state(study.environment)
    return str(state["commit"]) if state else None


def points(trial: TrialRecord, epochs: Sequence[EpochRecord]) -> Iterator[list[Point]]:
    """Yield the points of each epoch.

    Args:
        trial: Whose start the times count from.
        epochs: All epochs from the first on, in order: the times are sums over them.
    """
    start = milliseconds(trial.started or trial.created)
    elapsed = 0.0
    for record in epochs:
        elapsed += record.seconds
        moment = start + round(elapsed * 1000)
        yield [Point(name, value, record.epoch, moment) for name, value in _metrics(record).items()]


def final_points(trial: TrialRecord, epochs: Sequence[EpochRecord]) -> list[Point]:
    """Return what is known only at the end: the test score of a confirmation."""
    if trial.test is None:
        return []
    start = milliseconds(trial.started or trial.created)
    moment = start + round(sum(record.seconds for record in epochs) * 1000)
    return [Point("test", trial.test, trial.epochs, moment)]


def comparison_points(study: StudyRecord, comparison: Mapping[str, Any]) -> list[Point]:
    """Return the numbers of each comparison, for the study's own run, grouped by what is compared."""
    moment = milliseconds(study.created)
    names = (
        *("difference", "ci_low", "ci_high", "p_adjusted", "p_no_difference_adjusted"),
        *("searches", "searches_won", "search_share", "baseline_mean", "treatment_mean"),
    )
    rows = [row for row in comparison.get("comparisons") or [] if row["family"] == "study"]
    return [
        Point(_legal(f"verdict/{_compared(row)}/{name}"), row[name], 0, moment)
        for row in rows
        for name in names
        if row.get(name) is not None
    ]


def _compared(row: Mapping[str, Any]) -> str:
    """Return what a comparison is about, without a slash; the baseline where it is not the usual one."""
    name = f"{row['transfer']} {row['treatment']}"
    return name if row["baseline"] == "constant" else f"{name} against {row['baseline'].replace('/', ' ')}"


def note(study: StudyRecord, experiment_id: str, summary: str = "") -> str:
    """Return the run's description: the result, where to look, what to type."""
    lines = [f"**{study.id}**: {study.status}.", ""]
    if summary:
        lines += [summary.rstrip(), ""]
    views = {
        "confirmation, curves": ("confirm", "CHART"),
        "confirmation, table": ("confirm", "TABLE"),
        "search, charts": ("search", "CHART"),
        "search, table": ("search", "TABLE"),
    }
    links = [f"[{name}]({_view(study, experiment_id, *view)})" for name, view in views.items()]
    lines += [
        f"- Runs of this study: {', '.join(links)}; the report is among the artifacts",
        f"- `kdstudy show {study.id}`, `kdstudy compare {study.id}`, `kdstudy reproduce {study.id}`",
    ]
    return "\n".join(lines)


def _view(study: StudyRecord, experiment_id: str, phase: str, mode: str) -> str:
    """Return the address of MLflow's list of a study's runs of one phase."""
    wanted = f"tags.`{STUDY_TAG}` = '{study.id}' and tags.phase = '{phase}'"
    query = {"workflowType": "machine_learning", "compareRunsMode": mode, "searchFilter": wanted}
    return f"#/experiments/{experiment_id}/runs?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}"


def _metrics(record: EpochRecord) -> dict[str, float]:
    values: dict[str, float | None] = {
        "val": record.val,
        "val_loss": record.val_loss,
        "loss": record.loss,
        "rate": record.rate,
        "seconds": record.seconds,
    }
    values |= {f"val_scores/{name}": value for name, value in record.scores.items()}
    values |= {f"terms/{name}": value for name, value in record.terms.items()}
    values |= {f"rates/{layer}": rate for layer, rate in record.rates.items()}
    for layer in record.layers:
        values[f"layers/{layer.layer}/divergence"] = layer.divergence
        values[f"layers/{layer.layer}/chance"] = layer.chance
        values[f"layers/{layer.layer}/momentum"] = layer.momentum
        values[f"layers/{layer.layer}/multiplier"] = layer.multiplier
    return {_legal(name): value for name, value in values.items() if value is not None}


def _scalars(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return the scalars below ``values`` by dotted path; a list is one."""
    if isinstance(values, Mapping):
        flat: dict[str, Any] = {}
        for key, value in values.items():
            flat |= _scalars(value, f"{prefix}{key}.")
        return flat
    if values is None or values in ([], ()):
        return {}
    return {prefix.removesuffix("."): values}


def _text(value: Any) -> str:
    """Return a parameter's text: numbers and truth values as JSON, so that they can be read back."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 3]}..."


def _legal(name: str) -> str:
    """Return ``name`` with the characters MLflow rejects replaced."""
    return _FORBIDDEN.sub("_", name)
