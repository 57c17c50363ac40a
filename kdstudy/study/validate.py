"""Validates the fields of a study file: keys, types, bounds, ranges and plug-in options; collects every problem.

A section becomes a dictionary of its valid fields, so that `checks` can continue with those. Not pydantic models: a
prototype reported 17 of the 69 mistakes in test_load_study.py at their place, without lines and nearest names.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic.errors import PydanticSchemaGenerationError

from kdstudy.errors import PluginError
from kdstudy.plugins import Option, Registry, declaration
from kdstudy.study.coerce import accepts, check, is_plain, takes_list, takes_mapping, to_plain
from kdstudy.study.diagnostics import UNREADABLE, Place, Problems, show
from kdstudy.study.fields import REGISTRIES, Field, Key, fields_of, hint, label_problem
from kdstudy.study.notation import rewritten
from kdstudy.study.other_names import unknown_key, unknown_option
from kdstudy.study.plugin_spec import PluginSpec, written_name
from kdstudy.study.range_notation import is_range, range_meant, read_range, repetition
from kdstudy.study.space import Choice, Int, Range, RangeError

Parsed = dict[str, Any]

INVALID = object()
"""Stands for a value that was wrong; the problem is noted."""


@dataclass
class Reader:
    """Reads sections and notes what is wrong.

    Args:
        problems: Where it is noted.
        refusal: Why no range may stand anywhere; None where those of ``ranged`` keys may.
        recorded: Whether a record is read, which may spell options as earlier versions did (`Earlier`).
        silent_then: Whether what it leaves out takes the default of then.
        holes: Every range read, by dotted path, with its place.
    """

    problems: Problems
    refusal: str | None = None
    recorded: bool = False
    silent_then: bool = False
    holes: dict[str, tuple[Place, Range]] = field(default_factory=dict)

    def section(self, kind: type, tree: Any, place: Place) -> Parsed:
        """Return the valid fields of section ``kind``; nested sections as dictionaries too."""
        if not isinstance(tree, dict):
            if tree is not UNREADABLE:
                self.problems.add(place, f"must be a section of keys, got {show(tree)}; write key: value below it")
            return {}
        fields = fields_of(kind)
        for name in [key for key in tree if key not in fields]:
            self.problems.add(place.key(name), unknown_key(name, fields, place.name), unknown=True)
        parsed: Parsed = {}
        for name, declared in fields.items():
            value = self._field(declared, tree, place)
            if value is not INVALID:
                parsed[name] = value
        return parsed

    def _field(self, declared: Field, tree: Mapping[str, Any], place: Place) -> Any:
        inner = place.key(declared.name)
        if declared.name not in tree:
            if declared.required:
                meaning = declared.key.meaning.rstrip(".")
                self.problems.add(
                    inner,
                    f"missing ({meaning[0].lower() + meaning[1:]})"
                    f"{hint(declared.key, declared.default) or '; add this section'}",
                )
                return INVALID
            return self.section(declared.section, {}, inner) if declared.section else _filled(declared)
        value = tree[declared.name]
        if declared.section:
            return self.section(declared.section, value, inner)
        if declared.many:
            return self._plugins(declared, value, inner)
        if declared.key.plugin:
            return self._plugin_or_range(declared.key, value, inner)
        return self._value(declared.annotation, declared.key, declared.default, value, inner)

    def _value(self, annotation: Any, key: Key, default: Any, value: Any, place: Place) -> Any:
        if is_range(value) and not takes_mapping(annotation):
            return self._range(annotation, key, default, value, place)
        own = isinstance(value, list) and takes_list(annotation)
        meant = range_meant(value) if key.ranged and not own else None
        return self._plain(annotation, hint(key, default), value, place, instead=meant)

    def _plain(
        self, annotation: Any, example: str, value: Any, place: Place, *, prefix: str = "", instead: str | None = None
    ) -> Any:
        if value is UNREADABLE:
            return INVALID
        try:
            checked, messages = check(annotation, value)
        except PydanticSchemaGenerationError:
            self.problems.add(
                place, "the plug-in declares a type that no study file can write; annotate the option with plain types"
            )
            return INVALID
        if messages and (meant := rewritten(annotation, value)):
            example, instead = f"; write {meant}", None
        for message in messages[:1] if instead else messages:
            self.problems.add(place, instead or f"{prefix}{message}{example}")
        return INVALID if messages else checked

    def _range(self, annotation: Any, key: Key, default: Any, value: dict[str, Any], place: Place) -> Any:
        span = self._open_range(key, value, place)
        if span is INVALID:
            return INVALID
        written = next(iter(value.values()))
        example = hint(key, default)
        ends = [self._plain(annotation, example, end, place, prefix="in the range: ") for end in written]
        if any(end is INVALID for end in ends):
            return INVALID
        if isinstance(span, Choice):
            return self._choice(span, ends, place)
        if isinstance(span, Int):
            return self._note(replace(span, real=isinstance(ends[0], float)), place)
        if not accepts(annotation, span.at(0.381966)):
            self.problems.add(place, f"must be whole numbers, got {show(value)}; write {{int: {show(written)}}}")
            return INVALID
        return self._note(span, place)

    def _choice(self, span: Choice, meant: Sequence[Any], place: Place, filled: tuple[Any, ...] | None = None) -> Any:
        """Note a choice of what its options mean, unless two mean the same."""
        problem = repetition(span, meant, zeros=not self.recorded)
        if problem:
            self.problems.add(place, problem)
            return INVALID
        return self._note(Choice(tuple(meant)) if filled is None else replace(span, filled=filled), place)

    def _open_range(self, key: Key, value: dict[str, Any], place: Place) -> Any:
        if self.refusal:
            self.problems.add(place, f"{self.refusal}, got {show(value)}; write one value")
            return INVALID
        if not key.ranged:
            self.problems.add(
                place,
                f"must be one value for the whole study, got the range {show(value)}; "
                "only student, train and the options of transfers and policies are searched",
            )
            return INVALID
        if isinstance(value.get("choice"), list) and any(map(is_range, value["choice"])):
            self.problems.add(place, f"a range holds values, not ranges, got {show(value)}; list plain values")
            return INVALID
        try:
            return read_range(value)
        except RangeError as error:
            for problem in error.problems:
                self.problems.add(place, problem)
            return INVALID

    def _note(self, span: Range, place: Place) -> Range:
        self.holes[place.name] = (place, span)
        return span

    def _plugins(self, declared: Field, values: Any, place: Place) -> Any:
        kind, example = declared.key.plugin, declared.key.example
        if values is UNREADABLE:
            return INVALID
        if declared.switched and isinstance(values, bool):
            return values
        if declared.switched and is_range(values):
            return self._open_range(declared.key, values, place)
        if not isinstance(values, list) or not values:
            switch = "true, false or " if declared.switched else ""
            told = f"must be {switch}a list of at least one {kind}, got {show(values)}"
            self.problems.add(place, f"{told}; write - {example}")
            return INVALID
        seen: set[str] = set()
        specs = [self._listed(declared.key, value, place, index, seen) for index, value in enumerate(values)]
        return tuple(spec for spec in specs if spec is not INVALID)

    def _listed(self, key: Key, value: Any, place: Place, index: int, seen: set[str]) -> Any:
        if is_range(value):
            self.problems.add(
                place.item(index),
                f"every {key.plugin} listed is {'compared' if key.labelled else 'applied'}, none is drawn, "
                f"got the range {show(value)}; list them one by one",
            )
            return INVALID
        spec = self._plugin(key, value, place.item(index), place)
        if spec is not INVALID and key.labelled and spec.called in seen:
            self.problems.add(
                place.item(index),
                f"every {key.plugin} may stand only once, got '{spec.called}' "
                f"again; remove it, or write {{{spec.name}: {{label: variant}}}} to compare both",
            )
        elif spec is not INVALID:
            seen.add(spec.called)
        return spec

    def _plugin_or_range(self, key: Key, value: Any, place: Place) -> Any:
        if not is_range(value):
            return self._plugin(key, value, place, place)
        span = self._open_range(key, value, place)
        if span is INVALID:
            return INVALID
        # A hole within a hole would exist only in some trials.
        inner = Reader(self.problems, refusal="inside a choice every option is fixed")
        specs = tuple(inner._plugin(key, option, place, place) for option in span.ends())
        if INVALID in specs:
            return INVALID
        meant = span.options if self.recorded else [spec.to_yaml() for spec in specs]
        return self._choice(span, meant, place, specs)

    def _plugin(self, key: Key, value: Any, place: Place, owner: Place) -> Any:
        kind = str(key.plugin)
        if value is UNREADABLE:
            return INVALID
        name = written_name(value)
        if not name:
            meant = range_meant(value) if key.ranged and place is owner and not self.refusal else None
            told = f"must be a name, or one name with its options, got {show(value)}; write {key.example} or "
            self.problems.add(place, meant or f"{told}{{{key.example}: {{option: value}}}}")
            return INVALID
        spot = Place((*place.steps, name), f"{owner.name}.{name}") if isinstance(value, dict) else place
        written = value[name] if isinstance(value, dict) else None
        label = None
        if key.labelled and isinstance(written, dict) and "label" in written:
            label = self._label(kind, written["label"], spot.key("label"))
            written = {option: value for option, value in written.items() if option != "label"}
            spot = spot if label is INVALID else replace(spot, name=f"{owner.name}.{label}")
        options = self.options(kind, name, {} if written is None else written, spot, ranged=key.ranged)
        return INVALID if options is None or label is INVALID else PluginSpec(name, options, label)

    def _label(self, kind: str, label: Any, place: Place) -> Any:
        problem = label_problem(kind, label)
        if problem and label is not UNREADABLE:
            self.problems.add(place, problem)
        return INVALID if problem else label

    def options(self, kind: str, name: str, written: Any, place: Place, *, ranged: bool) -> dict[str, Any] | None:
        """Return all options of a plug-in, defaults filled in; None if anything was wrong."""
        registry = REGISTRIES[kind]
        if name not in registry:
            self.problems.add(place, f"no {kind} is called '{name}'; {registry.suggest(name)}", unknown=True)
            return None
        declared = self._declared(registry, name, place)
        if declared is None:
            return None
        if not isinstance(written, dict):
            if written is not UNREADABLE:
                self.problems.add(place, f"must be options, got {show(written)}; write {{option: value}}")
            return None
        for other in [option for option in written if option not in declared]:
            advice = registry.advice(name, other)
            self.problems.add(place.key(other), unknown_option(other, declared, advice), unknown=True)
        intact, options = written.keys() <= declared.keys(), dict[str, Any]()
        for option in declared.values():
            inner, key = place.key(option.name), Key("", ranged=ranged)
            if option.name in written:
                options[option.name] = self._option(option, key, written[option.name], inner)
            elif option.earlier and self.silent_then:
                options[option.name] = option.earlier.default
            elif option.required:
                self.problems.add(
                    inner, f"missing: {kind} '{name}' needs it; write {{{name}: {{{option.name}: value}}}}"
                )
                intact = False
            elif is_plain(option.annotation, option.default):  # else its own affair
                options[option.name] = to_plain(option.annotation, option.default)
        return options if intact and all(value is not INVALID for value in options.values()) else None

    def _option(self, option: Option, key: Key, value: Any, place: Place) -> Any:
        annotation, earlier = option.annotation, option.earlier
        if annotation is Any and is_range(value) and not self.recorded:
            example = declaration(option.name, option.default)
            self.problems.add(place, f"a range needs a type, got {show(value)}; write `*, {example}` in the plug-in")
            return INVALID
        if earlier and self.recorded:
            annotation = annotation | earlier.annotation
        elif earlier and value is not UNREADABLE and accepts(earlier.annotation, value):
            self.problems.add(place, f"earlier versions alone wrote it so, got {show(value)}; {earlier.instead}")
            return INVALID
        return self._value(annotation, key, dataclasses.MISSING if option.required else option.default, value, place)

    def _declared(self, registry: Registry, name: str, place: Place) -> dict[str, Option] | None:
        try:
            return registry.options(name)
        except PluginError as error:
            self.problems.add(place, str(error).removeprefix(f"{registry.kind}: "), cause=error)
            return None


def _filled(declared: Field) -> Any:
    default = declared.default
    if not isinstance(default, PluginSpec):
        return copy.copy(default)
    written = Reader(Problems("")).options(str(declared.key.plugin), default.name, {}, Place(), ranged=False)
    return PluginSpec(default.name, written or {})
