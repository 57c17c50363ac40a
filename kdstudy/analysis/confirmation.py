"""The confirmation runs of a study as scores: of each arm, by search and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from kdstudy.analysis.searches import PairedSearches, SearchScores
from kdstudy.ledger import DatasetInfo, Ledger, StudyRecord, TrialRecord
from kdstudy.study import ArmId, Study

CHANCE_MARGIN, MULTILABEL_MARGIN = 0.05, 0.02
"""A student this share of the way from chance to perfect, or less, is at chance."""
Runs = Mapping[tuple[ArmId, int], Mapping[int, TrialRecord]]
"""Of each arm in each search, the finished run of each seed."""


def confirmation_of(ledger: Ledger, record: StudyRecord) -> Confirmation:
    """Read the confirmation runs of a study."""
    runs: dict[tuple[ArmId, int], dict[int, TrialRecord]] = {}
    for trial in ledger.trials(record.id, "confirm"):
        runs.setdefault((trial.arm_id, trial.search), {})
        if trial.done:
            runs[trial.arm_id, trial.search][trial.index] = trial
    return Confirmation(record, record.study(), runs, chance_of(record.dataset))


def chance_of(dataset: DatasetInfo) -> float | None:
    """Return the score of a network that knows nothing, in [0, 1]; None where the record does not tell."""
    if dataset.chance is not None:
        return dataset.chance
    # Records of older versions: one label of K classes.
    return 1 / dataset.num_classes if dataset.num_classes and not dataset.multilabel else None


@final
@dataclass(frozen=True)
class Confirmation:
    """The confirmation of one study.

    Args:
        record: The study.
        study: As it was checked.
        runs: What has ended; an empty entry for an arm that is being confirmed in a search.
        chance: What a diverged run scores; None: it is not known, and a diverged run counts as failed.
    """

    record: StudyRecord
    study: Study
    runs: Runs
    chance: float | None

    def scores(self, baseline: ArmId, treatment: ArmId, *, later: bool) -> PairedSearches:
        """Return the scores of two arms, over the searches before the first that is not complete.

        Those behind it do not count yet, so that an interruption leaves no search out: it may have no pick for an arm.

        Args:
            baseline: An arm.
            treatment: Another.
            later: With searches and seeds that were added beyond what the study file declares.
        """
        whole, failed, unpicked = [], 0, 0
        for search in self._searches(later=later):
            found = [self._declared(arm, search, later=later) for arm in (baseline, treatment)]
            seeds = range(self._asked[1] if later else self.study.confirm.seeds)
            if any(each is None for each in found) and self.record.status == "finished":
                unpicked += bool(seeds)
                continue
            before, after = (each or {} for each in found)
            failed += sum(self._score(trial) is None for trial in (*before.values(), *after.values()))
            if not all(index in before and index in after for index in seeds):
                break
            whole += self._paired(before, after)
        return PairedSearches(tuple(whole), failed=failed, unpicked=unpicked, unequal_seeds=True)

    def of_arm(self, arm: ArmId) -> dict[int, tuple[float, ...]]:
        """Return an arm's declared scores by search, seed by seed, of the searches before the first not complete."""
        found = {}
        for search in self._searches(later=False):
            runs = self._declared(arm, search, later=False)
            if runs is None and self.record.status == "finished":
                continue
            if runs is None or not all(index in runs for index in range(self.study.confirm.seeds)):
                break
            scores = [self._score(runs[index]) for index in sorted(runs)]
            known = tuple(score for score in scores if score is not None)
            if known:
                found[search] = known
        return found

    def at_chance(self, mean: float) -> bool:
        """Return whether a mean test score is what a network scores that knows nothing; False if that is not known."""
        margin = MULTILABEL_MARGIN if self.record.dataset.multilabel else CHANCE_MARGIN
        return self.chance is not None and mean <= self.chance + margin * (1 - self.chance)

    def declared(self, arm: ArmId, search: int) -> Mapping[int, TrialRecord]:
        """Return an arm's declared runs in a search that have ended, by seed."""
        return self._declared(arm, search, later=False) or {}

    def picked(self, arm: ArmId, search: int) -> Mapping[str, Any]:
        """Return the values that a search picked for an arm; empty where it picked none."""
        return next((trial.values for trial in self.declared(arm, search).values()), {})

    def validation(self, trial: TrialRecord) -> float | None:
        """Return a run's validation score; a diverged run scores chance."""
        return self.chance if trial.state == "diverged" else trial.val

    def has_later(self, arms: Iterable[ArmId]) -> bool:
        """Return whether something was added to these arms beyond what the study file declares."""
        return any(
            trial.exploratory for (arm, _), runs in self.runs.items() if arm in {*arms} for trial in runs.values()
        )

    def diverged(self, arm: ArmId, *, later: bool = False) -> int:
        """Return how many of an arm's declared runs diverged; of all its runs with those added later."""
        return sum(
            trial.state == "diverged" and (later or not trial.exploratory)
            for (each, _), runs in self.runs.items()
            if each == arm
            for trial in runs.values()
        )

    def _searches(self, *, later: bool) -> range:
        asked, _ = self._asked
        return range(asked if later else min(asked, self.study.confirm.declared))

    @property
    def _asked(self) -> tuple[int, int]:
        return self.record.asked(self.study)

    def _declared(self, arm: ArmId, search: int, *, later: bool) -> Mapping[int, TrialRecord] | None:
        """Return an arm's runs in a search; None if it has no pick there, or is not so far yet."""
        runs = self.runs.get((arm, search))
        if runs is None:
            return None
        return {index: trial for index, trial in runs.items() if later or not trial.exploratory}

    def _paired(self, before: Mapping[int, TrialRecord], after: Mapping[int, TrialRecord]) -> list[SearchScores]:
        """Return the scores of a search whose runs have all ended; none if no seed has a score in both arms."""
        pairs = [
            (self._score(before[index]), self._score(after[index])) for index in sorted(before.keys() & after.keys())
        ]
        known = [(first, second) for first, second in pairs if first is not None and second is not None]
        return [SearchScores(*zip(*known, strict=True))] if known else []

    def _score(self, trial: TrialRecord) -> float | None:
        return self.chance if trial.state == "diverged" else trial.test
