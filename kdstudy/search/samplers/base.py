"""`Sampler`: proposes a trial's values, as a pure function of the trials it may see.

A sampler keeps no state between proposals. It rebuilds what it knows from the history it is given, so a study gives the
same proposals in one go, after any interruption, and from another machine. That is why neither Ray's OptunaSearch nor
an Optuna study of the whole search proposes: both go by the order in which trials happen to end, and by random state
that ends with the driver. Optuna's engines do the proposing, each time on a study in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from kdstudy.ledger import TrialRecord
from kdstudy.seeds import derive
from kdstudy.study import ArmId, Range

WORST = 0.0
"""The score that a diverged trial counts as."""


@dataclass(frozen=True)
class PastTrial:
    """A finished trial of the arm, as a sampler sees it.

    Args:
        values: Its value for each path of the space.
        state: ``completed``, ``stopped`` (pruned) or ``diverged``.
        value: Validation score of its last epoch in [0, 1]; None if there is none.
        steps: Validation score after each epoch, from 1.
    """

    values: dict[str, Any]
    state: Literal["completed", "stopped", "diverged"]
    value: float | None = None
    steps: dict[int, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """The trial's score, larger is better: its last one, `WORST` if it diverged or never had one."""
        if self.state == "diverged":
            return WORST
        if self.value is not None:
            return self.value
        return self.steps[max(self.steps)] if self.steps else WORST


def past_trial(trial: TrialRecord, steps: dict[int, float] | None = None) -> PastTrial:
    """Return a finished trial that did not fail as a sampler sees it."""
    assert trial.state in ("completed", "stopped", "diverged")
    return PastTrial(values=trial.values, state=trial.state, value=trial.val, steps=steps or {})


class Sampler(ABC):
    """Proposes the values of an arm's next trial. Subclasses take keyword-only options.

    Attributes:
        learns: Whether proposals depend on the history; if so the first trials of an arm are random
            (`propose`).
    """

    learns: ClassVar[bool]

    @abstractmethod
    def propose(
        self, space: Mapping[str, Range], history: Sequence[PastTrial], *, index: int, seed: int
    ) -> dict[str, Any]:
        """Return one plain value for each path of ``space``: a pure function of the arguments.

        Args:
            space: Ranges by dotted path.
            history: Finished trials of the arm that this proposal may depend on, in order of their index.
            index: Number of the trial within the arm, from 0.
            seed: Of the sampler's own draws.
        """


def propose(  # noqa: PLR0913 - all that a proposal depends on
    sampler: Sampler,
    space: Mapping[str, Range],
    history: Sequence[PastTrial],
    *,
    arm: str,
    index: int,
    startup: int,
    seed: int,
) -> dict[str, Any]:
    """Return the values of trial ``index`` of an arm: random while the sampler has nothing to learn from.

    Args:
        sampler: Proposes the trials after the start-up.
        space: The arm's ranges.
        history: What the proposal may see, in order of index; not looked at during the start-up.
        arm: ``transfer/policy``.
        index: Number of the trial within the arm, from 0.
        startup: Trials at the arm's start that are random; no effect on a sampler that does not learn.
        seed: The study's.
    """
    transfer = ArmId.parse(arm).transfer
    if sampler.learns and index < startup:
        return startup_values(space, seed=seed, transfer=transfer, index=index)
    # Without learning, the arms of one transfer may as well keep sharing their draws to the end.
    stream = arm if sampler.learns else transfer
    return sampler.propose(space, history, index=index, seed=derive(seed, "sampler", stream))


def startup_values(space: Mapping[str, Range], *, seed: int, transfer: str, index: int) -> dict[str, Any]:
    """Return random values, each from a stream of its own (seed, transfer, path, index).

    So arms of one transfer draw the same values for the paths they have in common, whatever else each
    searches.
    """
    return draw(space, derive(seed, "startup", transfer), index)


def draw(space: Mapping[str, Range], seed: int, index: int) -> dict[str, Any]:
    """Return random values, each from a stream of its own (seed, path, index)."""
    return {path: span.at(derive(seed, path, index) / 2**53) for path, span in space.items()}
