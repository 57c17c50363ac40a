"""`Ledger`: every query of the record and every change to it, one transaction each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from kdstudy.errors import RecordError
from kdstudy.ledger import guesses, listing, lookup, studies, trials
from kdstudy.ledger.database import RETRY_SECONDS, Database
from kdstudy.ledger.guesses import Guess
from kdstudy.ledger.lease import LeaseOwner
from kdstudy.ledger.records import StudyRecord, StudySummary, WarmStart
from kdstudy.ledger.trial_record import Publication, TrialRecord
from kdstudy.results import EpochRecord, Phase, TrialResult
from kdstudy.study import ArmId

T = TypeVar("T")


class Ledger:
    """The record of every study, opened for reading and writing; what is missing is created.

    Every method is one transaction, so that a process killed at any moment leaves no half of anything.
    Threads may share a ledger; each process opens its own. Any method raises a StoreError where the database
    cannot be used, and where it names a study or a trial that does not exist, a RecordError. A ledger
    through which a driver took the lease of a study refuses, once that lease is lost, to change the study: what
    the next driver does is safe from the last.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql+psycopg://USER:PASSWORD@HOST/DATABASE``.
        patience: Seconds for which a transaction is tried again while the database is locked or away.

    Raises:
        StoreError: The database cannot be used, or a newer kdstudy wrote it.
    """

    def __init__(self, url: str, *, patience: float = RETRY_SECONDS) -> None:
        self._use(Database(url, create=True, patience=patience))

    def _use(self, database: Database) -> None:
        self._database = database
        self._owners: dict[str, LeaseOwner] = {}

    @classmethod
    def open(cls, url: str, create: bool = False, *, patience: float = RETRY_SECONDS) -> Self:
        """Open a ledger; unless ``create``, a missing one is not created, reads as empty and refuses writes.

        Raises:
            StoreError: As for the class.
        """
        ledger = cls.__new__(cls)
        ledger._use(Database(url, create=create, patience=patience))
        return ledger

    @property
    def place(self) -> str:
        """Where it is, for people: a path, or a URL without password."""
        return self._database.place

    def require(self) -> None:
        """See that there is a ledger: a missing one reads as empty, as one under a mistyped name would.

        Raises:
            StoreError: There is none.
        """
        self._database.require()

    def shorten_retries(self) -> None:
        """From now on retry for a few seconds at most, because the process shuts down."""
        self._database.shorten_retries()

    def close(self) -> None:
        """Close every connection; a later call opens new ones."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Studies

    def create_study(self, study: StudyRecord, owner: LeaseOwner | None = None, warm: WarmStart | None = None) -> None:
        """Record a new study, with a lease for ``owner`` from the first moment; repeating it changes nothing.

        Without an owner, a running study reads as ``interrupted`` until a process takes its lease. ``warm`` names the
        earlier trials that its samplers start from.

        Raises:
            RecordError: Another study has that ID.
        """

        def work(connection: Connection) -> None:
            studies.create(connection, study, self.place)
            if warm is not None:
                studies.add_warm_start(connection, study.id, warm)
            if owner is not None:
                studies.acquire_lease(connection, study.id, owner)

        self._database.write(work)
        if owner is not None:
            self._owners[study.id] = owner

    def summaries(self) -> tuple[StudySummary, ...]:
        """Return a line for each study, the oldest first. Cheap: it reads no trial."""
        return self._database.read(studies.summaries)

    def of_text(self, text: str) -> tuple[str, ...]:
        """Return the IDs of the studies whose file had this text, the oldest first."""
        return self._database.read(lambda connection: lookup.of_text(connection, text))

    def resolve(self, reference: str) -> str:
        """Return the ID that a title, a unique prefix, or ``latest`` (of those that are not archived), means.

        Raises:
            RecordError: None, or several (some are named).
        """
        self.require()
        return self._database.read(lambda connection: lookup.resolve(connection, reference, self.place))

    def study(self, study_id: str) -> StudyRecord:
        """Return a study. A running one that nobody drives reads as ``interrupted``."""
        found = self._database.read(lambda connection: studies.read(connection, study_id))
        if found is None:
            raise studies.missing(study_id)
        return found

    def warm_start(self, study_id: str) -> WarmStart | None:
        """Return the earlier trials that a study's samplers started from; None without any."""
        return self._database.read(lambda connection: studies.read_warm_start(connection, study_id))

    def update_study(self, study_id: str, **values: Any) -> None:
        """Set some of a study's status, environment, dataset, teacher, lag, seeds, tracking and message.

        Raises:
            TypeError: A field that does not exist or never changes.
        """
        if wrong := set(values) - studies.CHANGEABLE:
            raise TypeError(f"a study's {', '.join(sorted(wrong))} cannot be set")
        self._change(study_id, lambda connection: studies.change(connection, study_id, values))

    def list_as(self, study_id: str, **values: Any) -> None:
        """Set how a study is listed: its ``title``, whether it is ``archived``. Its ID, name and runs stay.

        Raises:
            RecordError: There is no such study, or its title is none, or means another study.
        """
        self.study(study_id)
        self._change(study_id, lambda connection: listing.change(connection, study_id, **values))

    def require_unneeded(self, study_id: str) -> None:
        """Refuse where another study learns from this one (`WarmStart`): it could not go on, nor be reproduced.

        Raises:
            RecordError: One does.
        """
        self._database.read(lambda connection: studies.require_unneeded(connection, study_id))

    def delete_study(self, study_id: str) -> None:
        """Remove a study with its trials and epochs, all or nothing; one that is not there is no error.

        Raises:
            RecordError: As `require_unneeded`.
        """
        self._change(study_id, lambda connection: studies.delete_study(connection, study_id))

    # The lease of a study

    def acquire_lease(self, study_id: str, owner: LeaseOwner) -> None:
        """Take the lease of a study, or renew one's own. A stale one is taken over.

        Raises:
            StoreError: Another driver has it: its process, host and since when.
        """
        self._database.write(lambda connection: studies.acquire_lease(connection, study_id, owner))
        self._owners[study_id] = owner

    def renew_lease(self, study_id: str, owner: LeaseOwner) -> None:
        """Renew a lease; due several times in every `LEASE_SECONDS`.

        Raises:
            StoreError: It is lost; the process must stop.
        """
        self._database.write(lambda connection: studies.renew_lease(connection, study_id, owner))

    def release_lease(self, study_id: str, owner: LeaseOwner) -> None:
        """End a lease; nothing happens if another process has taken it over."""
        self._database.write(lambda connection: studies.release_lease(connection, study_id, owner))
        self._owners.pop(study_id, None)

    # Trials

    def add_trial(self, trial: TrialRecord) -> None:
        """Record a new trial; repeating it changes nothing.

        Raises:
            RecordError: Another trial has its number, or its place in the arm.
        """
        self.add_trials([trial])

    def add_trials(self, new: Sequence[TrialRecord]) -> None:
        """Record new trials of one study, all or none.

        Raises:
            RecordError: Another trial has the number of one of them, or its place in the arm.
        """
        if not new:
            return
        first = new[0]
        try:
            self._change(first.study_id, lambda connection: trials.add(connection, new))
        except IntegrityError as error:
            raise RecordError(
                f"study '{first.study_id}': trial {first.number}, or one added with it, has the place of "
                "another in its arm, or there is no such study; check whether two drivers are running"
            ) from error

    def trials(self, study_id: str, phase: Phase | None = None) -> tuple[TrialRecord, ...]:
        """Return the trials of a study, or of one phase, in order of their numbers."""
        return self._database.read(lambda connection: trials.read(connection, study_id, phase))

    def trial(self, study_id: str, number: int) -> TrialRecord:
        """Return one trial."""
        found = self._database.read(lambda connection: trials.read(connection, study_id, number=number))
        if not found:
            raise trials.missing(study_id, number)
        return found[0]

    def arms(self, study_id: str) -> tuple[ArmId, ...]:
        """Return each arm that has a trial, in order of their first."""
        return self._database.read(lambda connection: trials.read_arms(connection, study_id))

    def start_trial(self, study_id: str, number: int) -> bool:
        """Mark a trial as running. Return False, and change nothing, if it was over already."""
        return self._change(study_id, lambda connection: trials.start(connection, study_id, number))

    def requeue(self, study_id: str, number: int | None = None) -> tuple[int, ...]:
        """Put the running trials, or the one of that number, back into the queue; return their numbers."""
        return self._change(study_id, lambda connection: trials.requeue(connection, study_id, number))

    def finish_trial(self, study_id: str, number: int, result: TrialResult) -> bool:
        """Record how a trial ended; return False, and change nothing, if it had ended already.

        Epochs beyond the result's are dropped if it is ``completed`` or ``stopped``: an earlier attempt left
        them.
        """
        return self._change(study_id, lambda connection: trials.finish(connection, study_id, number, result))

    def guesses(self, study_id: str) -> tuple[Guess, ...]:
        """Return the values that a user wants tried, in the order of their places."""
        return self._database.read(lambda connection: guesses.read(connection, study_id))

    def add_guesses(self, study_id: str, new: Sequence[Guess]) -> None:
        """Write values that a user wants tried, at places that have none."""
        self._change(study_id, lambda connection: guesses.add(connection, study_id, new))

    # Epochs

    def record_epoch(self, study_id: str, number: int, record: EpochRecord) -> None:
        """Write an epoch of a trial, in place of an earlier writing. After its end, only a gap is filled."""
        self._change(study_id, lambda connection: trials.record_epoch(connection, study_id, number, record))

    def epochs(self, study_id: str, number: int) -> tuple[EpochRecord, ...]:
        """Return a trial's epochs in order."""
        return self._database.read(lambda connection: trials.read_epochs(connection, study_id, number))

    def scores(self, study_id: str) -> dict[int, dict[int, float]]:
        """Return, by trial number and epoch, every validation score of a study, by one query."""
        return self._database.read(lambda connection: trials.read_scores(connection, study_id))

    # What MLflow has

    def mark_published(self, study_id: str, number: int, now: Publication) -> None:
        """Note what MLflow has of a trial by now."""
        self._database.write(lambda connection: trials.mark_published(connection, study_id, number, now))

    def unpublished(self, study_id: str) -> tuple[int, ...]:
        """Return the numbers of the trials that MLflow lacks an epoch or the state of."""
        return self._database.read(lambda connection: trials.unpublished(connection, study_id))

    def _change(self, study_id: str, work: Callable[[Connection], T]) -> T:
        """Change a study, unless its lease was taken through this ledger and is lost."""
        owner = self._owners.get(study_id)

        def guarded(connection: Connection) -> T:
            if owner is not None:
                studies.guard(connection, study_id, owner)
            return work(connection)

        return self._database.write(guarded)
