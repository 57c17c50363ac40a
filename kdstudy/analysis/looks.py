"""p values of a study that may be looked at after every further search, up to a number declared in advance.

Who adds searches one by one and stops at the first p below 0.05 is wrong more often than once in twenty. So where
``confirm.at_most: M`` declares the looks, p becomes the chance, without a difference, that the t test over searches has
so small a p at *any* look: after R, R + 1, ..., M searches, R being ``confirm.searches``. It is the same whichever of
these looks it is taken at, so one may stop at any of them. Pocock's (1977) equal levels, here for t tests after every
search. The chance was computed once from simulated normal paths (``benchmarks/looks.py``) and is kept in
``looks.json``; between its levels a monotone curve is drawn through it on the scale log(-log(1 - p)), on which looks
that had nothing to do with each other would lie on a straight line.

Looks begin at three searches, since fewer never give a verdict: with ``searches: 1`` or ``2`` the first is that after
the third. The table ends at 20 searches.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from kdstudy.study import MAX_LOOKS, MIN_SEARCHES

FIRST_LOOK = MIN_SEARCHES
"""The fewest searches that are looked at."""
LAST_LOOK = MAX_LOOKS
"""The most searches that the table knows, hence the largest ``confirm.at_most``."""

Sides = Literal["two_sided", "one_sided"]
"""Of the test: two for better or worse, one for a difference no larger than a margin."""


def looks_problem(searches: int, at_most: int) -> str | None:
    """Return what is wrong with ``confirm.at_most``, in one line without its place; None if nothing is.

    Args:
        searches: ``confirm.searches``, at least 1.
        at_most: ``confirm.at_most``.
    """
    least = max(searches, FIRST_LOOK)
    if least > LAST_LOOK:
        return (
            f"goes with at most {LAST_LOOK} searches, got {searches}; leave at_most out: "
            "so many searches are judged once, when all are done"
        )
    if least <= at_most <= LAST_LOOK:
        return None
    reason = "confirm.searches" if searches >= FIRST_LOOK else "the fewest for a verdict"
    return f"must be from {least} ({reason}) to {LAST_LOOK} searches, got {at_most}; write for example {LAST_LOOK}"


def looks_p(p: float, searches: int, at_most: int, sides: Sides = "two_sided") -> float:
    """Return the chance, without a difference, of so small a p at any look from ``searches`` to ``at_most`` searches.

    Below the table's smallest level (3e-5) it is bounded by the number of looks times p, so never too small.

    Args:
        p: Of the t test at one of these looks, in [0, 1].
        searches: The searches declared, at least 1; looks begin at 3 of them.
        at_most: The last look, at most 20.
        sides: Of the test that gave p.

    Returns:
        At least p; p itself if there is one look.

    Raises:
        ValueError: The table has no such looks (see `looks_problem`), or p lies outside [0, 1].
    """
    problem = looks_problem(searches, at_most)
    if problem or not 0 <= p <= 1:
        raise ValueError(f"at_most {problem}" if problem else f"{p} is no p value")
    first = max(searches, FIRST_LOOK)
    if first == at_most or p in (0.0, 1.0):
        return p
    curve = _curve(first, at_most, sides)
    bound = min(1.0, p * (at_most - first + 1))
    chance = -math.expm1(-math.exp(float(curve(max(_stretch(p), curve.x[0])))))
    return max(p, min(bound, chance))


def nominal_level(level: float, searches: int, at_most: int) -> float:
    """Return the level of each look that makes ``level`` of all: the p whose two-sided `looks_p` is ``level``.

    Args:
        level: In (0, 1).
        searches: The searches declared.
        at_most: The last look.

    Raises:
        ValueError: The table has no such looks.
    """
    from scipy import optimize

    def excess(logarithm: float) -> float:
        return looks_p(math.exp(logarithm), searches, at_most) - level

    # One look keeps its level, m looks keep more than level / m.
    lowest = math.log(level / (LAST_LOOK - FIRST_LOOK + 2))
    return math.exp(optimize.brentq(excess, lowest, math.log(level) + 1e-9, xtol=1e-12))


@lru_cache(maxsize=64)
def _curve(first: int, last: int, sides: Sides) -> Any:
    """Return the stretched chance at any look as a monotone function of the stretched level of each look."""
    from scipy.interpolate import PchipInterpolator

    table = _table()
    chances = table[sides][f"{first}..{last}"]
    return PchipInterpolator([*map(_stretch, table["levels"])], [*map(_stretch, chances)])


def _stretch(p: float) -> float:
    """Return log(-log(1 - p)), for a p of 1 that of the next best."""
    return math.log(-math.log1p(-min(p, 1 - 1e-9)))


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    text = resources.files("kdstudy.analysis").joinpath("looks.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
