"""The final result of a study: read from the ledger, written as a page, published to MLflow."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kdstudy.analysis import Answer, Comparison, best_json, compare
from kdstudy.errors import StoreError
from kdstudy.ledger import Ledger, StudyRecord, TrialRecord, best_of
from kdstudy.report import PAGE, report_of, to_summary, write_report
from kdstudy.results import RunDocument, TrialCountsDocument
from kdstudy.storage import Store, node_folder
from kdstudy.tracking import Tracker, UnavailableError, sync_study

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyResult:
    """The final result of a study.

    Args:
        study: As the ledger has it at the end.
        trials: All of them.
        comparison: Of its arms; None if nothing was confirmed.
        answer: What it answers beside its verdicts.
        unpublished: Runs of which MLflow lacks something.
    """

    study: StudyRecord
    trials: tuple[TrialRecord, ...]
    comparison: Comparison | None
    answer: Answer
    unpublished: int

    @property
    def best(self) -> TrialRecord | None:
        """The search trial with the best validation score."""
        return best_of(self.trials)

    @property
    def counts(self) -> TrialCountsDocument:
        """Trials by how they ended."""
        found = Counter(trial.state for trial in self.trials)
        return {
            "completed": found["completed"],
            "stopped": found["stopped"],
            "diverged": found["diverged"],
            "failed": found["failed"],
        }

    def to_json(self) -> RunDocument:
        """Return what ``run --json`` prints."""
        rows = [] if self.comparison is None else self.comparison.to_json()["comparisons"]
        return {
            "study_id": self.study.id,
            "status": self.study.status,
            "trials": self.counts,
            "best": best_json(self.trials),
            "comparison": rows,
            "warnings": [warned.to_json() for warned in self.answer.warnings],
            "answer": self.answer.to_json(),
        }


def result_of(ledger: Ledger, study_id: str, unpublished: int = 0) -> StudyResult:
    """Return the result of a study as the ledger has it."""
    trials = ledger.trials(study_id)
    confirmed = any(trial.phase == "confirm" for trial in trials)
    comparison = compare(ledger, [study_id])
    (answer,) = comparison.answers
    return StudyResult(ledger.study(study_id), trials, comparison if confirmed else None, answer, unpublished)


@dataclass(frozen=True)
class Trouble:
    """A closing step of a study that did not succeed.

    Args:
        what: The step.
        error: Why.
    """

    what: str
    error: Exception

    def tell(self) -> None:
        """Log one line; for a fault of ours, or of a plug-in, the traceback too where details are shown."""
        if isinstance(self.error, StoreError):
            log.warning(str(self.error))
            return
        reason = " ".join(str(self.error).split())[:200]
        log.error(
            f"{self.what}: cannot be made ({type(self.error).__name__}: {reason}), a fault of the program; all else is "
            "recorded and published; --debug shows where"
        )
        log.debug("traceback", exc_info=self.error)


def conclude(ledger: Ledger, study_id: str, store: Store, tracker: Tracker | None) -> list[Trouble]:
    """Write a finished study's page, put the result on its run in MLflow, end that, and note that it is complete.

    Each step is on its own: none that fails keeps another from being done, but for a server that is away.

    Args:
        ledger: The record.
        study_id: The study.
        store: For its page.
        tracker: Connected to MLflow; None: only the page is written.

    Returns:
        What did not succeed.
    """
    troubles: list[Trouble] = []

    def attempt(what: str, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001  the other steps are done all the same
            troubles.append(Trouble(what, error))

    attempt("report", lambda: write_page(ledger, study_id, store))
    if tracker is None:
        return troubles
    for what, step in _closing_steps(ledger, study_id, store, tracker):
        attempt(what, step)
        if any(isinstance(trouble.error, UnavailableError) for trouble in troubles):
            break
    if not troubles:
        tracking = replace(ledger.study(study_id).tracking, complete=True)
        attempt("record", lambda: ledger.update_study(study_id, tracking=tracking))
    return troubles


def _closing_steps(
    ledger: Ledger, study_id: str, store: Store, tracker: Tracker
) -> list[tuple[str, Callable[[], object]]]:
    result = result_of(ledger, study_id)
    study, student = result.study, result.answer.take_home
    comparison: Mapping[str, Any] = {} if result.comparison is None else result.comparison.to_json()

    def publish_page() -> None:
        page = store.study(study_id).read(PAGE)
        if page is not None:
            tracker.publish_page(study, page.decode())

    def publish_model() -> None:
        if student is not None:
            tracker.publish_model(study, (store.trial(study_id, student.trial) / "student").on_disk(node_folder()))

    return [
        ("verdict in MLflow", lambda: tracker.publish_comparison(study, comparison)),
        ("description in MLflow", lambda: tracker.describe_study(study, to_summary(report_of(ledger, [study_id])))),
        ("page in MLflow", publish_page),
        ("model in MLflow", publish_model),
        ("end of the run in MLflow", lambda: tracker.end_study(study)),
    ]


def write_page(ledger: Ledger, study_id: str, store: Store) -> None:
    """Write the study's report into the store, and say where.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        write_report(ledger, [study_id], store.study(study_id), PAGE)
    except StoreError as error:
        raise StoreError(f"{error}; `kdstudy report {study_id}` writes it later") from error
    log.info(f"report: {store.study(study_id)}/{PAGE}")


def deliver(ledger: Ledger, study_id: str, store: Store) -> list[Trouble]:
    """Bring MLflow up to date with a study; of a finished one, write the report and publish the result as well.

    Returns:
        The closing steps that did not succeed.

    Raises:
        StoreError: The server cannot be used, or something is still missing after ten minutes.
    """
    tracker = Tracker(store.tracking_uri, store.artifacts)
    sync_study(ledger, study_id, tracker)
    troubles = conclude(ledger, study_id, store, tracker) if ledger.study(study_id).status == "finished" else []
    tracker.close()
    for trouble in troubles:
        trouble.tell()
    return troubles
