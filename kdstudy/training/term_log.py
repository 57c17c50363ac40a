"""Every value of each term of the loss in one epoch, left on the device: to tell where one was not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from kdstudy.results import count_of

_LOOSE = 128
"""So many numbers are gathered into one tensor: each alone would take a block of device memory."""
_NAMED = 3
"""More terms than these are counted."""


@final
class TermLog:
    """The terms of an epoch's steps. Adding to it waits for nothing and computes nothing; only `trouble` reads it."""

    def __init__(self) -> None:
        self._gathered: dict[str, list[Tensor]] = {}
        self._loose: dict[str, list[Tensor]] = {}

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Note a step's terms, each a scalar; every step has the same ones."""
        for name, value in terms.items():
            loose = self._loose.setdefault(name, [])
            loose.append(value)
            if len(loose) == _LOOSE:
                self._gather(name)

    def trouble(self, epoch: int) -> str | None:
        """Return which terms were the first that were not finite, and in which step; None where all always were.

        Args:
            epoch: Which it was, from 1.
        """
        first: dict[str, tuple[int, float]] = {}
        for name in self._loose:
            self._gather(name)
            values = torch.cat(self._gathered[name]).tolist()
            found = next(((step, value) for step, value in enumerate(values, 1) if not math.isfinite(value)), None)
            if found is not None:
                first[name] = found
        if not first:
            return None
        step = min(at for at, _ in first.values())
        terms = {name: value for name, (at, value) in first.items() if at == step}
        return f"{_named(terms)} in epoch {epoch}, step {step}"

    def _gather(self, name: str) -> None:
        if self._loose[name]:
            self._gathered.setdefault(name, []).append(torch.stack(self._loose[name]))
            self._loose[name] = []


def _named(terms: Mapping[str, float]) -> str:
    """Return what of the loss was not finite: ``the term "attention" of the loss was nan``."""
    names = [f'"{name}"' for name in terms]
    if len(names) == 1:
        return f"the term {names[0]} of the loss was {next(iter(terms.values()))}"
    shown = ", ".join(names[:_NAMED])
    if len(names) > _NAMED:
        shown += f" and {count_of(len(names) - _NAMED, 'more', 'more')}"
    values = {str(value) for value in terms.values()}
    return f"the terms {shown} of the loss were {values.pop() if len(values) == 1 else 'not finite'}"
