"""Ranges (`uniform`, `log`, `int`, `choice`): what a study file writes where the search chooses the value.

A study file writes ``{uniform: [a, b]}``, ``{log: [a, b]}``, ``{int: [a, b]}`` or ``{choice: [...]}``.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

from typing_extensions import override


class RangeError(ValueError):
    """A range that cannot be: carries all that is wrong, each ``what is wrong, what was got; what to do``."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class _Real(ABC):
    """What ranges of real numbers share; how draws spread over them differs."""

    kind: ClassVar[str]
    low: float
    high: float

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise RangeError(problems)
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))

    def _problems(self) -> list[str]:
        return _number_problems(self.low, self.high)

    @abstractmethod
    def at(self, u: float) -> float:
        """Return the value below which a share ``u`` in [0, 1) of the draws falls."""

    @abstractmethod
    def position(self, value: float) -> float:
        """Return the share of draws below ``value``, in [0, 1]: the inverse of `at`."""

    def ends(self) -> tuple[float, float]:
        """Return both ends."""
        return self.low, self.high

    def contains(self, value: Any) -> bool:
        """Say whether ``value`` is one of the range's values."""
        return _is_number(value) and self.low <= value <= self.high

    def fill(self, value: float) -> float:
        """Return what a trial's configuration holds for ``value``."""
        return float(value)

    def to_yaml(self) -> dict[str, list[float]]:
        """Return the range as a study file writes it."""
        return {self.kind: [self.low, self.high]}


@final
@dataclass(frozen=True)
class Uniform(_Real):
    """Real numbers, every one as likely as any other.

    Args:
        low: Smallest value, finite.
        high: Largest value, finite, above ``low``.

    Raises:
        RangeError: The ends do not make a range.
    """

    kind = "uniform"

    @override
    def at(self, u: float) -> float:
        # A weighted mean, not low + u * (high - low): the difference of two finite numbers may be infinite.
        return min(max((1 - u) * self.low + u * self.high, self.low), self.high)

    @override
    def position(self, value: float) -> float:
        return (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)


@final
@dataclass(frozen=True)
class Log(_Real):
    """Positive real numbers, every order of magnitude as likely as any other.

    Args:
        low: Smallest value, finite, above 0.
        high: Largest value, finite, above ``low``.

    Raises:
        RangeError: The ends do not make a range.
    """

    kind = "log"

    @override
    def _problems(self) -> list[str]:
        problems = super()._problems()
        if _is_number(self.low) and self.low <= 0:
            problems.append(
                f"the low end of a log range must be greater than 0, got {self.low}; raise it, or use uniform"
            )
        return problems

    @override
    def at(self, u: float) -> float:
        if u in {0, 1}:  # exactly the ends, which a logarithm and back may miss
            return self.low if u == 0 else self.high
        value = math.exp((1 - u) * math.log(self.low) + u * math.log(self.high))
        return min(max(value, self.low), self.high)

    @override
    def position(self, value: float) -> float:
        return math.log(value / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True)
class Int:
    """Whole numbers, every one as likely as any other.

    Args:
        low: Smallest value.
        high: Largest value, above ``low``.
        real: Whether what is searched is a real number, so that a trial holds 2.0 where 2 was drawn.

    Raises:
        RangeError: The ends do not make a range.
    """

    low: int
    high: int
    real: bool = False

    def __post_init__(self) -> None:
        problems = [
            f"the ends of an int range must be whole numbers, got {_show(end)}; write whole numbers, or use uniform"
            for end in (self.low, self.high)
            if not isinstance(end, int) or isinstance(end, bool)
        ]
        if problems:
            raise RangeError(problems)
        if problems := _order_problems(self.low, self.high):
            raise RangeError(problems)

    def __len__(self) -> int:
        return self.high - self.low + 1

    def at(self, u: float) -> int:
        """Return the value below which a share ``u`` in [0, 1) of the draws falls."""
        return min(self.low + int(u * len(self)), self.high)

    def position(self, value: int) -> float:
        """Return the middle of the share of draws that gives ``value``, in (0, 1)."""
        return (value - self.low + 0.5) / len(self)

    def ends(self) -> tuple[int, int]:
        """Return both ends."""
        return self.low, self.high

    def contains(self, value: Any) -> bool:
        """Say whether ``value`` is one of the range's values."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def fill(self, value: int) -> int | float:
        """Return what a trial's configuration holds for ``value``."""
        return float(value) if self.real else value

    def to_yaml(self) -> dict[str, list[int]]:
        """Return the range as a study file writes it."""
        return {"int": [self.low, self.high]}


@dataclass(frozen=True)
class Choice:
    """One of a list of values, every one as likely as any other. Samplers address them by index.

    Args:
        options: Two or more different plain values: scalars, lists or mappings.
        filled: What a trial holds for each option, where that is not the option itself: plug-ins with their
            defaults filled in.

    Raises:
        RangeError: Too few options, or one given twice.
    """

    options: tuple[Any, ...]
    filled: tuple[Any, ...] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        problems = []
        if len(self.options) < 2:
            problems.append(
                f"a choice needs at least 2 options, got {len(self.options)}; add another, or write the value itself"
            )
        texts = [_json(option) for option in self.options]
        for text in sorted({text for text in texts if texts.count(text) > 1}):
            problems.append(
                f"a choice must not repeat an option, got {text} {texts.count(text)} times; keep one of them"
            )
        if problems:
            raise RangeError(problems)

    def __len__(self) -> int:
        return len(self.options)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each option: a string is its own, anything else is compact JSON text."""
        return tuple(option if isinstance(option, str) else _json(option) for option in self.options)

    def at(self, u: float) -> Any:
        """Return the option below which a share ``u`` in [0, 1) of the draws falls."""
        return self.options[min(int(u * len(self)), len(self) - 1)]

    def index(self, value: Any) -> int:
        """Return the place of ``value`` among the options.

        Raises:
            ValueError: It is none of them.
        """
        return [_json(option) for option in self.options].index(_json(value))

    def ends(self) -> tuple[Any, ...]:
        """Return all options: a choice has no order."""
        return self.options

    def contains(self, value: Any) -> bool:
        """Say whether ``value`` is one of the options; 1, 1.0, true and "1" are four different values."""
        return _json(value) in [_json(option) for option in self.options]

    def fill(self, value: Any) -> Any:
        """Return what a trial's configuration holds for ``value``."""
        return (self.filled or self.options)[self.index(value)]

    def to_yaml(self) -> dict[str, list[Any]]:
        """Return the range as a study file writes it."""
        return {"choice": list(self.options)}


Range = Uniform | Log | Int | Choice


def ends_of(value: Any) -> tuple[Any, ...]:
    """Return the ends of a range, of anything else itself."""
    return value.ends() if isinstance(value, Range) else (value,)


def _number_problems(low: Any, high: Any) -> list[str]:
    problems = [
        f"the ends of a range must be finite numbers, got {_show(end)}; write numbers"
        for end in (low, high)
        if not _is_number(end)
    ]
    return problems or _order_problems(low, high)


def _order_problems(low: float, high: float) -> list[str]:
    if low == high:
        return [f"the ends of a range must differ, got {low} twice; write the value itself"]
    if low > high:
        return [f"the low end must come first, got [{low}, {high}]; write [{high}, {low}]"]
    return []


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the largest float
        return False


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _show(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
