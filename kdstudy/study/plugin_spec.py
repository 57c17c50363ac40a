"""A plug-in with its options as the study file names it, and how values are written there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kdstudy.study.space import Choice, Int, Log, Uniform


@dataclass(frozen=True)
class PluginSpec:
    """A plug-in and its options. A study file writes ``name`` or ``{name: {option: value}}``.

    Args:
        name: Registered name, or ``package.module:Name``.
        options: Every option of the plug-in, defaults filled in; plain values (lists, not tuples).
        label: What the study calls it, so that a transfer or a policy may be listed in several variants.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    label: str | None = None

    @property
    def called(self) -> str:
        """What arms, values and results are named after: the label, or else the name."""
        return self.label or self.name

    @property
    def title(self) -> str:
        """The name in a sentence: with that of what it stands for, if its option ``name`` says it."""
        inner = self.options.get("name")
        return f"{self.name} {inner}" if isinstance(inner, str) else self.name

    def to_yaml(self) -> Any:
        """Return the plug-in as a study file writes it, ranges included."""
        label = {} if self.label is None else {"label": self.label}
        written = {**label, **{name: plain(value) for name, value in self.options.items()}}
        return {self.name: written} if written else self.name


def plain(value: Any) -> Any:
    """Return ``value`` as a study file writes it: ranges and plug-ins in their notation, tuples as lists."""
    if isinstance(value, PluginSpec | Uniform | Log | Int | Choice):
        return value.to_yaml()
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def written_name(value: Any) -> str | None:
    """Return the name of a plug-in written ``name`` or ``{name: {option: value}}``; None if it is neither."""
    name = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else value
    return name if isinstance(name, str) else None
