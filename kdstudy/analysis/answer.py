"""What a study answers beside its verdicts: each arm's score and picks, what to measure it by, what to take home.

Plain values. Terminal, page, Markdown, JSON and MLflow show this one object; `kdstudy.analysis.conclude` reads it from
the record.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from kdstudy.analysis.estimates import Estimate, estimate
from kdstudy.analysis.lost import Lost
from kdstudy.results import (
    AnswerDocument,
    ArmAnswerDocument,
    RanWithDocument,
    TakeHomeDocument,
    WarningDocument,
    WarningKind,
)
from kdstudy.study import ArmId, Range


@dataclass(frozen=True)
class RanWith:
    """One searched value of an arm.

    Args:
        path: Dotted, as the study file spells it.
        span: Its range.
        values: What each search picked, in the order of the arm's searches.
        differs: Whether some search picked another value for the baseline; None where the baseline has no such value.
    """

    path: str
    span: Range
    values: tuple[Any, ...]
    differs: bool | None = None

    def to_json(self) -> RanWithDocument:
        """Return plain values."""
        return {"path": self.path, "values": list(self.values), "differs": self.differs}


@dataclass(frozen=True)
class ArmAnswer:
    """One arm.

    Args:
        arm: Which.
        baseline: What the study compares it with; None for a baseline.
        scores: Of each search that counts, the test scores of its seeds; a diverged run scores chance.
        val: Mean validation score of the same runs, mean over searches; None without any.
        won: In how many searches it was ahead of its baseline; None without a baseline or a common search.
        compared: In how many both have a score.
        diverged: Its confirmation runs that diverged.
        ran_with: What was searched, in the order of the study file; empty before confirmation.
        at_chance: In how many searches its mean is at chance: its students learnt nothing.
    """

    arm: ArmId
    baseline: ArmId | None
    scores: dict[int, tuple[float, ...]]
    val: float | None
    won: int | None
    compared: int
    diverged: int
    ran_with: tuple[RanWith, ...] = ()
    at_chance: int = 0

    @property
    def learnt_nothing(self) -> bool:
        """Whether its students are at chance in at least half of the searches."""
        return 0 < len(self.scores) <= 2 * self.at_chance

    @property
    def searches(self) -> tuple[int, ...]:
        """Which searches count, from 0."""
        return tuple(self.scores)

    @property
    def seeds(self) -> int:
        """Seeds of each search, the fewest if they differ; 0 without a search."""
        return min(map(len, self.scores.values()), default=0)

    @property
    def means(self) -> tuple[float, ...]:
        """Mean test score of each search."""
        return tuple(map(statistics.fmean, self.scores.values()))

    @property
    def estimate(self) -> Estimate | None:
        """The mean test score over searches, over the seeds of a single one; None before there is a score."""
        return estimate(self.means if len(self.scores) != 1 else next(iter(self.scores.values())))

    @property
    def test(self) -> float | None:
        """Mean test score over searches."""
        return None if self.estimate is None else self.estimate.mean

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its 95 % interval, cut to what a score can be; None where the spread is not known."""
        found = self.estimate
        if found is None or found.ci_low is None or found.ci_high is None or not found.sd:
            return None
        return max(0.0, found.ci_low), min(1.0, found.ci_high)

    def to_json(self) -> ArmAnswerDocument:
        """Return plain values."""
        low, high = self.interval or (None, None)
        return {
            "arm": self.arm.name,
            "baseline": None if self.baseline is None else self.baseline.name,
            "searches": list(self.searches),
            "seeds": self.seeds,
            "val": self.val,
            "test": self.test,
            "test_sd": None if self.estimate is None else self.estimate.sd,
            "ci_low": low,
            "ci_high": high,
            "searches_won": self.won,
            "searches_compared": self.compared,
            "diverged": self.diverged,
            "ran_with": [each.to_json() for each in self.ran_with],
        }


@dataclass(frozen=True)
class TakeHome:
    """The student to take home: of the arm that is best on validation over searches its best run on validation.

    The test images decide nothing, so that its test score is that of a student nobody chose by it.

    Args:
        study_id: Its study.
        arm: Its arm.
        trial: Its trial's number.
        search: Which search it belongs to.
        over: Searches over which the arms were compared; 0 if nothing was confirmed.
        val: Its validation score.
        test: Its test score; None if nothing was confirmed.
        allowing: What `export` must be told to build it, with a space before: see `kdstudy.plugins.allowing`.
    """

    study_id: str
    arm: ArmId
    trial: int
    search: int
    over: int
    val: float
    test: float | None
    allowing: str = ""

    @property
    def command(self) -> str:
        """What writes it to a file."""
        return f"kdstudy export {self.study_id} --trial {self.trial} --format safetensors -o student{self.allowing}"

    def to_json(self) -> TakeHomeDocument:
        """Return plain values."""
        return {
            "arm": self.arm.name,
            "trial": self.trial,
            "search": self.search,
            "val": self.val,
            "test": self.test,
            "command": self.command,
        }


@dataclass(frozen=True)
class Warned:
    """What a reader should know before the verdicts.

    Args:
        kind: Which of the known troubles.
        message: In one sentence, without a full stop, what was seen and what to do.
        arm: The arm; None if it concerns several, or the study.
    """

    kind: WarningKind
    message: str
    arm: ArmId | None = None

    def to_json(self) -> WarningDocument:
        """Return plain values."""
        return {"kind": self.kind, "arm": None if self.arm is None else self.arm.name, "message": self.message}


@dataclass(frozen=True)
class Answer:
    """What one study answers.

    Args:
        study_id: The study.
        arms: In the study's order.
        plain: The arm of plain training, without a teacher; None if the study has none.
        teacher_test: The teacher on the same test images, in [0, 1]; None before it was scored.
        teacher_val: The teacher on the validation images.
        chance: The score of a network that knows nothing; None where the record does not tell.
        take_home: None before a trial has completed.
        warnings: Those of the study first.
        lost: Of a finished study, the arms of which no trial came through.
    """

    study_id: str
    arms: tuple[ArmAnswer, ...]
    plain: ArmId | None
    teacher_test: float | None
    teacher_val: float | None
    chance: float | None
    take_home: TakeHome | None
    warnings: tuple[Warned, ...] = ()
    lost: tuple[Lost, ...] = ()

    def of(self, arm: ArmId) -> ArmAnswer:
        """Return an arm's part."""
        return next(each for each in self.arms if each.arm == arm)

    def to_json(self) -> AnswerDocument:
        """Return what JSON documents say of the study; its warnings stand beside it."""
        return {
            "study_id": self.study_id,
            "arms": [each.to_json() for each in self.arms],
            "plain": None if self.plain is None else self.plain.name,
            "teacher_test": self.teacher_test,
            "teacher_val": self.teacher_val,
            "chance": self.chance,
            "take_home": None if self.take_home is None else self.take_home.to_json(),
        }
