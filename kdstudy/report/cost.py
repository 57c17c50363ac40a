"""Where the time of a study went: seconds of search, confirmation and overhead by arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdstudy.ledger import Ended, StudyRecord, TrialRecord
from kdstudy.results import ArmCostDocument, CostDocument
from kdstudy.study import Study


@dataclass(frozen=True)
class ArmCost:
    """The time of one arm. Seconds of trials that run side by side add up.

    Args:
        arm: ``transfer/policy``.
        search: Seconds of epochs of its search.
        confirm: Seconds of epochs of its confirmation.
        epochs: Epochs in both.
        overhead: Seconds between a trial's start and its recorded end that were not epochs: building networks,
            reading data, checkpoints, and whatever an interruption took.
    """

    arm: str
    search: float
    confirm: float
    epochs: int
    overhead: float

    @property
    def per_epoch(self) -> float | None:
        """Seconds of one epoch; None without any."""
        return (self.search + self.confirm) / self.epochs if self.epochs else None

    def to_json(self) -> ArmCostDocument:
        """Return plain values."""
        return {
            "arm": self.arm,
            "search": self.search,
            "confirm": self.confirm,
            "epochs": self.epochs,
            "overhead": self.overhead,
            "seconds_per_epoch": self.per_epoch,
        }


@dataclass(frozen=True)
class Cost:
    """The time of a study.

    Args:
        arms: In the study's order.
        teacher: Seconds its training took, whenever that was; None if it is not known.
        wall: Seconds from the study's creation to its last result; None before the first.
    """

    arms: tuple[ArmCost, ...]
    teacher: float | None
    wall: float | None

    @property
    def epochs(self) -> float:
        """Seconds of all epochs."""
        return sum(arm.search + arm.confirm for arm in self.arms)

    @property
    def overhead(self) -> float:
        """Seconds inside trials that were not epochs."""
        return sum(arm.overhead for arm in self.arms)

    def to_json(self) -> CostDocument:
        """Return plain values."""
        return {"arms": [arm.to_json() for arm in self.arms], "teacher": self.teacher, "wall": self.wall}


def cost_of(record: StudyRecord, study: Study, trials: Sequence[TrialRecord]) -> Cost:
    """Return where the time went.

    Args:
        record: The study.
        study: Its arms.
        trials: All its trials.
    """
    ends = [trial.stage.finished for trial in trials if isinstance(trial.stage, Ended)]
    return Cost(
        arms=tuple(_arm_cost(arm.name, [trial for trial in trials if trial.arm == arm.name]) for arm in study.arms),
        teacher=record.teacher.seconds,
        wall=(max(ends) - record.created).total_seconds() if ends else None,
    )


def _arm_cost(arm: str, trials: Sequence[TrialRecord]) -> ArmCost:
    return ArmCost(
        arm=arm,
        search=sum(trial.seconds for trial in trials if trial.phase == "search"),
        confirm=sum(trial.seconds for trial in trials if trial.phase == "confirm"),
        epochs=sum(trial.epochs for trial in trials),
        overhead=sum(_outside_epochs(trial) for trial in trials),
    )


def _outside_epochs(trial: TrialRecord) -> float:
    return max(0.0, trial.stage.wall - trial.seconds) if isinstance(trial.stage, Ended) else 0.0
