"""Collects the problems of a study file with their lines, and prints them as one list."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Steps = tuple[str | int, ...]

UNREADABLE = object()
"""Stands where a value could not be read; the problem is noted already, nothing more is said about it."""


@dataclass(frozen=True)
class Place:
    """A spot in a study.

    Args:
        steps: Keys and list positions that lead to it from the top of the file.
        name: What people call it: the dotted path, also the key of a searched value.
    """

    steps: Steps = ()
    name: str = ""

    def key(self, key: str) -> Place:
        """Return the place of a mapping's ``key``."""
        return Place((*self.steps, key), f"{self.name}.{key}" if self.name else key)

    def item(self, index: int) -> Place:
        """Return the place of a list's item."""
        return Place((*self.steps, index), f"{self.name}[{index}]")

    def entry(self, index: int, key: str) -> Place:
        """Return the place of ``key`` in a list's item, named without the position: they differ."""
        return Place((*self.steps, index, key), f"{self.name}.{key}")


@dataclass
class Problems:
    """The problems found so far.

    Args:
        where: The file, or what else is being read.
        lines: Line of each place in the file, from 1; empty if it is not a file.

    Attributes:
        cause: The first error of a user's code behind one of them.
    """

    where: str
    lines: Mapping[Steps, int] = field(default_factory=dict)
    cause: BaseException | None = None
    _found: list[tuple[bool, int, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, place: Place, message: str, *, unknown: bool = False) -> None:
        """Note one problem.

        Args:
            place: Where it is.
            message: ``what is wrong, what was got; what to do``.
            unknown: Whether it is a key or name that does not exist; these are told first, for they often
                explain the rest.
        """
        line = self._line(place.steps)
        where = f"{self.where}:{line}" if line else self.where
        field_name = f" {place.name}:" if place.name else ""
        self._found.append((not unknown, line, f"{where}:{field_name} {message}"))

    def told(self) -> list[str]:
        """Return one line per problem: unknown names first, then in file order; the same line only once."""
        ordered = sorted(self._found, key=lambda problem: problem[:2])
        return list(dict.fromkeys(_one_line(text) for *_, text in ordered))

    def _line(self, steps: Steps) -> int:
        for end in range(len(steps), -1, -1):
            if steps[:end] in self.lines:
                return self.lines[steps[:end]]
        return 0


def _one_line(text: str) -> str:
    """Return ``text`` on one line, what no terminal should be sent (escape codes and the like) spelt out."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in " ".join(text.split())
    )


def show(value: Any) -> str:
    """Return ``value`` as a message quotes it: short, on one line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
