"""What to run next: a pure function of the study and what has ended, whatever the order in which trials end.

Search trial k of arm a has number ``k * arms + a``. Its proposal sees the arm's trials 0 .. k - lag and nothing else,
so it waits until those have ended; start-up trials see nothing and never wait. Hence the same study file and seed give
the same proposals on one slot or many, today or after any number of interruptions. Confirmation runs of an arm follow
once its search is over, without waiting for other arms.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kdstudy.ledger import Ledger, TrialRecord, best_of
from kdstudy.plugins import SAMPLERS
from kdstudy.results import FINISHED_STATES, Phase
from kdstudy.search.budget import expected, is_over, may_start
from kdstudy.search.cache_plan import CachePlan
from kdstudy.search.samplers import PastTrial, Sampler, past_trial, propose
from kdstudy.seeds import confirm_seed, search_data_seed, search_init_seed
from kdstudy.study import Arm, Study


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
        self._study, self._id, self._ledger, self._lag, self._seeds = study, study_id, ledger, lag, seeds
        self._sharing, self._record, self._warm = sharing, record or ledger.add_trial, warm or {}
        search = study.search
        self._sampler: Sampler = SAMPLERS.load(search.sampler.name)(**search.sampler.options)
        self._trials: dict[tuple[str, Phase, int], TrialRecord] = {}
        self._places: dict[int, tuple[str, Phase, int]] = {}
        for trial in ledger.trials(study_id):
            self._note(trial)
        self._leading: Counter[str] = Counter()
        self._interrupted = deque(
            sorted((t for t in self._trials.values() if t.state not in FINISHED_STATES), key=lambda trial: trial.number)
        )
        self._cursors = [self._cursor(arm) for arm in study.arms]
        self._drop_hopeless()

    def _cursor(self, arm: Arm) -> deque[tuple[Phase, int]]:
        # Where hours are the budget, the search is not listed: `_upcoming` goes on while there is time.
        budget: list[tuple[Phase, int]] = [("search", k) for k in range(self._study.search.trials_per_arm or 0)]
        budget += [("confirm", k) for k in range(self._seeds)]
        return deque((phase, k) for phase, k in budget if (arm.name, phase, k) not in self._trials)

    def _upcoming(self, position: int) -> tuple[Phase, int] | None:
        """Return phase and index of an arm's next trial; None if there is none."""
        arm, cursor = self._study.arms[position].name, self._cursors[position]
        if self._study.search.trials_per_arm is None and not self._search_over(arm):
            return ("search", len(list(self._search_trials(arm))))
        return cursor[0] if cursor else None

    def __len__(self) -> int:
        """Return how many trials have not been handed out; where hours are the budget, how many are expected."""
        return len(self._interrupted) + sum(len(cursor) for cursor in self._cursors) + self._expected()

    def _expected(self) -> int:
        if self._study.search.trials_per_arm is not None:
            return 0
        searched = [list(self._search_trials(arm.name)) for arm in self._study.arms]
        return sum(
            max(1, expected(self._study, trials) - len(trials))
            for trials in searched
            if not is_over(self._study, trials)
        )

    def next(self) -> TrialRecord | None:
        """Return the next trial that may start now, recorded as queued; None if all that remain must wait."""
        return next(iter(self.pack(lambda _transfer: 1)), None)

    def pack(self, most: Callable[[str], int], *, whole: bool = False) -> list[TrialRecord]:
        """Return the trials that may start now in one process, recorded as queued; none if all that remain must wait.

        Args:
            most: Search trials of an arm that one process may train, by transfer method.
            whole: Leave an arm alone that could fill more of a process once further trials have ended.
        """
        if self._interrupted:
            first = self._interrupted.popleft()
        else:
            upcoming = [(position, self._upcoming(position)) for position in range(len(self._cursors))]
            ready = [(position, place) for position, place in upcoming if place and self._is_ready(position, *place)]
            if whole:
                ready = [each for each in ready if self._is_whole(each[0], *each[1], most)]
            if not ready:
                return []
            position, place = min(ready, key=lambda each: self._number(each[0], *each[1]))
            first = self._new(position, *place)
        pack = [first]
        while len(pack) < most(first.transfer) and (trial := self._beside(first)) is not None:
            pack.append(trial)
        return pack

    def _is_whole(self, position: int, phase: Phase, index: int, most: Callable[[str], int]) -> bool:
        """Return whether so many of an arm's trials may start that further ones would not fit, or do not come."""
        if phase == "confirm":
            return True
        last = index + most(self._study.arms[position].transfer.called)
        each = self._study.search.trials_per_arm
        return all(self._is_ready(position, phase, k) for k in range(index, min(last, each or last)))

    def _beside(self, first: TrialRecord) -> TrialRecord | None:
        """Return another search trial of an arm that may start now."""
        if first.phase != "search":
            return None
        for trial in self._interrupted:
            if (trial.arm, trial.phase) == (first.arm, first.phase):
                self._interrupted.remove(trial)
                return trial
        position = [arm.name for arm in self._study.arms].index(first.arm)
        place = self._upcoming(position)
        if place is None or place[0] != "search" or not self._is_ready(position, *place):
            return None
        return self._new(position, *place)

    def _new(self, position: int, phase: Phase, index: int) -> TrialRecord:
        if phase == "confirm" or self._study.search.trials_per_arm is not None:
            self._cursors[position].popleft()
        trial = self._propose(position, phase, index)
        self._record(trial)
        self._note(trial)
        return trial

    def _note(self, trial: TrialRecord) -> None:
        """Keep a trial; of one that has ended only what later ones may depend on: there may be thousands."""
        place = (trial.arm, trial.phase, trial.index)
        self._places[trial.number] = place
        self._trials[place] = replace(trial, config={}, numerics={}, error=None) if trial.done else trial

    @property
    def total(self) -> int:
        """How many trials the study comes to; where hours are the budget, as far as can be said by now."""
        return len(self._trials) + sum(len(cursor) for cursor in self._cursors) + self._expected()

    @property
    def handed(self) -> int:
        """How many trials have been handed out so far, by an earlier driver or by this one."""
        return len(self._trials)

    def trial(self, number: int) -> TrialRecord:
        """Return a trial that has been handed out, as it was then; one that has ended without its configuration."""
        return self._trials[self._places[number]]

    def again(self, number: int) -> None:
        """Hand out once more a trial that was handed out and has not begun."""
        self._interrupted.append(self.trial(number))

    def ended(self, trial: TrialRecord) -> None:
        """Take note of a trial that has ended, as the ledger now holds it."""
        self._note(trial)
        self._drop_hopeless()

    def _drop_hopeless(self) -> None:
        """An arm of which no search trial completed has nothing to confirm."""
        for arm, cursor in zip(self._study.arms, self._cursors, strict=True):
            if cursor and self._search_over(arm.name) and best_of(list(self._search_trials(arm.name))) is None:
                cursor.clear()

    def _number(self, position: int, phase: Phase, index: int) -> int:
        before, arms = 0, self._study.arms
        if phase == "confirm":
            most = self._study.search.trials_per_arm
            before = len(arms) * (most or max(len(list(self._search_trials(arm.name))) for arm in arms))
        return before + index * len(arms) + position

    def _is_ready(self, position: int, phase: Phase, index: int) -> bool:
        arm = self._study.arms[position].name
        if phase == "confirm":
            # Where hours are the budget, the numbers of the confirmation runs are known once every search is over.
            waited_for = [arm] if self._study.search.trials_per_arm is not None else [a.name for a in self._study.arms]
            return all(self._search_over(each) for each in waited_for)
        if self._study.search.trials_per_arm is None and not may_start(self._study, list(self._search_trials(arm))):
            return False
        return index < self._startup(arm) or index - self._lag < self._ended_from_first(arm)

    def _startup(self, arm: str) -> int:
        """Trials that see nothing: all of them where the sampler takes no account of results."""
        if not self._sampler.learns:
            return sys.maxsize
        return max(0, self._study.search.startup_trials - len(self._warm.get(arm, ())))

    def _has_ended(self, arm: str, index: int) -> bool:
        trial = self._trials.get((arm, "search", index))
        return trial is not None and trial.state in FINISHED_STATES

    def _ended_from_first(self, arm: str) -> int:
        """Return how many of an arm's search trials have ended before the first that has not."""
        while self._has_ended(arm, self._leading[arm]):
            self._leading[arm] += 1
        return self._leading[arm]

    def _search_over(self, arm: str) -> bool:
        if self._study.search.trials_per_arm is not None:
            return self._ended_from_first(arm) >= self._study.search.trials_per_arm
        return is_over(self._study, list(self._search_trials(arm)))

    def _search_trials(self, arm: str) -> Iterator[TrialRecord]:
        for index in itertools.count():
            if (arm, "search", index) not in self._trials:
                return
            yield self._trials[(arm, "search", index)]

    def _propose(self, position: int, phase: Phase, index: int) -> TrialRecord:
        study, arm, number = self._study, self._study.arms[position], self._number(position, phase, index)
        if phase == "search":
            values = self._values(arm, index)
            data_seed, init_seed = search_data_seed(study.seed), search_init_seed(study.seed, number)
        else:
            best = best_of(list(self._search_trials(arm.name)))
            assert best is not None
            values, data_seed = best.values, confirm_seed(study.seed, index)
            init_seed = data_seed
        mode = None if self._sharing is None else self._sharing.mode(arm.transfer.called, phase)
        config = study.config(arm.name, values, data_seed=data_seed, init_seed=init_seed, cache_mode=mode)
        return TrialRecord(
            study_id=self._id,
            number=number,
            phase=phase,
            transfer=arm.transfer.called,
            policy=arm.policy.called,
            index=index,
            data_seed=data_seed,
            init_seed=init_seed,
            values=values,
            config=config.to_json(),
            exploratory=phase == "confirm" and index >= study.confirm.seeds,
        )

    def _values(self, arm: Arm, index: int) -> dict[str, Any]:
        before = self._warm.get(arm.name, ())
        visible = (
            []
            if index < self._startup(arm.name)
            else [
                *before,
                *(
                    self._observe(trial)
                    for trial in self._search_trials(arm.name)
                    if trial.index <= index - self._lag and trial.state != "failed"
                ),
            ]
        )
        return propose(
            self._sampler,
            self._study.space(arm),
            visible,
            arm=arm.name,
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
