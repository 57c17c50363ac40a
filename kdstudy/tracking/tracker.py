"""`Tracker` writes studies and trials to MLflow as runs. Every call may be repeated: nothing is written twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdstudy.ledger import Ended, StudyRecord, TrackingRef, TrialRecord
from kdstudy.results import EpochRecord
from kdstudy.tracking import naming
from kdstudy.tracking.client import RejectedError, close, connect, log_system_metrics, redact, translated
from kdstudy.tracking.local import database_of, follow_store
from kdstudy.tracking.origin import log_data, log_environment

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

# MLflow's own limits of one request.
MAX_POINTS = 1000
MAX_PARAMS = 100
# The metric every epoch has: its history says which epochs a run holds.
_MARKER = "rate"


class Tracker:
    """Writes studies and trials to one MLflow server or database. Not for two threads at the same time.

    A study is a run in the experiment of the study's name, its trials are child runs. Runs are found by their
    tags ``kdstudy.study_id`` and ``kdstudy.trial`` where the record does not know their ID, so a crash
    between creating a run and recording it leaves one run, not two.

    Args:
        uri: ``sqlite:///PATH`` or ``http(s)://HOST[:PORT]``.
        artifacts: Where a local database keeps artifacts; a server has its own place.
        check: Ask the server at once whether it can be used, rather than at the first request.

    Raises:
        StoreError: The server or database cannot be used.
    """

    def __init__(self, uri: str, artifacts: Path, *, check: bool = True) -> None:
        self.uri = uri
        self._artifacts = artifacts
        self._client: MlflowClient = connect(uri, check=check)
        if uri.startswith("sqlite:"):
            follow_store(database_of(uri), artifacts)
        # Run ID to the epochs it holds, for the runs this tracker has met.
        self._epochs: dict[str, set[int]] = {}
        # Run ID to the state it shows, as far as this tracker has set it.
        self._states: dict[str, str] = {}
        self._system_metrics: Any = None

    def open_study(self, record: StudyRecord) -> TrackingRef:
        """Create or find the study's run, and return what the ledger keeps in ``tracking``.

        Args:
            record: The study; what it knows already of data and teacher becomes parameters.

        Returns:
            Where it is, without credentials: MLflow takes those from its environment variables.

        Raises:
            StoreError: The server cannot be used, or refuses.
        """
        with translated(self.uri):
            run = self._study_run(record)
            run_id = str(run.info.run_id)
            self._describe(run, naming.study_params(record), naming.study_tags(record))
            self._client.update_run(run_id, naming.STUDY_STATUS[record.status])
            self._client.log_text(run_id, record.text, "study.yaml")
            log_environment(self._client, run_id, record)
            log_data(self._client, run_id, record)
            if "mlflow.note.content" not in run.data.tags:
                self._client.set_tag(run_id, "mlflow.note.content", naming.note(record, run.info.experiment_id))
            if record.status == "running" and self._system_metrics is None:
                self._system_metrics = log_system_metrics(self.uri, run_id)
            return TrackingRef(redact(self.uri), run.info.experiment_id, run_id)

    def publish_trial(self, study: StudyRecord, trial: TrialRecord, epochs: Sequence[EpochRecord]) -> tuple[str, int]:
        """Bring the trial's run up to date.

        Args:
            study: Opened before: its ``tracking`` names the parent run.
            trial: As the ledger has it now.
            epochs: All its epochs, from the first on.

        Returns:
            The run's ID and the last epoch it holds (0: none).

        Raises:
            StoreError: The server cannot be used, or refuses.
        """
        with translated(self.uri):
            run_id = self._known_trial_run(study, trial)
            held = self._epochs[run_id]
            fresh = [
                batch
                for record, batch in zip(epochs, naming.points(trial, epochs), strict=True)
                if record.epoch not in held
            ]
            for batch in _batches([*fresh, naming.final_points(trial, epochs)] if trial.done else fresh):
                self._log_points(run_id, batch)
                held.update(point.step for point in batch if point.name == _MARKER)
            self._set_state(run_id, trial)
            if trial.done:  # it is final, and a study may have thousands
                del self._epochs[run_id], self._states[run_id]
            return run_id, max((record.epoch for record in epochs), default=0)

    # The result of a finished study, in steps of which none needs another. Each raises a StoreError where the server
    # cannot be used, or refuses.

    def publish_comparison(self, study: StudyRecord, comparison_json: Mapping[str, Any]) -> None:
        """Put the verdict on the study's run, as a file and as metrics.

        Args:
            study: Opened before.
            comparison_json: What ``kdstudy compare --json`` prints; empty if there is nothing to compare.
        """
        with translated(self.uri):
            run = self._study_run(study)
            self._client.log_text(run.info.run_id, json.dumps(comparison_json, indent=2) + "\n", "comparison.json")
            self._log_points(run.info.run_id, naming.comparison_points(study, comparison_json))

    def describe_study(self, study: StudyRecord, summary: str) -> None:
        """Put the same for a reader, Markdown, on the study's run, as a file and as its description."""
        with translated(self.uri):
            run = self._study_run(study)
            self._client.log_text(run.info.run_id, summary, "comparison.md")
            note = naming.note(study, run.info.experiment_id, summary)
            self._client.set_tag(run.info.run_id, "mlflow.note.content", note)

    def publish_page(self, study: StudyRecord, page: str) -> None:
        """Keep the study's page (HTML) with its run."""
        with translated(self.uri):
            self._client.log_text(self._study_run(study).info.run_id, page, "report.html")

    def publish_model(self, study: StudyRecord, directory: Path) -> None:
        """Log the student to take home as a model, and register it.

        Args:
            study: Opened before.
            directory: What `kdstudy.models.saved.save_student` wrote.
        """
        from kdstudy.tracking.model import log_student
        from kdstudy.tracking.model_registry import register_student

        with translated(self.uri):
            run = self._study_run(study)
            model_id = log_student(self._client, run.info.run_id, run.info.experiment_id, directory)
            register_student(self._client, study, run.info.run_id, model_id)

    def end_study(self, study: StudyRecord) -> None:
        """Bring parameters and tags of the study's run up to date, and end it with the study's status."""
        self._stop_system_metrics()
        with translated(self.uri):
            run = self._study_run(study)
            self._describe(run, naming.study_params(study), naming.study_tags(study))
            self._client.set_terminated(run.info.run_id, naming.STUDY_STATUS[study.status])

    def delete_study(self, study: StudyRecord) -> None:
        """Remove a study's runs, models and model versions, and of a local database their files.

        Raises:
            StoreError: The server cannot be used, or refuses.
        """
        from kdstudy.tracking.deletion import delete_runs

        with translated(self.uri):
            delete_runs(self._client, study, self._artifacts.resolve())

    def close(self) -> None:
        """Close the connections to a local database."""
        self._stop_system_metrics()
        close(self._client)

    def _stop_system_metrics(self) -> None:
        if self._system_metrics is not None:
            self._system_metrics.finish()
            self._system_metrics = None

    def _experiment(self, name: str) -> str:
        """Return the ID of the experiment of this name, created if missing."""
        from mlflow.exceptions import MlflowException

        found: Experiment | None = self._client.get_experiment_by_name(name)
        if found is None:
            local = self.uri.startswith("sqlite")
            place = (self._artifacts / name).resolve().as_uri() if local else None
            try:
                return str(self._client.create_experiment(name, artifact_location=place))
            except MlflowException:  # another driver was first; if not, the error is not ours
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise RejectedError(
                f"tracking: {redact(self.uri)}: experiment '{name}' was deleted; restore it in MLflow "
                "or rename the study"
            )
        return str(found.experiment_id)

    def _study_run(self, study: StudyRecord) -> Run:
        """Return the study's own run, created if there is none."""
        experiment_id = self._experiment(study.name)
        tags = {naming.STUDY_TAG: study.id, naming.KIND_TAG: "study"}
        return self._find(experiment_id, tags) or self._client.create_run(
            experiment_id, naming.milliseconds(study.created), {**tags, **_SOURCE}, study.id
        )

    def _known_trial_run(self, study: StudyRecord, trial: TrialRecord) -> str:
        """Return the ID of the trial's run, prepared for points: described, and its epochs known."""
        if trial.published.run_id in self._epochs:
            return str(trial.published.run_id)
        experiment_id, parent = str(study.tracking.experiment_id), str(study.tracking.run_id)
        tags = {
            naming.STUDY_TAG: study.id,
            naming.KIND_TAG: "trial",
            naming.TRIAL_TAG: str(trial.number),
        }
        run = self._find(experiment_id, tags)
        if run is None:
            start = naming.milliseconds(trial.started or trial.created)
            tags |= {"mlflow.parentRunId": parent, **_SOURCE}
            commit = naming.git_commit(study)
            if commit:
                tags["mlflow.source.git.commit"] = commit
            run = self._client.create_run(experiment_id, start, tags, naming.run_name(trial))
        run_id = str(run.info.run_id)
        if run_id not in self._epochs:
            tags = {**naming.trial_tags(trial), "mlflow.runColor": naming.run_colour(study, trial)}
            self._describe(run, naming.trial_params(trial), tags)
            log_data(self._client, run_id, study)
            self._epochs[run_id] = {point.step for point in self._client.get_metric_history(run_id, _MARKER)}
        return run_id

    def _find(self, experiment_id: str, tags: Mapping[str, str]) -> Run | None:
        """Return the oldest run that carries the tags."""
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found = self._client.search_runs([experiment_id], query, order_by=["attributes.start_time ASC"], max_results=1)
        return found[0] if found else None

    def _describe(self, run: Run, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Write the parameters the run lacks, which MLflow never lets change, and all tags."""
        from mlflow.entities import Param, RunTag

        run_id = run.info.run_id
        missing = [Param(name, value) for name, value in params.items() if name not in run.data.params]
        for start in range(0, len(missing), MAX_PARAMS):
            self._client.log_batch(run_id, params=missing[start : start + MAX_PARAMS])
        self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _log_points(self, run_id: str, points: Sequence[naming.Point]) -> None:
        from mlflow.entities import Metric

        if points:
            metrics = [Metric(point.name, point.value, point.milliseconds, point.step) for point in points]
            self._client.log_batch(run_id, metrics=metrics)

    def _set_state(self, run_id: str, trial: TrialRecord) -> None:
        from mlflow.entities import RunTag

        if self._states.get(run_id) == trial.state:
            return
        self._client.log_batch(run_id, tags=[RunTag(*tag) for tag in naming.trial_tags(trial).items()])
        status = naming.TRIAL_STATUS[trial.state]
        if isinstance(trial.stage, Ended):
            if trial.error:
                self._client.log_text(run_id, trial.error, "error.txt")
            self._client.set_terminated(run_id, status, naming.milliseconds(trial.stage.finished))
        else:
            self._client.update_run(run_id, status)
        self._states[run_id] = trial.state


_SOURCE = {"mlflow.source.name": "kdstudy", "mlflow.source.type": "LOCAL"}


def _batches(epochs: Iterable[list[naming.Point]]) -> list[list[naming.Point]]:
    """Join whole epochs into requests: a request is stored whole or not at all, so an epoch is, too."""
    batches: list[list[naming.Point]] = []
    for points in epochs:
        if batches and len(batches[-1]) + len(points) <= MAX_POINTS:
            batches[-1].extend(points)
        elif points:
            batches.append(list(points))
    return batches
