"""Arms of which no trial came through: how they ended, why, and what can be done about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kdstudy.ledger import TrialRecord
from kdstudy.results import Phase
from kdstudy.study import ArmId

_HOW = {"failed": "failed", "diverged": "diverged", "stopped": "were stopped by the pruner"}
_MENDING = {
    "failed": "mend that",
    "diverged": "lower train.base_lr, or the weight of the transfer method",
    "stopped": "prune later or not at all (search.pruner)",
}


@dataclass(frozen=True)
class Lost:
    """Trials of one phase that all ended without a result to go on with.

    Args:
        phase: Which.
        arms: Whose.
        of: How many arms the study has.
        trials: All of them, at least one.
    """

    phase: Phase
    arms: tuple[ArmId, ...]
    of: int
    trials: tuple[TrialRecord, ...]

    @property
    def all_arms(self) -> bool:
        """Whether the study has no other arm."""
        return len(self.arms) == self.of

    @property
    def summary(self) -> str:
        """Which trials, and how they ended: ``all 6 search trials failed``."""
        kind = "search trials" if self.phase == "search" else "confirmation runs"
        whose = "" if self.all_arms else f" of {', '.join(arm.name for arm in self.arms)}"
        return f"{_every(len(self.trials), kind)}{whose} {self._ends}"

    @property
    def message(self) -> str:
        """The summary, the most frequent reason, where the rest can be read, and what to do; without a full stop."""
        state, _ = self._states.most_common(1)[0]
        reason, told = self._example.reason, ""
        if reason:
            count = sum(trial.reason == reason for trial in self.trials)
            told = f": {reason.rstrip('.')}" + (f" ({count} of {len(self.trials)})" if len(self.trials) > 1 else "")
        return f"{self.summary}{told}; `{self.command}` shows more; {_MENDING[state]}, and run the study again"

    @property
    def command(self) -> str:
        """What shows all that is known of one of those that ended as most did."""
        return f"kdstudy show {self._example.study_id} --trial {self._example.number}"

    @property
    def _example(self) -> TrialRecord:
        """The first trial that has the most frequent reason of the most frequent end."""
        state, _ = self._states.most_common(1)[0]
        alike = [trial for trial in self.trials if trial.state == state]
        reasons = Counter(trial.reason for trial in alike if trial.reason).most_common(1)
        return next(trial for trial in alike if not reasons or trial.reason == reasons[0][0])

    @property
    def _states(self) -> Counter[str]:
        return Counter(trial.state for trial in self.trials)

    @property
    def _ends(self) -> str:
        states = self._states
        if len(states) == 1:
            (state,) = states
            verb = _HOW[state]
            return verb.replace("were", "was") if len(self.trials) == 1 else verb
        return "came to nothing, " + ", ".join(f"{count} {state}" for state, count in states.most_common())


def lost_of(arms: Sequence[ArmId], trials: Sequence[TrialRecord]) -> list[Lost]:
    """Return the arms that have no usable trial: first those without one in the search, then in confirmation.

    Args:
        arms: Of the study.
        trials: All of them. An arm of which one completed, or has not ended, is not lost.
    """
    found = []
    for phase in ("search", "confirm"):
        own = {arm: [trial for trial in trials if trial.arm_id == arm and trial.phase == phase] for arm in arms}
        gone = [arm for arm, each in own.items() if each and all(_nothing(trial) for trial in each)]
        if gone:
            found.append(Lost(phase, tuple(gone), len(arms), tuple(trial for arm in gone for trial in own[arm])))
    return found


def _nothing(trial: TrialRecord) -> bool:
    return trial.done and trial.state != "completed"


def _every(count: int, kind: str) -> str:
    return f"the only {kind.removesuffix('s')}" if count == 1 else f"all {count} {kind}"
