"""What the ledger holds of studies, as frozen records of plain values."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self, overload

from kdstudy.ledger.parts import DatasetInfo, TeacherInfo, TrackingRef
from kdstudy.results import StudyStatus, SummaryDocument, WarmStartDocument
from kdstudy.study import Study, parse_study


def utc_now() -> datetime:
    """Return the time, aware, in UTC."""
    return datetime.now(UTC)


@overload
def iso(moment: datetime) -> str: ...
@overload
def iso(moment: None) -> None: ...
@overload
def iso(moment: datetime | None) -> str | None: ...
def iso(moment: datetime | None) -> str | None:
    """Return ``moment`` as ISO-8601 text in UTC, to the second; None stays None."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")


def new_study_id(name: str) -> str:
    """Return a fresh ID ``name-8hex``; the digits are random and feed no seed."""
    return f"{name}-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class StudyRecord:
    """One study.

    Args:
        id: ``name-8hex``.
        name: As written in the study file.
        seed: The study seed, below 2**63.
        text: The study file, verbatim.
        status: ``running``, ``interrupted`` (stored, or read where nobody drives a running study),
            ``finished`` (its budget is spent) or ``failed`` (it cannot go on; ``message`` says why).
        created: Aware.
        environment: Where it was started: packages, git commit, machine; ``store``, the identity of its store.
        dataset: Its data, known once they were prepared.
        teacher: Its teacher, likewise.
        lag: Trials of one arm in flight at once, once known.
        seeds: Confirmation seeds of each search asked for in all, those added later included; None for the study
            file's own.
        tracking: Its run in the published view, once that was opened.
        message: What a reader should know about the status.
        checked: The study as it was read and checked (``Study.to_json``); None in the records of older ledgers.
        searches: Searches asked for in all, those added later included; None for the study file's own.
    """

    id: str
    name: str
    seed: int
    text: str
    status: StudyStatus = "running"
    created: datetime = field(default_factory=utc_now)
    environment: dict[str, Any] = field(default_factory=dict)
    dataset: DatasetInfo = field(default_factory=DatasetInfo)
    teacher: TeacherInfo = field(default_factory=TeacherInfo)
    lag: int | None = None
    seeds: int | None = None
    tracking: TrackingRef = field(default_factory=TrackingRef)
    message: str | None = None
    checked: dict[str, Any] | None = None
    searches: int | None = None

    @classmethod
    def of(cls, study: Study, environment: dict[str, Any]) -> Self:
        """Return the record of a new study, under an ID of its own."""
        return cls(
            id=new_study_id(study.name),
            name=study.name,
            seed=study.seed,
            text=study.text,
            environment=environment,
            checked=study.to_json(),
        )

    def asked(self, study: Study) -> tuple[int, int]:
        """Return how many searches, and confirmation seeds in each, were asked for in all.

        Args:
            study: What `study` returns.
        """
        own = study.confirm
        searches = own.searches if self.searches is None else self.searches
        return searches, own.seeds if self.seeds is None else self.seeds

    def study(self) -> Study:
        """Return the study, as it was when it began. To read it imports no plug-in, unless an older ledger holds it.

        Raises:
            StudyError: The record is damaged; or it holds the file's text alone, and that cannot be read here.
        """
        if self.checked is None:
            return parse_study(self.text, self.id, recorded=True)
        return Study.from_json(self.checked, self.id)


@dataclass(frozen=True)
class WarmStart:
    """What a study's samplers were told of at its start.

    Args:
        source: ID of the earlier study.
        trials: By each arm of the new study, the numbers of the earlier one's trials that it learns from.
    """

    source: str
    trials: dict[str, list[int]]

    def to_json(self) -> WarmStartDocument:
        """Return it as ``kdstudy show --json`` prints it."""
        return {"study_id": self.source, "trials": self.trials}


@dataclass(frozen=True)
class StudySummary:
    """One line of ``kdstudy list``.

    Args:
        id: The study's ID.
        name: Its name.
        status: As a reader sees it: a running study that nobody drives is ``interrupted``.
        trials: How many trials it has, of both phases and in any state.
        created: When it was created, UTC.
        best_val: The best validation score of its completed search trials, in [0, 1]; None before the first.
        title: What people call it; None for its ID.
        archived: Whether lists leave it out.
    """

    id: str
    name: str
    status: StudyStatus
    trials: int
    created: datetime
    best_val: float | None
    title: str | None = None
    archived: bool = False

    def to_json(self) -> SummaryDocument:
        """Return the study as ``kdstudy list --json`` prints it."""
        return {
            "study_id": self.id,
            "name": self.name,
            "status": self.status,
            "trials": self.trials,
            "created": iso(self.created),
            "best_val": self.best_val,
            "title": self.title,
            "archived": self.archived,
        }
