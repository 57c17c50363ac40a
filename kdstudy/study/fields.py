"""Reads the keys of a section from its dataclass: type, default, and the `Key` that documents it."""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from dataclasses import dataclass
from typing import Any

from kdstudy.plugins import (
    AUGMENTATIONS,
    DATASETS,
    MODELS,
    OPTIMIZERS,
    POLICIES,
    PRUNERS,
    SAMPLERS,
    SCHEDULES,
    TRANSFERS,
)
from kdstudy.study.diagnostics import show

REGISTRIES = {
    registry.kind: registry
    for registry in (MODELS, TRANSFERS, POLICIES, SAMPLERS, OPTIMIZERS, SCHEDULES, PRUNERS, DATASETS, AUGMENTATIONS)
}

LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""What a study file may call a variant of a transfer or of a policy."""


@dataclass(frozen=True, eq=False)
class Key:
    """Metadata of one key, written in its ``Annotated``; hashable whatever its example is.

    Args:
        meaning: One sentence for people: unit, what the ends mean.
        example: A value that is right, shown when one is wrong.
        ranged: Whether a range may stand here.
        plugin: The kind of plug-in that the key names; None for plain values.
    """

    meaning: str
    example: Any = None
    ranged: bool = False
    plugin: str | None = None

    @property
    def labelled(self) -> bool:
        """Whether the plug-ins listed are compared, so that the study file may call each by a ``label`` of its own."""
        return self.plugin in ("transfer", "policy")


@dataclass(frozen=True)
class Field:
    """One key of a section, as its dataclass declares it.

    Args:
        name: As written in the file.
        annotation: The value's type with its bounds.
        key: Its metadata.
        default: Taken when the file is silent; ``dataclasses.MISSING`` if it may not be.
    """

    name: str
    annotation: Any
    key: Key
    default: Any

    @property
    def required(self) -> bool:
        """Whether the file must say it."""
        return self.default is dataclasses.MISSING

    @property
    def section(self) -> type | None:
        """The dataclass of a nested section; None for a value."""
        bare = typing.get_args(self.annotation)[0]
        nested = isinstance(bare, type) and dataclasses.is_dataclass(bare) and not self.key.plugin
        return bare if nested else None

    @property
    def many(self) -> bool:
        """Whether the key holds a list of plug-ins."""
        return self.key.plugin is not None and any(typing.get_origin(kind) is tuple for kind in self._kinds)

    @property
    def switched(self) -> bool:
        """Whether true or false may stand in place of a list of plug-ins."""
        return self.many and bool in self._kinds

    @property
    def _kinds(self) -> tuple[Any, ...]:
        bare = typing.get_args(self.annotation)[0]
        return typing.get_args(bare) if isinstance(bare, types.UnionType) else (bare,)


@functools.cache
def fields_of(section: type) -> dict[str, Field]:
    """Return the keys of ``section``, a dataclass, in order; a field without a `Key` is not in the file."""
    hints = typing.get_type_hints(section, include_extras=True)
    found = {}
    for field in dataclasses.fields(section):
        extras = getattr(hints[field.name], "__metadata__", ())
        key = next((extra for extra in extras if isinstance(extra, Key)), None)
        if key is None:
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found[field.name] = Field(field.name, hints[field.name], key, default)
    return found


def hint(key: Key, default: Any) -> str:
    """Return how a message about a wrong value ends: what would be right, if that is known."""
    if key.example is not None:
        return f"; write for example {show(key.example)}"
    if default is dataclasses.MISSING:
        return ""
    return f"; leave it out for {show(default)}"


def label_problem(kind: str, label: Any) -> str | None:
    """Return what is wrong with the label of a transfer or a policy; None if nothing is."""
    if isinstance(label, str) and LABEL.fullmatch(label) and label not in REGISTRIES[kind]:
        return None
    return (
        f"must be letters, digits, _ and -, a letter first, and no {kind}'s name, got {show(label)}; "
        "write for example strong"
    )
