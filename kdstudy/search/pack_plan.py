"""Decide how many search trials train together in one process, a pack."""

from __future__ import annotations

import math
from collections.abc import Iterator

from kdstudy.search.cache_plan import CachePlan
from kdstudy.study import Study

AUTO = 4
"""Most trials of a pack under ``auto``: of what the teacher costs, three quarters are gone."""


class PackPlan:
    """The packs of a study: trials of one arm that see the same batches.

    Args:
        study: The study.
        sharing: Which trials run the teacher in every step.
        capacity: Processes that the cluster holds at once.
    """

    def __init__(self, study: Study, sharing: CachePlan, capacity: int) -> None:
        self._study, self._sharing, self._capacity = study, sharing, capacity
        self._most = {arm.transfer.called: self._decide(arm.transfer.called) for arm in study.arms}

    def most(self, transfer: str) -> int:
        """Return the most search trials of an arm of this transfer that train in one process."""
        return self._most[transfer][0]

    @property
    def lag(self) -> int:
        """Trials of one arm and search in flight at once that keep all processes busy, and packs full."""
        most = max(most for most, _ in self._most.values())
        at_once = len(self._study.arms) * self._study.confirm.searches
        return max(math.ceil(self._capacity * most / at_once), most)

    def summary_lines(self) -> Iterator[str]:
        """Yield one line per transfer method, if packs are asked for."""
        if self._study.resources.pack != "off":
            for transfer, (most, why) in self._most.items():
                yield f"pack: {transfer}: {most} trial{'s' * (most > 1)} per process, {why}"

    def _decide(self, transfer: str) -> tuple[int, str]:
        study, asked = self._study, self._study.resources.pack
        arm = next(arm for arm in study.arms if arm.transfer.called == transfer)
        if asked == "off":
            return 1, ""
        own = [path for path in study.space(arm) if path == "train.batch_size" or path.startswith("student.")]
        if own:
            return 1, f"since {own[0]} is searched and they would see other batches or layers"
        if asked != "auto":
            return asked, "as the study file says"
        if not self._sharing.is_live(transfer):
            return 1, "since there is no pass of the teacher to share"
        each = study.search.trials_per_arm  # None: as many as hours allow
        if each is None:
            return AUTO, "with one teacher pass per step"
        filling = max(1, each * len(study.arms) * study.confirm.searches // self._capacity)
        most = min(AUTO, each, filling)
        return most, "with one teacher pass per step" if most > 1 else "because more would leave slots idle"
