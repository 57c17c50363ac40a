"""What a study answers beside its verdicts, as JSON: each arm's score and picks, what it is measured by, warnings."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from kdstudy.results.values import Count, NonNegative, Share, StudyId, WarningKind

ArmName = Annotated[str, Field(description="transfer/policy")]


class WarningDocument(TypedDict):
    """What a reader should know before the verdicts."""

    kind: WarningKind
    arm: Annotated[ArmName | None, Field(description="Null if it concerns several arms, or the study.")]
    message: str


class RanWithDocument(TypedDict):
    """One searched value of an arm."""

    path: Annotated[str, Field(description="Dotted, as the study file spells it.")]
    values: Annotated[list[Any], Field(description="What each search picked, in the order of `searches`.")]
    differs: Annotated[
        bool | None,
        Field(description="Whether a search picked another value for the baseline; null without such a value there."),
    ]


class ArmAnswerDocument(TypedDict):
    """One arm: its score over searches, and what it ran with."""

    arm: ArmName
    baseline: Annotated[ArmName | None, Field(description="What it is compared with; null for a baseline.")]
    searches: Annotated[list[Count], Field(description="Which searches count, from 0.")]
    seeds: Annotated[int, Field(ge=0, description="Of each search, the fewest if they differ.")]
    val: Annotated[Share | None, Field(description="Mean validation score of its confirmation runs.")]
    test: Annotated[Share | None, Field(description="Mean over searches; a diverged run scores chance.")]
    test_sd: Annotated[NonNegative | None, Field(description="Over searches, or over the seeds of a single one.")]
    ci_low: Annotated[
        Share | None, Field(description="95 % t interval of `test` over searches, or the seeds of a single one.")
    ]
    ci_high: Share | None
    searches_won: Annotated[Count | None, Field(description="In which it scored above its baseline.")]
    searches_compared: Annotated[int, Field(ge=0, description="In which both have a score.")]
    diverged: Count
    ran_with: list[RanWithDocument]


class TakeHomeDocument(TypedDict):
    """The student to take home: chosen on validation alone."""

    arm: ArmName
    trial: Count
    search: Count
    val: Share
    test: Annotated[Share | None, Field(description="Its own; null if nothing was confirmed.")]
    command: Annotated[str, Field(description="What writes it to a file.")]


class AnswerDocument(TypedDict):
    """What one study answers."""

    study_id: StudyId
    arms: list[ArmAnswerDocument]
    plain: Annotated[ArmName | None, Field(description="The arm of plain training; null if the study has none.")]
    teacher_test: Annotated[Share | None, Field(description="The teacher on the same test images.")]
    teacher_val: Share | None
    chance: Annotated[Share | None, Field(description="What a network scores that knows nothing.")]
    take_home: TakeHomeDocument | None
