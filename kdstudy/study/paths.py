"""Every value of a study or a trial by its dotted path, as the study file spells it; an arm's plug-ins by their labels.

Samplers, MLflow's parameters, reports and warm starts name values by these paths, so that one value has one name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from kdstudy.study.plugin_spec import PluginSpec, plain
from kdstudy.study.trial_config import TrialConfig

Section = TypeVar("Section", bound=Any)

TRANSFERS, POLICIES = "arms.transfers", "arms.policies"


def flatten(config: TrialConfig) -> dict[str, Any]:
    """Return every value of a trial by path: plain values, each once.

    A plug-in stands under its key by name, ``train.schedule: cosine``, its options below it,
    ``train.schedule.multistep.gamma``. ``transfer`` and ``policy`` are the arm; their options stand below
    ``arms.transfers.LABEL`` and ``arms.policies.LABEL``, and what a label stands for is the value there.
    """
    flat: dict[str, Any] = {"transfer": config.transfer.called, "policy": config.policy.called}
    for path, spec in ((TRANSFERS, config.transfer), (POLICIES, config.policy)):
        if spec.label is not None:
            flat[f"{path}.{spec.label}"] = spec.name
        flat.update(plugin_leaves(path, spec))
    rest = {field.name: getattr(config, field.name) for field in fields(config)}
    for name, value in rest.items():
        if name not in ("transfer", "policy"):
            flat.update(section_leaves(name, value) if is_dataclass(value) else {name: value})
    return {path: value.name if isinstance(value, PluginSpec) else plain(value) for path, value in flat.items()}


def section_leaves(path: str, section: Any) -> Iterator[tuple[str, Any]]:
    """Yield what stands in a section by path, ranges included; after a plug-in its options."""
    for field in fields(section):
        inner, value = f"{path}.{field.name}", getattr(section, field.name)
        yield inner, value
        if isinstance(value, PluginSpec):
            yield from plugin_leaves(inner, value)


def plugin_leaves(path: str, spec: PluginSpec) -> Iterator[tuple[str, Any]]:
    """Yield the options of a plug-in by path, ranges included."""
    for name, value in spec.options.items():
        yield f"{path}.{spec.called}.{name}", value


def fill_section(path: str, section: Section, filled: Mapping[str, Any]) -> Section:
    """Return a section with what ``filled`` holds for its paths in place of its ranges."""
    values = {}
    for field in fields(section):
        inner, value = f"{path}.{field.name}", getattr(section, field.name)
        if inner in filled:
            values[field.name] = filled[inner]
        elif isinstance(value, PluginSpec):
            values[field.name] = fill_plugin(inner, value, filled)
    return replace(section, **values)


def fill_plugin(path: str, spec: PluginSpec, filled: Mapping[str, Any]) -> PluginSpec:
    """Return a plug-in with what ``filled`` holds for its options' paths in place of their ranges."""
    leaves = zip(spec.options, plugin_leaves(path, spec), strict=True)
    return replace(spec, options={name: filled.get(inner, value) for name, (inner, value) in leaves})
