"""The final result of a study: read from the ledger, written as a page, published to MLflow."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace

from kdstudy.analysis import Answer, Comparison, best_json, compare
from kdstudy.errors import StoreError
from kdstudy.ledger import Ledger, StudyRecord, TrialRecord, best_of
from kdstudy.report import PAGE, report_of, to_summary, write_report
from kdstudy.results import RunDocument, TrialCountsDocument
from kdstudy.storage import Store, node_folder
from kdstudy.tracking import Tracker, sync_study

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


def write_page(ledger: Ledger, study_id: str, store: Store) -> None:
    """Write the study's report into the store, and say where; trouble with the disk is only a warning."""
    try:
        write_report(ledger, [study_id], store.study(study_id), PAGE)
    except StoreError as error:
        log.warning(f"{error}; `kdstudy report {study_id}` writes it later")
    else:
        log.info(f"report: {store.study(study_id)}/{PAGE}")


def publish_result(tracker: Tracker, ledger: Ledger, result: StudyResult, store: Store) -> None:
    """Put comparison, report and best student on the study's run in MLflow, end it, and note in the ledger that it is.

    Raises:
        StoreError: The server cannot be used, or refuses.
    """
    study_id, comparison, best = result.study.id, result.comparison, result.best
    page = store.study(study_id).read(PAGE)
    tracker.close_study(
        result.study,
        {} if comparison is None else comparison.to_json(),
        to_summary(report_of(ledger, [study_id])),
        None if best is None else (store.trial(study_id, best.number) / "student").on_disk(node_folder()),
        None if page is None else page.decode(),
    )
    ledger.update_study(study_id, tracking=replace(result.study.tracking, complete=True))


def deliver(ledger: Ledger, study_id: str, store: Store) -> None:
    """Bring MLflow up to date with a study; of a finished one, write the report and publish the result as well.

    Raises:
        StoreError: The server cannot be used, or something is still missing after ten minutes.
    """
    tracker = Tracker(store.tracking_uri, store.artifacts)
    sync_study(ledger, study_id, tracker)
    if ledger.study(study_id).status == "finished":
        write_page(ledger, study_id, store)
        publish_result(tracker, ledger, result_of(ledger, study_id), store)
    tracker.close()
