"""Random search: the control for every other sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from kdstudy.search.samplers.base import PastTrial, Sampler, draw
from kdstudy.study import Range


@final
class RandomSampler(Sampler):
    """Draw every value independently of all trials before.

    Arms of one transfer draw the same values for the paths they have in common, in all their trials.

    Source: Bergstra & Bengio 2012, Random Search for Hyper-Parameter Optimization, JMLR 13.
    """

    learns = False

    def propose(
        self, space: Mapping[str, Range], history: Sequence[PastTrial], *, index: int, seed: int
    ) -> dict[str, Any]:
        """Return values drawn from streams of (seed, path, index); the history is not looked at."""
        return draw(space, seed, index)
