"""The result of a comparison, as plain records that print as JSON or as text."""

from __future__ import annotations

from dataclasses import dataclass, field

from kdstudy.analysis.statistics import PairedResult
from kdstudy.results import (
    AnalysisDocument,
    ComparisonDocument,
    GainDifferenceDocument,
    GainDocument,
    RowDocument,
    Verdict,
)


@dataclass(frozen=True)
class Analysis:
    """Two arms compared over one set of seeds.

    Args:
        pairs: The statistics of the differences.
        diverged_baseline: Share, in [0, 1], of the baseline's runs that diverged rather than completed; None
            without any. Failed runs count in neither: an exception tells nothing of stability.
        diverged_treatment: The same for the treatment.
        left_out: Seeds for which a run of either arm diverged or failed.
        p_adjusted: Holm over all comparisons of the call.
        detectable: The smallest true difference that would be found with 80 % power at the strictest of
            Holm's levels; None if n < 3 or there is no spread.
        verdict: Of the treatment.
    """

    pairs: PairedResult
    diverged_baseline: float | None
    diverged_treatment: float | None
    left_out: int
    p_adjusted: float | None
    detectable: float | None
    verdict: Verdict

    def to_json(self) -> AnalysisDocument:
        """Return plain values."""
        pairs = self.pairs
        return {
            "n": pairs.n,
            "baseline_mean": pairs.baseline_mean,
            "treatment_mean": pairs.treatment_mean,
            "baseline_sd": pairs.baseline_sd,
            "treatment_sd": pairs.treatment_sd,
            "diverged_share": {"baseline": self.diverged_baseline, "treatment": self.diverged_treatment},
            "difference": pairs.difference,
            "ci_low": pairs.ci_low,
            "ci_high": pairs.ci_high,
            "p_value": pairs.p_value,
            "p_adjusted": self.p_adjusted,
            "effect_size": pairs.effect_size,
            "p_improvement": pairs.p_improvement,
            "detectable": self.detectable,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Row:
    """One comparison within one study.

    Args:
        study_id: The study.
        dataset: Its data set's name.
        transfer: The treatment's transfer method.
        baseline: The policy it is compared with, under the same transfer; or ``none/constant``, an arm.
        treatment: The policy.
        analysis: Over the seeds fixed in the study file: the verdict.
        exploratory: Over all seeds, if some were added later.
        differences: Of the fixed seeds, treatment - baseline.
    """

    study_id: str
    dataset: str | None
    transfer: str
    baseline: str
    treatment: str
    analysis: Analysis
    exploratory: Analysis | None = None
    differences: tuple[float, ...] = field(default=(), repr=False)

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same comparison in another study: transfer, baseline, treatment."""
        return self.transfer, self.baseline, self.treatment

    def to_json(self) -> RowDocument:
        """Return the row as ``kdstudy compare --json`` prints it."""
        return {
            "study_id": self.study_id,
            "dataset": self.dataset,
            "transfer": self.transfer,
            "baseline": self.baseline,
            "treatment": self.treatment,
            **self.analysis.to_json(),
            "exploratory": None if self.exploratory is None else self.exploratory.to_json(),
        }


@dataclass(frozen=True)
class Gain:
    """What a treatment gained in one study.

    Args:
        study_id: The study.
        dataset: Its data set's name.
        difficulty: 1 - the teacher's test score; None if that is not known.
        n: Pairs.
        gain: Mean difference.
    """

    study_id: str
    dataset: str | None
    difficulty: float | None
    n: int
    gain: float | None

    def to_json(self) -> GainDocument:
        """Return plain values."""
        return {
            "study_id": self.study_id,
            "dataset": self.dataset,
            "difficulty": self.difficulty,
            "n": self.n,
            "gain": self.gain,
        }


@dataclass(frozen=True)
class GainDifference:
    """Whether a treatment gains more in one study than in another.

    Args:
        transfer: As in both rows.
        baseline: As in both rows.
        treatment: As in both rows.
        first: The study named first.
        second: The study named later.
        difference: The second's gain - the first's.
        ci_low: Lower end of its 95 % Welch interval, unadjusted; None if a study has fewer than 2 pairs.
        ci_high: Its upper end.
    """

    transfer: str
    baseline: str
    treatment: str
    first: Gain
    second: Gain
    difference: float | None
    ci_low: float | None
    ci_high: float | None

    def to_json(self) -> GainDifferenceDocument:
        """Return plain values."""
        return {
            "transfer": self.transfer,
            "baseline": self.baseline,
            "treatment": self.treatment,
            "first": self.first.to_json(),
            "second": self.second.to_json(),
            "difference": self.difference,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
        }


@dataclass(frozen=True)
class Comparison:
    """All comparisons of one call.

    Args:
        study_ids: The studies, in the order asked for.
        rows: One per comparison.
        gain_differences: For every two studies that share a comparison.
    """

    study_ids: tuple[str, ...]
    rows: tuple[Row, ...]
    gain_differences: tuple[GainDifference, ...] = ()

    def to_json(self) -> ComparisonDocument:
        """Return the document of ``kdstudy compare --json``; ``study_id`` is the first study's."""
        document: ComparisonDocument = {
            "study_id": self.study_ids[0],
            "comparisons": [row.to_json() for row in self.rows],
        }
        if len(self.study_ids) > 1:
            document["gain_differences"] = [gain.to_json() for gain in self.gain_differences]
        return document
