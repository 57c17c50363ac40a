"""What to run next: a pure function of the study and what has ended, whatever the order in which trials end.

Search trial k of arm a has number ``k * arms + a``. Its proposal sees the arm's trials 0 .. k - lag and nothing else,
so it waits until those have ended; start-up trials see nothing and never wait. Hence the same study file and seed give
the same proposals on one slot or many, today or after any number of interruptions. Confirmation runs of an arm follow
once its search is over, without waiting for other arms.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kdstudy.ledger import Ended, Ledger, TrialRecord
from kdstudy.plugins import SAMPLERS
from kdstudy.search.arm_plan import ArmPlan, Place
from kdstudy.search.budget import budget_of
from kdstudy.search.cache_plan import CachePlan
from kdstudy.search.samplers import PastTrial, Sampler, past_trial, propose
from kdstudy.seeds import confirm_seed, search_data_seed, search_init_seed
from kdstudy.study import Study


class TrialPlanner:
    """Hands out the trials of one study.

    Args:
        study: The study.
        study_id: Its ID in the ledger.
        ledger: The record.
        lag: Trials of one arm that may be in flight at once after its start-up, at least 1.
        seeds: Confirmation seeds in all; those beyond the study file's own are exploratory.
        sharing: Which trials share the teacher's outputs; None leaves the study's own mode.
        record: Writes a proposal to the ledger, or sees to it: one that is lost with the driver is made again, the
            same. None: it is written before it is handed out.
        warm: By arm, an earlier study's results: its proposals are made as if it went on from there.
    """

    def __init__(  # noqa: PLR0913 - all of them but the first three by name
        self,
        study: Study,
        study_id: str,
        ledger: Ledger,
        *,
        lag: int,
        seeds: int,
        sharing: CachePlan | None = None,
        record: Callable[[TrialRecord], None] | None = None,
        warm: Mapping[str, Sequence[PastTrial]] | None = None,
    ) -> None:
        self._study, self._id, self._ledger = study, study_id, ledger
        self._sharing, self._record, self._warm = sharing, record or ledger.add_trial, warm or {}
        self._sampler: Sampler = SAMPLERS.load(study.search.sampler.name)(**study.search.sampler.options)
        self._budget = budget_of(study)
        self._plans = {
            arm.name: ArmPlan(arm, position, self._budget, startup=self._startup(arm.name), lag=lag, seeds=seeds)
            for position, arm in enumerate(study.arms)
        }
        self._trials: dict[int, TrialRecord] = {}
        for trial in ledger.trials(study_id):
            self._note(trial)
        self._interrupted = deque(trial for _, trial in sorted(self._trials.items()) if not trial.done)

    def __len__(self) -> int:
        """Return how many trials have not been handed out; where hours are the budget, how many are expected."""
        return len(self._interrupted) + self._remaining()

    @property
    def total(self) -> int:
        """How many trials the study comes to; where hours are the budget, as far as can be said by now."""
        return len(self._trials) + self._remaining()

    @property
    def handed(self) -> int:
        """How many trials have been handed out so far, by an earlier driver or by this one."""
        return len(self._trials)

    def trial(self, number: int) -> TrialRecord:
        """Return a trial that has been handed out, as it was then; one that has ended without its configuration."""
        return self._trials[number]

    def next(self) -> TrialRecord | None:
        """Return the next trial that may start now, recorded as queued; None if all that remain must wait."""
        return next(iter(self.pack(lambda _transfer: 1)), None)

    def pack(self, most: Callable[[str], int], *, whole: bool = False) -> list[TrialRecord]:
        """Return the trials that may start now in one process, recorded as queued; none if all that remain must wait.

        Args:
            most: Search trials of an arm that one process may train, by transfer method.
            whole: Leave an arm alone that could fill more of a process once further trials have ended.
        """
        first = self._interrupted.popleft() if self._interrupted else self._first(most, whole=whole)
        if first is None:
            return []
        pack = [first]
        while len(pack) < most(first.arm_id.transfer) and (trial := self._beside(first)) is not None:
            pack.append(trial)
        return pack

    def again(self, number: int) -> None:
        """Hand out once more a trial that was handed out and has not begun."""
        self._interrupted.append(self.trial(number))

    def ended(self, trial: TrialRecord) -> None:
        """Take note of a trial that has ended, as the ledger now holds it."""
        self._note(trial)

    def _first(self, most: Callable[[str], int], *, whole: bool) -> TrialRecord | None:
        """Return the new trial with the lowest number that may start now."""
        ready = [
            (self._number(plan, place), plan, place)
            for plan in self._plans.values()
            if (place := plan.next) is not None and self._is_ready(plan, place)
            if not whole or self._is_whole(plan, place, most)
        ]
        if not ready:
            return None
        _, plan, place = min(ready, key=lambda each: each[0])
        return self._new(plan, place)

    def _is_ready(self, plan: ArmPlan, place: Place) -> bool:
        if place.phase == "confirm":  # its number may depend on how long the other arms' searches are
            return self._searched() is not None
        return plan.may_search(place.index)

    def _is_whole(self, plan: ArmPlan, place: Place, most: Callable[[str], int]) -> bool:
        """Return whether so many of an arm's trials may start that further ones would not fit, or do not come."""
        return place.phase == "confirm" or plan.may_search_all(place.index, most(plan.arm.transfer.called))

    def _beside(self, first: TrialRecord) -> TrialRecord | None:
        """Return another search trial of an arm that may start now."""
        if first.phase != "search":
            return None
        for trial in self._interrupted:
            if (trial.arm, trial.phase) == (first.arm, first.phase):
                self._interrupted.remove(trial)
                return trial
        plan = self._plans[first.arm]
        place = plan.next
        if place is None or place.phase != "search" or not plan.may_search(place.index):
            return None
        return self._new(plan, place)

    def _new(self, plan: ArmPlan, place: Place) -> TrialRecord:
        trial = self._propose(plan, place)
        self._record(trial)
        self._note(trial)
        return trial

    def _note(self, trial: TrialRecord) -> None:
        """Keep a trial; of one that has ended only what later ones may depend on: there may be thousands."""
        if isinstance(trial.stage, Ended):
            result = replace(trial.stage.result, numerics={}, error=None)
            trial = replace(trial, config={}, stage=replace(trial.stage, result=result))
        self._trials[trial.number] = trial
        if trial.arm in self._plans:
            self._plans[trial.arm].note(trial)

    def _remaining(self) -> int:
        return sum(plan.remaining for plan in self._plans.values())

    def _startup(self, arm: str) -> int:
        """Trials that see nothing: all of them where the sampler takes no account of results."""
        if not self._sampler.learns:
            return sys.maxsize
        return max(0, self._study.search.startup_trials - len(self._warm.get(arm, ())))

    def _searched(self) -> int | None:
        """Return how many numbers the search of each arm takes; None while that is not known."""
        return self._budget.numbers([plan.searched for plan in self._plans.values()])

    def _number(self, plan: ArmPlan, place: Place) -> int:
        before = 0 if place.phase == "search" else self._searched()
        assert before is not None
        return (before + place.index) * len(self._plans) + plan.position

    def _propose(self, plan: ArmPlan, place: Place) -> TrialRecord:
        study, arm, number = self._study, plan.arm, self._number(plan, place)
        if place.phase == "search":
            values = self._values(plan, place.index)
            data_seed, init_seed = search_data_seed(study.seed), search_init_seed(study.seed, number)
        else:
            best = plan.best
            assert best is not None
            values, data_seed = best.values, confirm_seed(study.seed, place.index)
            init_seed = data_seed
        mode = None if self._sharing is None else self._sharing.mode(arm.transfer.called, place.phase)
        config = study.config(arm.name, values, data_seed=data_seed, init_seed=init_seed, cache_mode=mode)
        return TrialRecord(
            study_id=self._id,
            number=number,
            phase=place.phase,
            arm_id=arm.id,
            index=place.index,
            data_seed=data_seed,
            init_seed=init_seed,
            values=values,
            config=config.to_json(),
            exploratory=place.phase == "confirm" and place.index >= study.confirm.seeds,
        )

    def _values(self, plan: ArmPlan, index: int) -> dict[str, Any]:
        before = self._warm.get(plan.arm.name, ())
        visible: Iterable[PastTrial] = ()
        if index >= plan.startup:
            visible = (*before, *map(self._observe, plan.visible(index)))
        return propose(
            self._sampler,
            self._study.space(plan.arm),
            tuple(visible),
            arm=plan.arm.name,
            index=len(before) + index,
            startup=self._study.search.startup_trials,
            seed=self._study.seed,
        )

    def _observe(self, trial: TrialRecord) -> PastTrial:
        steps = {}
        if trial.state == "stopped":
            steps = {
                record.epoch: record.val
                for record in self._ledger.epochs(self._id, trial.number)
                if record.val is not None
            }
        return past_trial(trial, steps)
