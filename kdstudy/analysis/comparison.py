"""The result of a comparison, as plain records that print as JSON or as text."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kdstudy.analysis.answer import Answer, Warned
from kdstudy.analysis.verdict import Judgement
from kdstudy.results import (
    ComparisonDocument,
    Estimand,
    Family,
    GainDifferenceDocument,
    GainDocument,
    RowDocument,
    Verdict,
)
from kdstudy.study import ArmId


@dataclass(frozen=True)
class Row:
    """One comparison within one study, or within several that count together.

    Args:
        study_id: The study; the first of several.
        dataset: Its data set's name.
        transfer: The treatment's transfer method.
        baseline: The policy it is compared with, under the same transfer; or ``none/constant``, an arm.
        treatment: The policy.
        estimand: What the difference is of: policies each ``tuned`` for itself, or at ``equal_rates``
            (``search.together``).
        family: ``study``: one of its own comparisons, over what it declared; else ``exploratory``.
        smallest: The smallest difference that would matter, a fraction; None if the study names none.
        diverged_baseline: The baseline's confirmation runs that diverged; they score chance level.
        diverged_treatment: The treatment's.
        judgement: What the searches say.
        declared: ``confirm.searches``; with fewer there is no verdict yet.
        later: Whether it is over searches and seeds that were added beyond the declared ones.
        together: The studies whose searches it counts together; empty for one.
    """

    study_id: str
    dataset: str | None
    transfer: str
    baseline: str
    treatment: str
    estimand: Estimand
    family: Family
    smallest: float | None
    diverged_baseline: int
    diverged_treatment: int
    judgement: Judgement
    declared: int = 1
    later: bool = False
    together: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same comparison in another study: transfer, baseline, treatment."""
        return self.transfer, self.baseline, self.treatment

    @property
    def arms(self) -> tuple[ArmId, ArmId]:
        """The baseline's arm, and the treatment's."""
        baseline = ArmId.parse(self.baseline) if "/" in self.baseline else ArmId(self.transfer, self.baseline)
        return baseline, ArmId(self.transfer, self.treatment)

    @property
    def same_everywhere(self) -> bool:
        """Whether every run of the treatment scored exactly what the baseline's run of the same seed did."""
        searches = self.judgement.scores.searches
        return bool(searches) and not any(gap for search in searches for gap in search.differences)

    @property
    def verdict(self) -> Verdict:
        """Of the treatment."""
        return self.judgement.verdict

    def to_json(self) -> RowDocument:
        """Return the row as ``kdstudy compare --json`` prints it."""
        judgement, scores, estimate = self.judgement, self.judgement.scores, self.judgement.estimate
        return {
            "study_id": self.study_id,
            "dataset": self.dataset,
            "transfer": self.transfer,
            "baseline": self.baseline,
            "treatment": self.treatment,
            "estimand": self.estimand,
            "family": self.family,
            "searches": scores.count,
            "seeds": scores.seeds,
            "differences": list(scores.differences),
            "baseline_mean": judgement.baseline_mean,
            "treatment_mean": judgement.treatment_mean,
            "baseline_sd": judgement.baseline_sd,
            "treatment_sd": judgement.treatment_sd,
            "diverged": {"baseline": self.diverged_baseline, "treatment": self.diverged_treatment},
            "failed": scores.failed,
            "difference": None if estimate is None else estimate.mean,
            "ci_low": None if estimate is None else estimate.ci_low,
            "ci_high": None if estimate is None else estimate.ci_high,
            "p_value": judgement.p_value,
            "p_adjusted": judgement.p_adjusted,
            "effect_size": judgement.effect_size,
            "searches_won": scores.won,
            "detectable": judgement.detectable,
            "smallest": self.smallest,
            "p_no_difference": judgement.p_no_difference,
            "p_no_difference_adjusted": judgement.p_no_difference_adjusted,
            "search_share": judgement.search_share,
            "advice": judgement.advice,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Gain:
    """What a treatment gained in one study.

    Args:
        study_id: The study.
        dataset: Its data set's name.
        difficulty: 1 - the teacher's test score; None if that is not known.
        searches: Over how many.
        gain: Mean difference.
    """

    study_id: str
    dataset: str | None
    difficulty: float | None
    searches: int
    gain: float | None

    def to_json(self) -> GainDocument:
        """Return plain values."""
        return {
            "study_id": self.study_id,
            "dataset": self.dataset,
            "difficulty": self.difficulty,
            "searches": self.searches,
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
        difference: The second's gain - the first's; None if a study has fewer than 3 searches.
        ci_low: Lower end of its 95 % Welch interval, unadjusted.
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
        rows: The studies' own comparisons and exploratory ones.
        gain_differences: For every two studies that share a comparison.
        answers: What each study answers beside its verdicts.
    """

    study_ids: tuple[str, ...]
    rows: tuple[Row, ...]
    gain_differences: tuple[GainDifference, ...] = ()
    answers: tuple[Answer, ...] = ()

    @property
    def verdicts(self) -> tuple[Row, ...]:
        """The comparisons that studies declared."""
        return tuple(row for row in self.rows if row.family == "study")

    @property
    def warnings(self) -> tuple[Warned, ...]:
        """What to know before the verdicts, of all studies; each names its study where there are several."""
        if len(self.answers) < 2:
            return tuple(warned for answer in self.answers for warned in answer.warnings)
        return tuple(
            replace(warned, message=f"{answer.study_id}: {warned.message}")
            for answer in self.answers
            for warned in answer.warnings
        )

    def to_json(self) -> ComparisonDocument:
        """Return the document of ``kdstudy compare --json``; ``study_id`` is the first study's."""
        document: ComparisonDocument = {
            "study_id": self.study_ids[0],
            "comparisons": [row.to_json() for row in self.rows],
            "warnings": [warned.to_json() for warned in self.warnings],
            "answers": [answer.to_json() for answer in self.answers],
        }
        if len(self.study_ids) > 1:
            document["gain_differences"] = [gain.to_json() for gain in self.gain_differences]
        return document
