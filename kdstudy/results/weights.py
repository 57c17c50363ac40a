"""Files of weights that networks begin with, as records name them: name of the weights to sha256 of the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

_OTHER = re.compile(r" @[0-9a-f]{12}$")


class ChangedWeights(NamedTuple):
    """Weights of one name that are in another file than they were.

    Attributes:
        name: Of the weights.
        recorded: The sha256 of the file that was.
        here: Of the one that is.
    """

    name: str
    recorded: str
    here: str


def weights_together(each: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the weights of several networks as one mapping.

    Where two files bear one name (``a/best.pt`` and ``b/best.pt``), the second is ``best.pt @`` and the first twelve
    digits of its sha256.
    """
    found: dict[str, str] = {}
    for name, sha256 in (item for named in each for item in named.items()):
        plain = _plain(name)
        apart = plain if found.get(plain, sha256) == sha256 else f"{plain} @{sha256[:12]}"
        found[apart] = sha256
    return found


def weights_changed(recorded: Mapping[str, str], here: Mapping[str, str]) -> Iterator[ChangedWeights]:
    """Yield weights whose file is none of those recorded under its name.

    What only one side knows is no change; earlier versions recorded one file of each name, and not those of every
    student.
    """
    for name in dict.fromkeys(map(_plain, here)):
        known, found = _files(recorded, name), _files(here, name)
        strange = [sha256 for sha256 in found if sha256 not in known]
        if known and len(strange) > max(0, len(found) - len(known)):
            yield from (ChangedWeights(name, known[0], sha256) for sha256 in strange)


def _files(weights: Mapping[str, str], name: str) -> list[str]:
    return [sha256 for other, sha256 in weights.items() if _plain(other) == name]


def _plain(name: str) -> str:
    return _OTHER.sub("", name)
