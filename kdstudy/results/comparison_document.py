"""The document of ``compare --json``, for people who read comparisons by program; `run` and `report` hold its rows."""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from kdstudy.results.values import Count, FirstStudyId, NonNegative, Share, StudyId, Verdict


class DivergedShareDocument(TypedDict):
    """How often training diverged."""

    baseline: Share | None
    treatment: Share | None


class AnalysisDocument(TypedDict):
    """What one set of seeds says of two arms."""

    n: Annotated[int, Field(ge=0, description="Seeds with a score in both arms.")]
    baseline_mean: Share | None
    treatment_mean: Share | None
    baseline_sd: Annotated[NonNegative | None, Field(description="Null below two pairs.")]
    treatment_sd: NonNegative | None
    diverged_share: Annotated[
        DivergedShareDocument, Field(description="Of each arm's confirmation runs that did not fail.")
    ]
    difference: Annotated[
        Annotated[float, Field(ge=-1, le=1)] | None, Field(description="Mean of treatment - baseline.")
    ]
    ci_low: Annotated[
        float | None,
        Field(
            description="95 % t interval, unadjusted; null below two pairs, or if all differences are equal and not 0."
        ),
    ]
    ci_high: float | None
    p_value: Annotated[
        Share | None,
        Field(description="Two-sided paired t test; 1 if all differences are 0, else null as the interval."),
    ]
    p_adjusted: Annotated[Share | None, Field(description="Holm over all comparisons of the call.")]
    effect_size: Annotated[
        float | None,
        Field(description="Mean / sd of the differences; 0 if all are 0, else null as the interval."),
    ]
    p_improvement: Annotated[Share | None, Field(description="(wins + ties / 2) / n.")]
    detectable: Annotated[
        NonNegative | None,
        Field(description="Smallest true difference found with 80 % power; null below three pairs or without spread."),
    ]
    verdict: Verdict


class RowDocument(AnalysisDocument):
    """One comparison within one study; the analysis is over the seeds that the study file fixed."""

    study_id: StudyId
    dataset: str | None
    transfer: str
    baseline: Annotated[str, Field(description="A policy under the same transfer, or the arm none/constant.")]
    treatment: Annotated[str, Field(description="A policy.")]
    exploratory: Annotated[
        AnalysisDocument | None, Field(description="The same over all seeds, if some were added later.")
    ]


class GainDocument(TypedDict):
    """What a treatment gained in one study."""

    study_id: StudyId
    dataset: str | None
    difficulty: Annotated[Share | None, Field(description="1 - the teacher's test score; null if unknown.")]
    n: Count
    gain: float | None


class GainDifferenceDocument(TypedDict):
    """Whether a treatment gains more in one study than in another."""

    transfer: str
    baseline: str
    treatment: str
    first: GainDocument
    second: GainDocument
    difference: Annotated[float | None, Field(description="The second's gain - the first's.")]
    ci_low: Annotated[float | None, Field(description="95 % Welch interval, unadjusted.")]
    ci_high: float | None


class ComparisonDocument(TypedDict):
    """All comparisons of one call."""

    study_id: FirstStudyId
    comparisons: list[RowDocument]
    gain_differences: NotRequired[
        Annotated[list[GainDifferenceDocument], Field(description="Of several studies only.")]
    ]
