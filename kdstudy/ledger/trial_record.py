"""What the ledger holds of a trial: what it is, what it runs, and the stage it has reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from kdstudy.ledger.records import iso, utc_now
from kdstudy.ledger.stages import Ended, Queued, Running, Stage, stage_of
from kdstudy.ledger.tables import TrialRow
from kdstudy.ledger.validation import validate_row
from kdstudy.results import Phase, State, TrialDocument, TrialResult, reason_of
from kdstudy.study import ArmId

PLACES = 2**20
"""A row's ``index`` is search * PLACES + index, so that the ledgers of older versions need no other column."""


@dataclass(frozen=True)
class Publication:
    """What the published view has of a trial.

    Args:
        run_id: Its run there; None before there is one.
        epochs: The last epoch published; 0 for none.
        state: The state last published; None for none.
    """

    run_id: str | None = None
    epochs: int = 0
    state: State | None = None


@dataclass(frozen=True)
class TrialRecord:
    """One trial, from the moment it was proposed.

    Args:
        study_id: Its study.
        number: Unique over the whole study, search first, then confirmation.
        phase: ``search`` (scored on validation) or ``confirm`` (scored on test as well).
        arm_id: Its arm.
        search: Which of the study's searches it belongs to, from 0.
        index: Position within its arm, search and phase, from 0; there is one trial for each.
        data_seed: Order, augmentation, probe, directions; below 2**63.
        init_seed: Initial weights; below 2**63.
        values: What filled the study file's holes, keyed by dotted path.
        config: The resolved configuration (``TrialConfig.to_json``).
        exploratory: Of a search or a seed that the study file does not declare.
        created: When it was proposed.
        stage: How far it has come.
        published: What the published view has of it.
    """

    study_id: str
    number: int
    phase: Phase
    arm_id: ArmId
    index: int
    data_seed: int
    init_seed: int
    values: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    exploratory: bool = False
    created: datetime = field(default_factory=utc_now)
    stage: Stage = field(default_factory=Queued)
    published: Publication = field(default_factory=Publication)
    search: int = 0

    @property
    def arm(self) -> str:
        """The arm's name, ``transfer/policy``."""
        return self.arm_id.name

    @property
    def result(self) -> TrialResult | None:
        """How the trial ended; None until then."""
        return self.stage.result if isinstance(self.stage, Ended) else None

    @property
    def done(self) -> bool:
        """Whether the trial has ended, however it ended."""
        return isinstance(self.stage, Ended)

    @property
    def state(self) -> State:
        """``queued``, ``running``, or how it ended."""
        match self.stage:
            case Queued():
                return "queued"
            case Running():
                return "running"
            case Ended(result):
                return result.state

    @property
    def started(self) -> datetime | None:
        """When it first ran; None before."""
        return self.stage.started

    @property
    def finished(self) -> datetime | None:
        """When its result was recorded; None before."""
        return self.stage.finished if isinstance(self.stage, Ended) else None

    @property
    def epochs(self) -> int:
        """Epochs recorded so far."""
        return self.stage.epochs

    @property
    def val(self) -> float | None:
        """Validation score of the last epoch, in [0, 1], once it has ended."""
        return self.result.val if self.result else None

    @property
    def test(self) -> float | None:
        """Test score of the last epoch, in [0, 1]; of confirmation only, once it has ended."""
        return self.result.test if self.result else None

    @property
    def seconds(self) -> float:
        """Wall time of all epochs; 0 until it has ended."""
        return self.result.seconds if self.result else 0.0

    @property
    def weights_sha256(self) -> str | None:
        """Of the final student; of completed trials only."""
        return self.result.weights_sha256 if self.result else None

    @property
    def error(self) -> str | None:
        """The traceback of a failed trial; why a diverged one did, if that is known."""
        return self.result.error if self.result else None

    @property
    def reason(self) -> str | None:
        """Why a trial failed or diverged, in one line; None for one that did not, and where that is not known."""
        return reason_of(self.error) or None

    @property
    def numerics(self) -> dict[str, Any]:
        """What the numbers depend on where it ran; empty until it has ended."""
        return self.result.numerics if self.result else {}

    @classmethod
    def from_row(cls, values: Mapping[Any, Any]) -> Self:
        """Return the trial that a row of the ledger holds.

        Raises:
            RecordError: A column is of another type, or a trial that has begun or ended lacks the time.
        """
        where = f"study '{values['study_id']}': trial {values['number']}"
        row = validate_row(TrialRow, values, where)
        return cls(
            study_id=row["study_id"],
            number=row["number"],
            phase=row["phase"],
            arm_id=ArmId(row["transfer"], row["policy"]),
            index=row["index"] % PLACES,
            search=row["index"] // PLACES,
            data_seed=row["data_seed"],
            init_seed=row["init_seed"],
            values=row["values"],
            config=row["config"],
            exploratory=row["exploratory"],
            created=row["created"],
            stage=stage_of(row, where),
            published=Publication(row["run_id"], row["published"], row["published_state"]),
        )

    def to_row(self) -> TrialRow:
        """Return the row that holds the trial."""
        return {
            "study_id": self.study_id,
            "number": self.number,
            "phase": self.phase,
            "transfer": self.arm_id.transfer,
            "policy": self.arm_id.policy,
            "index": self.search * PLACES + self.index,
            "data_seed": self.data_seed,
            "init_seed": self.init_seed,
            "values": self.values,
            "config": self.config,
            "state": self.state,
            "exploratory": self.exploratory,
            "val": self.val,
            "test": self.test,
            "epochs": self.epochs,
            "created": self.created,
            "started": self.started,
            "finished": self.finished,
            "seconds": self.seconds,
            "weights_sha256": self.weights_sha256,
            "error": self.error,
            "numerics": self.numerics,
            "run_id": self.published.run_id,
            "published": self.published.epochs,
            "published_state": self.published.state,
        }

    def to_json(self) -> TrialDocument:
        """Return the trial as ``kdstudy show --json`` prints it."""
        return {
            "trial": self.number,
            "phase": self.phase,
            "arm": self.arm_id.to_json(),
            "search": self.search,
            "index": self.index,
            "exploratory": self.exploratory,
            "seeds": {"data_seed": self.data_seed, "init_seed": self.init_seed},
            "state": self.state,
            "values": self.values,
            "config": self.config,
            "val": self.val,
            "test": self.test,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "created": iso(self.created),
            "started": iso(self.started),
            "finished": iso(self.finished),
            "weights_sha256": self.weights_sha256,
            "numerics": self.numerics,
            "error": self.error,
        }


def best_of(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the completed search trial with the highest last-epoch validation score; the earliest of equals."""
    completed = [
        trial for trial in trials if trial.phase == "search" and trial.state == "completed" and trial.val is not None
    ]
    return max(completed, key=lambda trial: (trial.val, -trial.number), default=None)
