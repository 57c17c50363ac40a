"""Arms compared over their confirmation runs, seed by seed.

Only confirmation runs count, by their test score after the last epoch. A seed counts if both arms have a
score for it. One that diverged or failed in either arm is left out, which flatters the arm that loses runs:
read the difference together with the share of diverged runs.

The verdict comes from the seeds that the study file fixed. Where others were added later, a second analysis
over all seeds is marked exploratory: who sees the verdict before deciding on more seeds may stop when he
likes what he sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from kdstudy.analysis import statistics as stats
from kdstudy.analysis.comparison import Analysis, Comparison, Gain, GainDifference, Row
from kdstudy.errors import RecordError
from kdstudy.ledger import Ledger, StudyRecord, TrialRecord
from kdstudy.study import ArmId

_CONSTANT = "constant"
_PLAIN = ArmId("none", "constant")


def compare(ledger: Ledger, ids: Sequence[str], baseline: str | None = None) -> Comparison:
    """Compare the arms of one or more studies.

    Args:
        ledger: Where the studies are.
        ids: IDs, unique prefixes or ``latest``; at least one.
        baseline: The policy that each other one is compared with under the same transfer; None for ``constant``.
            ``none``: each arm against ``none/constant``, plain training.

    Raises:
        RecordError: A study does not exist, or has no arm of the baseline.
    """
    studies = [ledger.study(study_id) for study_id in dict.fromkeys(ledger.resolve(one) for one in ids)]
    duels = [duel for study in studies for duel in _duels(ledger, study, baseline)]
    fixed = _analyse([duel.runs(later=False) for duel in duels])
    every = _analyse([duel.runs(later=True) for duel in duels])
    rows = tuple(
        Row(
            study_id=duel.study.id,
            dataset=duel.study.dataset.name,
            transfer=duel.treatment.transfer,
            baseline=duel.baseline.name if baseline == _PLAIN.transfer else duel.baseline.policy,
            treatment=duel.treatment.policy,
            analysis=verdict,
            exploratory=exploratory if duel.extended else None,
            differences=duel.runs(later=False).differences,
        )
        for duel, verdict, exploratory in zip(duels, fixed, every, strict=True)
    )
    return Comparison(tuple(study.id for study in studies), rows, _gain_differences(studies, rows))


@dataclass(frozen=True)
class _Runs:
    """The finished confirmation runs of two arms."""

    baseline: tuple[TrialRecord, ...]
    treatment: tuple[TrialRecord, ...]

    @property
    def scores(self) -> tuple[list[float], list[float]]:
        """The scores of the seeds that both arms have, in order of the baseline's."""
        before, after = _by_seed(self.baseline), _by_seed(self.treatment)
        shared = [seeds for seeds in before if seeds in after]
        return [before[seeds] for seeds in shared], [after[seeds] for seeds in shared]

    @property
    def differences(self) -> tuple[float, ...]:
        return tuple(stats.paired_differences(*self.scores))

    @property
    def left_out(self) -> int:
        """Seeds for which a run of either arm ended without a score."""
        return len({_seeds(trial) for trial in (*self.baseline, *self.treatment) if trial.test is None})


@dataclass(frozen=True)
class _Duel:
    """Two arms of a study with all their finished confirmation runs."""

    study: StudyRecord
    baseline: ArmId
    treatment: ArmId
    trials: tuple[TrialRecord, ...]

    @property
    def extended(self) -> bool:
        """Whether seeds were added after the study's own."""
        return any(trial.exploratory for trial in self.trials)

    def runs(self, *, later: bool) -> _Runs:
        """Return the runs of the study's own seeds, or those of seeds added ``later`` as well."""
        chosen = [trial for trial in self.trials if later or not trial.exploratory]
        return _Runs(
            *(tuple(trial for trial in chosen if trial.arm_id == arm) for arm in (self.baseline, self.treatment))
        )


def _duels(ledger: Ledger, study: StudyRecord, baseline: str | None) -> list[_Duel]:
    """Return a study's comparisons in the order of its file, arms without a confirmation run included."""
    arms = ledger.arms(study.id)
    if baseline == _PLAIN.transfer:
        if _PLAIN not in arms:
            raise RecordError(
                f"study '{study.id}': has no arm none/constant to be the baseline; run one that has 'none' "
                "among its transfers and 'constant' among its policies"
            )
        pairs = [(_PLAIN, arm) for arm in arms if arm != _PLAIN]
    else:
        policy = baseline or _CONSTANT
        before_of = {arm.transfer: arm for arm in arms if arm.policy == policy}
        if baseline is not None and not before_of:
            raise RecordError(
                f"study '{study.id}': has no policy '{baseline}' to be the baseline; choose from "
                f"{', '.join(dict.fromkeys(arm.policy for arm in arms))}, or say 'none' for plain training"
            )
        pairs = [(before_of[arm.transfer], arm) for arm in arms if arm.policy != policy and arm.transfer in before_of]
    finished = [trial for trial in ledger.trials(study.id, "confirm") if trial.done]
    return [
        _Duel(study, before, after, tuple(trial for trial in finished if trial.arm_id in (before, after)))
        for before, after in pairs
    ]


def _analyse(family: Sequence[_Runs]) -> list[Analysis]:
    """Analyse comparisons that are made together, and therefore corrected together."""
    results = [stats.compare_paired(*runs.scores) for runs in family]
    adjusted = stats.holm([result.p_value for result in results])
    return [
        Analysis(
            pairs=result,
            diverged_baseline=_diverged(runs.baseline),
            diverged_treatment=_diverged(runs.treatment),
            left_out=runs.left_out,
            p_adjusted=p_adjusted,
            detectable=stats.detectable(result.n, result.sd, stats.SIGNIFICANCE / len(family)),
            verdict=stats.verdict(result.n, result.difference, p_adjusted),
        )
        for runs, result, p_adjusted in zip(family, results, adjusted, strict=True)
    ]


def _gain_differences(studies: Iterable[StudyRecord], rows: Sequence[Row]) -> tuple[GainDifference, ...]:
    """Return, for every comparison that two studies share, how much more the later named one gains."""
    records = {study.id: study for study in studies}
    found = []
    for first, second in combinations(rows, 2):
        if first.study_id != second.study_id and first.key == second.key:
            gains = [_gain(records[row.study_id], row) for row in (first, second)]
            known = gains[0].gain is not None and gains[1].gain is not None
            low, high = stats.welch_interval(first.differences, second.differences) or (None, None)
            found.append(
                GainDifference(
                    *first.key,
                    gains[0],
                    gains[1],
                    (gains[1].gain or 0.0) - (gains[0].gain or 0.0) if known else None,
                    low,
                    high,
                )
            )
    return tuple(found)


def _gain(study: StudyRecord, row: Row) -> Gain:
    test = study.teacher.test
    pairs = row.analysis.pairs
    return Gain(study.id, row.dataset, None if test is None else 1 - test, pairs.n, pairs.difference)


def _by_seed(trials: Iterable[TrialRecord]) -> dict[tuple[int, int], float]:
    return {_seeds(trial): trial.test for trial in trials if trial.test is not None}


def _seeds(trial: TrialRecord) -> tuple[int, int]:
    return trial.data_seed, trial.init_seed


def _diverged(trials: Sequence[TrialRecord]) -> float | None:
    """Return the share of diverged runs among all but the failed: an exception tells nothing of stability."""
    states = [trial.state for trial in trials if trial.state != "failed"]
    return states.count("diverged") / len(states) if states else None
