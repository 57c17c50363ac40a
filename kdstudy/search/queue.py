"""What to run next: a pure function of the study and what has ended, whatever the order in which trials end.

Search trial k of arm a has number ``k * arms + a``. Its proposal sees the arm's trials 0 .. k - lag and nothing else,
so it waits until those have ended; start-up trials see nothing and never wait. Hence the same study file and seed give
the same proposals on one slot or many, today or after any number of interruptions. Confirmation runs of an arm follow
once its search is over, without waiting for other arms.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.overview import best_of, observe
from kdstudy.registry import SAMPLERS
from kdstudy.results import FINISHED_STATES, Phase
from kdstudy.samplers import Observation, Sampler, propose
from kdstudy.search.sharing import Sharing
from kdstudy.seeds import confirm_seed, search_data_seed, search_init_seed
from kdstudy.study import Arm, Study


class TrialQueue:
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

    Attributes:
        out: How many trials this queue has handed out.
    """

    def __init__(  # noqa: PLR0913 - all of them but the first three by name
        self,
        study: Study,
        study_id: str,
        ledger: Ledger,
        *,
        lag: int,
        seeds: int,
        sharing: Sharing | None = None,
        record: Callable[[TrialRecord], None] | None = None,
        warm: Mapping[str, Sequence[Observation]] | None = None,
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
        self.out = 0
        self._interrupted = deque(
            sorted((t for t in self._trials.values() if t.state not in FINISHED_STATES), key=lambda trial: trial.number)
        )
        self._cursors = [self._cursor(arm) for arm in study.arms]
        self._drop_hopeless()

    def _cursor(self, arm: Arm) -> deque[tuple[Phase, int]]:
        budget: list[tuple[Phase, int]] = [("search", k) for k in range(self._study.search.trials_per_arm)]
        budget += [("confirm", k) for k in range(self._seeds)]
        return deque((phase, k) for phase, k in budget if (arm.name, phase, k) not in self._trials)

    def __len__(self) -> int:
        """Return how many trials have not been handed out."""
        return len(self._interrupted) + sum(len(cursor) for cursor in self._cursors)

    def next(self) -> TrialRecord | None:
        """Return the next trial that may start now, recorded as queued; None if all that remain must wait."""
        trial = self._interrupted.popleft() if self._interrupted else self._new()
        self.out += trial is not None
        return trial

    def _new(self) -> TrialRecord | None:
        ready = [position for position in range(len(self._cursors)) if self._is_ready(position)]
        if not ready:
            return None
        position = min(ready, key=lambda each: self._number(each, *self._cursors[each][0]))
        phase, index = self._cursors[position].popleft()
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
    def handed(self) -> int:
        """How many trials have been handed out so far, by an earlier driver or by this one."""
        return len(self._trials)

    def trial(self, number: int) -> TrialRecord:
        """Return a trial that has been handed out, as it was then; one that has ended without its configuration."""
        return self._trials[self._places[number]]

    def again(self, number: int) -> None:
        """Hand out once more a trial that was handed out and has not begun."""
        self.out -= 1
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
        before = 0 if phase == "search" else self._study.search.trials_per_arm * len(self._study.arms)
        return before + index * len(self._study.arms) + position

    def _is_ready(self, position: int) -> bool:
        if not self._cursors[position]:
            return False
        phase, index = self._cursors[position][0]
        arm = self._study.arms[position].name
        if phase == "confirm":
            return self._search_over(arm)
        return index < self._startup(arm) or index - self._lag < self._ended_from_first(arm)

    def _startup(self, arm: str) -> int:
        """Trials that see nothing: all of them where the sampler takes no account of results."""
        if not self._sampler.learns:
            return self._study.search.trials_per_arm
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
        return self._ended_from_first(arm) >= self._study.search.trials_per_arm

    def _search_trials(self, arm: str) -> Iterator[TrialRecord]:
        for index in range(self._study.search.trials_per_arm):
            if (arm, "search", index) in self._trials:
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
        mode = None if self._sharing is None else self._sharing.mode(arm.transfer.name, phase)
        config = study.config(arm.name, values, data_seed=data_seed, init_seed=init_seed, cache_mode=mode)
        return TrialRecord(
            study_id=self._id,
            number=number,
            phase=phase,
            transfer=arm.transfer.name,
            policy=arm.policy.name,
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

    def _observe(self, trial: TrialRecord) -> Observation:
        steps = {}
        if trial.state == "stopped":
            steps = {
                record.epoch: record.val
                for record in self._ledger.epochs(self._id, trial.number)
                if record.val is not None
            }
        return observe(trial, steps)
