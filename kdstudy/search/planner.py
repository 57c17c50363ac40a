"""What to run next: a pure function of the study and what has ended, whatever the order in which trials end.

The proposal of an arm's trial k in one search sees that arm's trials 0 .. k - lag of that search and nothing else, so
it waits until those have ended; start-up trials see nothing and never wait. Hence the same study file and seed give the
same proposals on one slot or many, today or after any number of interruptions. Confirmation runs of an arm follow once
its search is over, without waiting for other arms. A study's searches are one stream of trials: an earlier search goes
first, and whatever it cannot use goes to the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kdstudy.ledger import Ended, Guess, Ledger, TrialRecord
from kdstudy.plugins import SAMPLERS
from kdstudy.search.arm_plan import ArmPlan, Place
from kdstudy.search.budget import budget_of
from kdstudy.search.cache_plan import CachePlan
from kdstudy.search.samplers import PastTrial, Sampler, past_trial, propose
from kdstudy.search.search_plan import SearchPlan
from kdstudy.seeds import confirm_seed, data_seed, init_seed, search_seed
from kdstudy.study import Study


class TrialPlanner:
    """Hands out the trials of one study.

    Args:
        study: The study.
        study_id: Its ID in the ledger.
        ledger: The record.
        lag: Trials of one arm and search that may be in flight at once after its start-up, at least 1.
        seeds: Confirmation seeds of each search in all; those beyond the study file's own are exploratory.
        searches: In all; those beyond what the study file declares are exploratory.
        sharing: Which trials share the teacher's outputs; None leaves the study's own mode.
        record: Writes a proposal to the ledger, or sees to it: one that is lost with the driver is made again, the
            same. None: it is written before it is handed out.
        warm: By search and arm, an earlier study's results: proposals are made as if it went on from there.
        guesses: Values that trials at some places have, whatever is proposed there.
        common_weights: Whether search trials of equal index start from the same weights in every arm; False goes on
            with a study of an older version, in which each had weights of its own.
    """

    def __init__(  # noqa: PLR0913 - all of them but the first three by name
        self,
        study: Study,
        study_id: str,
        ledger: Ledger,
        *,
        lag: int,
        seeds: int,
        searches: int = 1,
        sharing: CachePlan | None = None,
        record: Callable[[TrialRecord], None] | None = None,
        warm: Mapping[int, Mapping[str, Sequence[PastTrial]]] | None = None,
        guesses: Sequence[Guess] = (),
        common_weights: bool = True,
    ) -> None:
        self._study, self._id, self._ledger = study, study_id, ledger
        self._sharing, self._record = sharing, record or ledger.add_trial
        self._common_weights = common_weights
        self._guesses = {(guess.search, guess.arm, guess.index): guess.values for guess in guesses}
        self._sampler: Sampler = SAMPLERS.load(study.search.sampler.name)(**study.search.sampler.options)
        budget, learns, warm = budget_of(study), self._sampler.learns, warm or {}
        self._searches = [
            SearchPlan(study, search, budget=budget, learns=learns, lag=lag, seeds=seeds, warm=warm.get(search, {}))
            for search in range(searches)
        ]
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
        """Return the new trial with the lowest number that may start now: the earlier search goes first."""
        ready = [(*each, plan) for plan in self._searches for each in plan.ready(most, whole=whole)]
        if not ready:
            return None
        _, arm, place, search = min(ready, key=lambda each: each[0])
        return self._new(search, arm, place)

    def _beside(self, first: TrialRecord) -> TrialRecord | None:
        """Return another search trial of an arm that may start now, for the same process."""
        if first.phase != "search":
            return None
        for trial in self._interrupted:
            if (trial.arm, trial.phase, trial.search) == (first.arm, first.phase, first.search):
                self._interrupted.remove(trial)
                return trial
        search = self._searches[first.search]
        place = search.beside(first.arm)
        return None if place is None else self._new(search, search[first.arm], place)

    def _new(self, search: SearchPlan, plan: ArmPlan, place: Place) -> TrialRecord:
        trial = self._propose(search, plan, place)
        self._record(trial)
        self._note(trial)
        return trial

    def _note(self, trial: TrialRecord) -> None:
        """Keep a trial; of one that has ended only what later ones may depend on: there may be thousands."""
        if isinstance(trial.stage, Ended):
            result = replace(trial.stage.result, numerics={}, error=None)
            trial = replace(trial, config={}, stage=replace(trial.stage, result=result))
        self._trials[trial.number] = trial
        if trial.search < len(self._searches):
            self._searches[trial.search].note(trial)

    def _remaining(self) -> int:
        return sum(search.remaining for search in self._searches)

    def _propose(self, search: SearchPlan, plan: ArmPlan, place: Place) -> TrialRecord:
        study, arm, seed = self._study, plan.arm, search_seed(self._study.seed, search.search)
        if place.phase == "search":
            values = self._values(search, plan, place.index)
            order = data_seed(seed)
            init = init_seed(seed, place.index if self._common_weights else search.number(plan, place))
        else:
            pick = search.pick(plan)
            assert pick is not None
            values, order = pick.values, confirm_seed(seed, place.index)
            init = order
        mode = None if self._sharing is None else self._sharing.mode(arm.id.transfer, place.phase)
        config = study.config(arm.name, values, data_seed=order, init_seed=init, search=search.search, cache_mode=mode)
        return TrialRecord(
            study_id=self._id,
            number=search.number(plan, place),
            phase=place.phase,
            arm_id=arm.id,
            search=search.search,
            index=place.index,
            data_seed=order,
            init_seed=init,
            values=values,
            config=config.to_json(),
            exploratory=self._is_exploratory(search, place),
        )

    def _is_exploratory(self, search: SearchPlan, place: Place) -> bool:
        """Return whether a trial was asked for beyond what the study file declares."""
        confirm = self._study.confirm
        return search.search >= confirm.declared or (place.phase == "confirm" and place.index >= confirm.seeds)

    def _values(self, search: SearchPlan, plan: ArmPlan, index: int) -> dict[str, Any]:
        before = search.warm.get(plan.arm.name, ())
        visible: Iterable[PastTrial] = ()
        if index >= plan.startup:
            visible = (*before, *map(self._observe, plan.visible(index)))
        proposed: dict[str, Any] = propose(
            self._sampler,
            self._study.space(plan.arm),
            tuple(visible),
            arm=plan.arm.name,
            index=len(before) + index,
            startup=self._study.search.startup_trials,
            seed=search_seed(self._study.seed, search.search),
        )
        return proposed | self._guesses.get((search.search, plan.arm.name, index), {})

    def _observe(self, trial: TrialRecord) -> PastTrial:
        steps = {}
        if trial.state == "stopped":
            steps = {
                record.epoch: record.val
                for record in self._ledger.epochs(self._id, trial.number)
                if record.val is not None
            }
        return past_trial(trial, steps)
