"""The document of ``compare --json``, for people who read comparisons by program; `run` and `report` hold its rows."""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from kdstudy.results.answer_document import AnswerDocument, WarningDocument
from kdstudy.results.values import Count, Estimand, Family, FirstStudyId, NonNegative, Share, StudyId, Verdict


class DivergedDocument(TypedDict):
    """How many confirmation runs diverged; they score chance level."""

    baseline: Count
    treatment: Count


class RowDocument(TypedDict):
    """One comparison. Scores and differences are fractions; an sd is over searches, of the arm's mean in each."""

    study_id: StudyId
    dataset: str | None
    transfer: str
    baseline: Annotated[str, Field(description="A policy under the same transfer, or an arm such as none/constant.")]
    treatment: Annotated[str, Field(description="A policy.")]
    estimand: Annotated[Estimand, Field(description="Policies each tuned for itself, or at values picked together.")]
    family: Annotated[Family, Field(description="One of the study's own comparisons, or exploratory.")]
    searches: Annotated[int, Field(ge=0, description="R: searches with a score in both arms.")]
    seeds: Annotated[int, Field(ge=0, description="S: confirmation seeds of each search, the fewest if they differ.")]
    differences: Annotated[list[float], Field(description="Of each search, the mean of treatment - baseline.")]
    baseline_mean: Share | None
    treatment_mean: Share | None
    baseline_sd: Annotated[NonNegative | None, Field(description="Null below two searches.")]
    treatment_sd: NonNegative | None
    diverged: DivergedDocument
    failed: Annotated[int, Field(ge=0, description="Runs that raised an exception; any blocks the verdict.")]
    difference: Annotated[Annotated[float, Field(ge=-1, le=1)] | None, Field(description="Mean of differences.")]
    ci_low: Annotated[
        float | None,
        Field(
            description="95 % t interval over searches, over the seeds of a single one; unadjusted; null below two, or "
            "if all are equal and not 0."
        ),
    ]
    ci_high: float | None
    p_value: Annotated[
        Share | None,
        Field(
            description="Two-sided t test over searches, over the seeds of a single one; over all looks that at_most "
            "declares; 1 if all differences are 0, else null as the interval."
        ),
    ]
    p_adjusted: Annotated[Share | None, Field(description="Holm over the study's family; null if exploratory.")]
    effect_size: Annotated[float | None, Field(description="Mean / sd of the differences of searches.")]
    searches_won: Annotated[int, Field(ge=0, description="Searches in which the treatment scored higher.")]
    detectable: Annotated[
        NonNegative | None,
        Field(description="Smallest true difference found with 80 % power; null below three or without spread."),
    ]
    smallest: Annotated[NonNegative | None, Field(description="The study's confirm.smallest, as a fraction.")]
    p_no_difference: Annotated[
        Share | None, Field(description="Two one-sided tests of a difference of `smallest` or more.")
    ]
    p_no_difference_adjusted: Annotated[Share | None, Field(description="Holm over the same of the study's family.")]
    search_share: Annotated[
        Share | None, Field(description="Share of the variance that is the luck of the search; null below four.")
    ]
    advice: Annotated[str | None, Field(description="What further compute would buy.")]
    verdict: Verdict


class GainDocument(TypedDict):
    """What a treatment gained in one study."""

    study_id: StudyId
    dataset: str | None
    difficulty: Annotated[Share | None, Field(description="1 - the teacher's test score; null if unknown.")]
    searches: Count
    gain: float | None


class GainDifferenceDocument(TypedDict):
    """Whether a treatment gains more in one study than in another."""

    transfer: str
    baseline: str
    treatment: str
    first: GainDocument
    second: GainDocument
    difference: Annotated[
        float | None, Field(description="The second's gain - the first's; null below three searches in either.")
    ]
    ci_low: Annotated[float | None, Field(description="95 % Welch interval, unadjusted.")]
    ci_high: float | None


class ComparisonDocument(TypedDict):
    """All comparisons of one call."""

    study_id: FirstStudyId
    comparisons: list[RowDocument]
    warnings: list[WarningDocument]
    answers: Annotated[list[AnswerDocument], Field(description="One for each study.")]
    gain_differences: NotRequired[
        Annotated[list[GainDifferenceDocument], Field(description="Of several studies only.")]
    ]
