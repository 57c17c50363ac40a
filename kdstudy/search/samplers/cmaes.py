"""CMA-ES: an evolving normal distribution over the numeric ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, final

from annotated_types import Ge

from kdstudy.search.samplers.base import PastTrial, Sampler, draw
from kdstudy.seeds import derive
from kdstudy.study import Choice, Range

if TYPE_CHECKING:
    import cmaes  # type: ignore[import-untyped]  # ships no types

SIGMA = 1 / math.sqrt(12)
"""Standard deviation of a uniform draw: start-up trials then resemble a sample of the first generation."""


@final
class CmaEsSampler(Sampler):
    """Propose from a normal distribution that follows the better half of each generation of trials.

    Source: Hansen 2016, The CMA Evolution Strategy: A Tutorial, arXiv 1604.00772, by the package ``cmaes``,
    the engine of Optuna's CmaEsSampler. That sampler keeps its state in a store; here the state is folded
    from the history anew for each proposal: trials in order of index, start-up included, ``population`` of
    them a generation. Trials proposed from an earlier generation count for the present one. Every range is
    mapped to [0, 1] by its quantiles, so ``log`` ranges are searched in the logarithm; ``int`` values are
    rounded. ``choice`` ranges have no order and stay random. A stopped trial counts with its last score, a
    diverged one as 0. A distribution that has collapsed starts afresh.

    Args:
        population: Trials of one generation, at least 2; None for 4 + 3 ln d, rounded down, with d numeric
            ranges.
    """

    learns = True

    def __init__(self, *, population: Annotated[int, Ge(2)] | None = None) -> None:
        self.population = population

    def propose(
        self, space: Mapping[str, Range], history: Sequence[PastTrial], *, index: int, seed: int
    ) -> dict[str, Any]:
        """Return a draw from the distribution that the history leads to."""
        numeric = {path: span for path, span in space.items() if not isinstance(span, Choice)}
        values = draw({path: span for path, span in space.items() if path not in numeric}, seed, index)
        if numeric:
            optimizer = self._fresh(len(numeric), derive(seed, "cmaes", index) % 2**32)
            size = optimizer.population_size
            for first in range(0, len(history) - size + 1, size):
                generation = history[first : first + size]
                optimizer.tell([(_position(numeric, trial), -trial.score) for trial in generation])
                if optimizer.should_stop():
                    optimizer = self._fresh(len(numeric), derive(seed, "cmaes", index) % 2**32)
            drawn = zip(numeric.items(), optimizer.ask().tolist(), strict=True)
            values.update({path: span.at(u) for (path, span), u in drawn})
        return {path: values[path] for path in space}

    def _fresh(self, dimensions: int, seed: int) -> cmaes.CMA:
        import cmaes
        import numpy as np

        # The seed rules `ask` alone; `tell` draws nothing, so the fold is the same for every index.
        return cmaes.CMA(
            mean=np.full(dimensions, 0.5),
            sigma=SIGMA,
            seed=seed,
            population_size=self.population,
            bounds=np.tile([0.0, 1.0], (dimensions, 1)),
        )


def _position(numeric: Mapping[str, Any], trial: PastTrial) -> Any:
    import numpy as np

    return np.array([span.position(trial.values[path]) for path, span in numeric.items()])
