"""What a study will cost and what it will be able to see, before anything is paid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from kdstudy.analysis.compare import compare
from kdstudy.analysis.family import family_of
from kdstudy.analysis.planning import detectable, searches_needed
from kdstudy.analysis.verdict import Plan
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.study import MIN_SEARCHES, Study


@final
@dataclass(frozen=True)
class Forecast:
    """What a study will be able to tell.

    Args:
        comparisons: Of its own family.
        sd: Of the difference of one search, a fraction; None where nothing tells it.
        detectable: The smallest true difference found with 80 % power at the strictest level, a fraction; None with
            fewer than 3 searches, without comparisons or without an sd.
        smallest: ``confirm.smallest``, a fraction; None if the study names none.
        searches_needed: The searches that would find it with 80 % power; None likewise.
        epoch: Mean seconds of an epoch in the earlier study that it is like; None without one.
        hours: Of one slot, for all trials at their longest; None where that or their number is not known.
    """

    comparisons: int
    sd: float | None
    detectable: float | None
    smallest: float | None
    searches_needed: int | None
    epoch: float | None = None
    hours: float | None = None

    def to_json(self) -> dict[str, float | int | None]:
        """Return plain values."""
        return {
            "comparisons": self.comparisons,
            "sd": self.sd,
            "detectable": self.detectable,
            "smallest": self.smallest,
            "searches_needed": self.searches_needed,
            "seconds_per_epoch": self.epoch,
            "hours": self.hours,
        }


def forecast_of(study: Study, sd: float | None) -> Forecast:
    """Return what a study will see.

    Args:
        study: The study.
        sd: Of the difference of one search between two arms, a fraction greater than 0; see `sd_of`.
            None where it is not known, and with it what the study will see.
    """
    confirm, comparisons = study.confirm, len(family_of(study))
    smallest = None if confirm.smallest is None else confirm.smallest / 100
    plan = Plan(confirm.searches, confirm.at_most, smallest)
    seen = needed = None
    if comparisons and sd is not None:
        level = plan.level(comparisons, confirm.searches)
        seen = detectable(confirm.searches, sd, level)
        needed = None if smallest is None else searches_needed(smallest, sd, level)
    return Forecast(comparisons, sd, seen, smallest, needed)


def sd_of(ledger: Ledger, reference: str) -> float | None:
    """Return the sd of the difference of one search in an earlier study, over all its comparisons, as a fraction.

    None where it has no comparison over 3 searches or more, or all of them differ by the same.

    Raises:
        RecordError: It does not exist.
    """
    rows = compare(ledger, [reference]).verdicts
    repeated = [row.judgement.estimate for row in rows if row.judgement.scores.count >= MIN_SEARCHES]
    known = [estimate.sd for estimate in repeated if estimate is not None and estimate.sd]
    return math.sqrt(sum(sd * sd for sd in known) / len(known)) if known else None


def forecast_like(study: Study, ledger: Ledger, reference: str, sd: float | None = None) -> Forecast:
    """Return what a study will cost and see if it goes as an earlier one went.

    Args:
        study: The study.
        ledger: Holds the earlier one.
        reference: Its ID, unique prefix, or ``latest``.
        sd: In place of the earlier study's, as for `forecast_of`.

    Raises:
        RecordError: It does not exist.
    """
    study_id = ledger.resolve(reference)
    forecast = forecast_of(study, sd if sd is not None else sd_of(ledger, study_id))
    epoch = _seconds_per_epoch(ledger.trials(study_id))
    trials = study.search.trials_per_arm
    if epoch is None or trials is None:
        return replace(forecast, epoch=epoch)
    count = len(study.arms) * study.confirm.searches * (trials + study.confirm.seeds)
    return replace(forecast, epoch=epoch, hours=count * study.max_epochs * epoch / 3600)


def _seconds_per_epoch(trials: Sequence[TrialRecord]) -> float | None:
    """Return the mean time of one epoch of a study's trials, in seconds of one slot; None before there is any."""
    epochs = sum(trial.epochs for trial in trials if trial.done)
    return sum(trial.seconds for trial in trials if trial.done) / epochs if epochs else None
