"""A study as a caller in Python sees it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, final

from kdstudy.api.html import html_list, html_table, paragraph
from kdstudy.api.plots import Plots
from kdstudy.api.trial import Trial
from kdstudy.errors import RecordError, StudyError
from kdstudy.ledger import Ledger, StudyRecord, best_of
from kdstudy.results import Phase, ShowDocument, StudyStatus, decimal
from kdstudy.storage import Store

if TYPE_CHECKING:
    import optuna
    from pandas import DataFrame

    from kdstudy.api.callbacks import Callback, TrialCallback
    from kdstudy.api.comparison import Comparison
    from kdstudy.cluster import Cluster
    from kdstudy.report import Drawings


@final
class Study(Plots):
    """A study of a store: a view that reads the record whenever it is asked, and holds nothing of it.

    Args:
        study_id: Its full ID.
        store: Where it is kept.
    """

    def __init__(self, study_id: str, store: Store) -> None:
        self.id, self.store = study_id, store

    @contextmanager
    def _ledger(self) -> Iterator[Ledger]:
        with Ledger.open(self.store.ledger_url) as ledger:
            yield ledger

    @property
    def record(self) -> StudyRecord:
        """All that the ledger holds of the study itself: file, teacher, data, environment."""
        with self._ledger() as ledger:
            return ledger.study(self.id)

    @property
    def name(self) -> str:
        """Its name in the study file."""
        return self.record.name

    @property
    def status(self) -> StudyStatus:
        """``running``, ``interrupted``, ``finished`` or ``failed``."""
        return self.record.status

    @property
    def text(self) -> str:
        """Its study file, verbatim."""
        return self.record.text

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Its trials, of search and confirmation, by number."""
        with self._ledger() as ledger:
            return tuple(Trial(record, self.store) for record in ledger.trials(self.id))

    def trial(self, number: int) -> Trial:
        """Return the trial of that number.

        Raises:
            RecordError: There is none.
        """
        with self._ledger() as ledger:
            return Trial(ledger.trial(self.id, number), self.store)

    @property
    def best_trial(self) -> Trial:
        """The search trial with the best validation score, as ``show`` names it; see `take_home` for the student.

        Raises:
            RecordError: No search trial has completed.
        """
        with self._ledger() as ledger:
            best = best_of(ledger.trials(self.id))
        if best is None:
            raise RecordError(
                f"{self.id}: no search trial has completed, so none is the best; wait, or look at .trials"
            )
        return Trial(best, self.store)

    @property
    def take_home(self) -> Trial:
        """The trial whose student is the one to take home: what ``export`` and ``reproduce`` take by default.

        Raises:
            RecordError: No trial has completed.
        """
        from kdstudy.analysis import chosen_trial

        with self._ledger() as ledger:
            return Trial(chosen_trial(ledger, self.id).trial, self.store)

    def trials_dataframe(self, phase: Phase | None = None) -> DataFrame:
        """Return one row per trial, with what ``kdstudy show --json`` says of it; missing numbers are NaN.

        Args:
            phase: ``search`` or ``confirm``; None for both.
        """
        from kdstudy.api.frames import trials_frame

        with self._ledger() as ledger:
            return trials_frame(ledger.trials(self.id, phase))

    def epochs_dataframe(self, phase: Phase | None = None) -> DataFrame:
        """Return one row per epoch of each trial: loss and its terms, validation score, rates, what layers did.

        Args:
            phase: As for `trials_dataframe`.
        """
        from kdstudy.api.frames import epochs_frame

        with self._ledger() as ledger:
            trials = ledger.trials(self.id, phase)
            return epochs_frame([(trial, ledger.epochs(self.id, trial.number)) for trial in trials])

    def compare(self, baseline: str | None = None) -> Comparison:
        """Return what the study says of its arms, as ``kdstudy compare`` does.

        Args:
            baseline: A policy, or ``none`` for plain training: exploratory; None for the study's own comparisons.
        """
        from kdstudy.analysis import compare
        from kdstudy.api.comparison import Comparison

        with self._ledger() as ledger:
            return Comparison(compare(ledger, [self.id], baseline))

    def resume(
        self,
        *,
        address: str | None = None,
        callbacks: Sequence[Callback | TrialCallback] = (),
        cluster: Cluster | None = None,
        progress: bool = True,
    ) -> Study:
        """Go on with the study wherever it was interrupted; the arguments are those of `kdstudy.run`."""
        from kdstudy.api.callbacks import Telling
        from kdstudy.api.progress import shown_progress
        from kdstudy.runner import resume_study

        with shown_progress(self.store, wanted=progress) as shown:
            told = [Telling(self.store, callbacks), *shown]
            resume_study(self.id, self.store, address=address, cluster=cluster, observers=told)
        return self

    def confirm(
        self,
        *,
        searches: int = 0,
        seeds: int = 0,
        address: str | None = None,
        callbacks: Sequence[Callback | TrialCallback] = (),
        cluster: Cluster | None = None,
        progress: bool = True,
    ) -> Study:
        """Add searches, or confirmation seeds to each search, as ``kdstudy confirm`` does.

        Args:
            searches: How many more.
            seeds: How many more in each search.
            address: As for `kdstudy.run`, like the rest.
            callbacks: Told of its trials.
            cluster: Where the work is done.
            progress: Whether a notebook shows a table of it.
        """
        from kdstudy.api.callbacks import Telling
        from kdstudy.api.progress import shown_progress
        from kdstudy.runner import confirm_study

        asked = {"searches": searches, "seeds": seeds}
        with shown_progress(self.store, wanted=progress) as shown:
            told = [Telling(self.store, callbacks), *shown]
            confirm_study(self.id, self.store, **asked, address=address, cluster=cluster, observers=told)
        return self

    def report(self, path: str | os.PathLike[str] | None = None, *, form: str | None = None) -> str:
        """Write what the study found on one page, as ``kdstudy report`` does.

        Args:
            path: Where to; None for ``report.html`` beside its trials.
            form: ``html``, ``md`` or ``json``; None for what the path's suffix says, else html.

        Returns:
            Where it lies.
        """
        from kdstudy.report import write_report_at

        with self._ledger() as ledger:
            return write_report_at(ledger, [self.id], self.store, None if path is None else Path(path), form)

    def _drawings(self) -> Drawings:
        from kdstudy.report import Drawings, report_of

        with self._ledger() as ledger:
            return Drawings(report_of(ledger, [self.id]))

    def to_optuna(self, arm: str) -> optuna.Study:
        """Return the search of one arm as an Optuna study in memory, for all that Optuna draws and computes.

        Args:
            arm: ``transfer/policy``.

        Raises:
            StudyError: The study has no such arm.
        """
        from kdstudy.report import optuna_study

        with self._ledger() as ledger:
            return optuna_study(ledger, self.id, arm)

    def to_json(self) -> ShowDocument:
        """Return the document of ``kdstudy show --json``."""
        from kdstudy.analysis import show_json

        with self._ledger() as ledger:
            return show_json(ledger, ledger.study(self.id))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Study) and (self.id, self.store) == (other.id, other.store)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Study {self.id}: {self.status}, {len(self.trials)} trials>"

    def _repr_html_(self) -> str:
        from kdstudy.analysis import arm_rows

        with self._ledger() as ledger:
            record = ledger.study(self.id)
            try:
                rows = arm_rows(record.study(), ledger.trials(self.id))
            except StudyError as error:  # of an earlier version, whose text names a plug-in that is not allowed
                return paragraph(repr(self), strong=True) + html_list(error.problems)
        columns = ("trials", "completed", "stopped", "diverged", "failed", "best_val", "confirmed", "test_mean")
        cells = [
            (f"{row['arm']['transfer']}/{row['arm']['policy']}", *(_cell(row[name]) for name in columns))  # type: ignore[literal-required]
            for row in rows
        ]
        header = ("arm", *(name.replace("_", " ") for name in columns))
        head = paragraph(f"{record.id}: {record.status}", strong=True)
        return head + paragraph(record.message or "") + html_table(header, cells)


def _cell(value: float | int | None) -> str:
    return str(value) if isinstance(value, int) else decimal(value)
