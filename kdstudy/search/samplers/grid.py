"""Grid search over ranges that can be counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

from kdstudy.search.samplers.base import PastTrial, Sampler
from kdstudy.seeds import derive
from kdstudy.study import Choice, Int, Range, flow_text


@final
class GridSampler(Sampler):
    """Visit every combination of the ranges once, in shuffled order, then all of them again.

    Only ``int`` and ``choice`` ranges can be counted. A budget below the size of the grid visits a random
    part of it; a budget above goes round again, in the same order, where each trial has an initialisation
    of its own: repeats measure the noise. There is no random start-up, and arms of one transfer that search
    the same paths visit their grids in the same order.
    """

    learns = False

    def propose(
        self, space: Mapping[str, Range], history: Sequence[PastTrial], *, index: int, seed: int
    ) -> dict[str, Any]:
        """Return the combination at place ``index`` of the shuffled grid; the history is not looked at.

        Raises:
            ValueError: A range of real numbers.
        """
        options = {path: _options(path, span) for path, span in space.items()}
        size = math.prod(len(values) for values in options.values())
        place = _shuffled(index % size, size, seed)
        values = {}
        for path, choices in options.items():
            place, digit = divmod(place, len(choices))
            values[path] = choices[digit]
        return values


def _options(path: str, span: Range) -> Sequence[Any]:
    if isinstance(span, Int):
        return range(span.low, span.high + 1)
    if isinstance(span, Choice):
        return span.options
    raise ValueError(f"{path}: the grid sampler needs int or choice, got {flow_text(span.to_yaml())}")


def _shuffled(index: int, size: int, seed: int) -> int:
    """Return the number at place ``index`` of 0 .. ``size`` - 1 in shuffled order (Fisher & Yates)."""
    moved: dict[int, int] = {}
    for place in range(index + 1):
        other = place + derive(seed, "grid", place) % (size - place)
        chosen = moved.get(other, other)
        moved[other] = moved.get(place, place)
    return chosen
