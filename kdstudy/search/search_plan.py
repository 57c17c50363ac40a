"""One search of a study: its arms, which trial of them comes next, and under which number.

A study's first search numbers its trials from 0, the second from the next power of ten that leaves room, and so on:
trial 203 may be trial 3 of search 2. Within a search, search trial k of arm a has number ``k * arms + a``, and
confirmation seed k comes after the search: ``(trials + k) * arms + a``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from kdstudy.errors import StudyError
from kdstudy.ledger import TrialRecord
from kdstudy.search.arm_plan import ArmPlan, Place
from kdstudy.search.budget import Budget
from kdstudy.search.pick import picks_of
from kdstudy.search.samplers import PastTrial
from kdstudy.study import MAX_SEARCHES, Arm, Study

ROOM = 4
"""The numbers of a search leave room for so many times the trials that the study file asks for."""
MOST_NUMBERS = 2**31 - 1
"""What a column of the ledger holds."""
UNCOUNTED = 1_000_000
"""Numbers of one search where hours are the budget: more trials than any hours hold."""


def numbers_per_search(study: Study) -> int:
    """Return how far the numbers of a study's searches lie apart: a power of ten."""
    if study.search.trials_per_arm is None:
        return UNCOUNTED
    needed = ROOM * len(study.arms) * (study.search.trials_per_arm + study.confirm.seeds)
    return int(10 ** len(str(needed - 1)))


def check_numbers(study: Study, *, searches: int, seeds: int) -> None:
    """Refuse more searches, or more confirmation seeds in each, than there are numbers for.

    Raises:
        StudyError: There are.
    """
    trials, limit = study.search.trials_per_arm, min(MAX_SEARCHES, MOST_NUMBERS // numbers_per_search(study))
    if searches > max(1, limit):
        raise StudyError([f"searches: a study of so many trials has numbers for {limit} searches, got {searches}"])
    if searches == 1 or trials is None:
        return
    most = numbers_per_search(study) // len(study.arms) - trials
    if seeds > most:
        raise StudyError(
            [
                f"--seeds: a study of several searches has numbers for {most} seeds in each, got {seeds}; "
                "add searches, which tell more"
            ]
        )


class SearchPlan:
    """The trials of one search.

    Args:
        study: The study.
        search: Which of its searches, from 0.
        budget: Of each arm's trials.
        learns: Whether proposals depend on results.
        lag: Trials of one arm that may be in flight at once after its start-up, at least 1.
        seeds: Confirmation seeds in all.
        warm: By arm, an earlier study's results: proposals are made as if its search went on.
    """

    def __init__(  # noqa: PLR0913 - all of them but the first two by name
        self,
        study: Study,
        search: int,
        *,
        budget: Budget,
        learns: bool,
        lag: int,
        seeds: int,
        warm: Mapping[str, Sequence[PastTrial]],
    ) -> None:
        self._study, self.search, self.warm = study, search, warm
        self._budget, self._learns = budget, learns
        self._first = search * numbers_per_search(study)
        self._plans = {
            arm.name: ArmPlan(arm, position, budget, startup=self._startup(arm), lag=lag, seeds=seeds)
            for position, arm in enumerate(study.arms)
        }
        self._picks: dict[str, TrialRecord | None] = {}

    def __getitem__(self, arm: str) -> ArmPlan:
        return self._plans[arm]

    def note(self, trial: TrialRecord) -> None:
        """Take note of a trial of this search that was handed out or has ended."""
        if trial.arm in self._plans:
            self._plans[trial.arm].note(trial)
            if trial.phase == "search":
                self._picks.clear()

    @property
    def remaining(self) -> int:
        """How many trials have not been handed out; where time is the budget, how many are expected."""
        return sum(plan.remaining + len(plan.confirms) * self._may_confirm(plan) for plan in self._plans.values())

    def ready(self, most: Callable[[str], int], *, whole: bool) -> Iterator[tuple[int, ArmPlan, Place]]:
        """Yield number, arm and place of each arm's next trial that may start now.

        Args:
            most: Search trials of an arm that one process may train, by transfer method.
            whole: Leave an arm alone that could fill more of a process once further trials have ended.
        """
        for plan in self._plans.values():
            place = self._next(plan)
            if place is not None and (not whole or self._is_whole(plan, place, most)):
                yield self.number(plan, place), plan, place

    def beside(self, arm: str) -> Place | None:
        """Return the place of a further search trial of an arm that may start now, if there is one."""
        place = self._next(self._plans[arm])
        return place if place is not None and place.phase == "search" else None

    def number(self, plan: ArmPlan, place: Place) -> int:
        """Return the number of a trial."""
        before = 0 if place.phase == "search" else self._searched()
        assert before is not None
        return self._first + (before + place.index) * len(self._plans) + plan.position

    def pick(self, plan: ArmPlan) -> TrialRecord | None:
        """Return the search trial of an arm that is confirmed; None while that is not known, or if there is none."""
        if not self._picks:
            searched = {name: own.searched for name, own in self._plans.items()}
            self._picks = picks_of(self._study, searched, lambda name: self._plans[name].search_is_over)
        return self._picks.get(plan.arm.name)

    def _next(self, plan: ArmPlan) -> Place | None:
        """Return an arm's next trial if it may start now."""
        if not plan.search_is_over:
            index = len(plan.searched)
            return Place("search", index) if plan.may_search(index) else None
        # The number of a confirmation may depend on how long the other arms' searches are.
        if not plan.confirms or self._searched() is None or self.pick(plan) is None:
            return None
        return Place("confirm", plan.confirms[0])

    def _may_confirm(self, plan: ArmPlan) -> bool:
        """Return whether an arm will be confirmed, as far as can be said now."""
        if self.pick(plan) is not None:
            return True
        return plan.arm.name not in self._picks

    def _is_whole(self, plan: ArmPlan, place: Place, most: Callable[[str], int]) -> bool:
        """Return whether so many of an arm's trials may start that further ones would not fit, or do not come."""
        return place.phase == "confirm" or plan.may_search_all(place.index, most(plan.arm.id.transfer))

    def _searched(self) -> int | None:
        """Return how many numbers the search of each arm takes; None while that is not known."""
        return self._budget.numbers([plan.searched for plan in self._plans.values()])

    def _startup(self, arm: Arm) -> int:
        """Trials that see nothing: all of them where the sampler takes no account of results."""
        if not self._learns:
            return sys.maxsize
        return max(0, self._study.search.startup_trials - len(self.warm.get(arm.name, ())))
