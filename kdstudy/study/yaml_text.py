"""Reads the YAML of a study file safely, with the line of every value, and writes it.

Scalars follow YAML 1.2's core schema: ``5e-4`` is a number; ``on``, ``off``, ``yes``, ``no`` are strings.
Left out on
purpose: anchors and aliases (a few hundred bytes of them can stand for gigabytes), tags, several documents.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, final

import yaml

from kdstudy.errors import StudyError
from kdstudy.study.diagnostics import UNREADABLE, Place, Problems, Steps, show

MAX_BYTES = 1_000_000
MAX_DEPTH = 20

_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


@final
class _Loader(yaml.SafeLoader):
    """Composes nodes only; refuses what a study file has no use for."""

    # An empty table of its own (PyYAML's name): none of YAML 1.1's resolvers.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases (&, *) are not allowed, got one; write the value out, or quote it",
                problem_mark=event.start_mark,
            )
        if self.depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"nested deeper than {MAX_DEPTH} levels; flatten it", problem_mark=event.start_mark
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


@final
class _Dumper(yaml.SafeDumper):
    """Quotes every string that `_Loader`, or a reader of YAML 1.1, would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _first)


def read_text(path: Path) -> str:
    """Return the text of the study file at ``path``.

    Raises:
        StudyError: It cannot be read, is too large, or is not UTF-8.
    """
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StudyError([f"{path}: cannot be read ({reason}); give the path of a study file"]) from error
    if size > MAX_BYTES:
        raise StudyError([f"{path}: a study file has at most {MAX_BYTES} bytes, got {size}; is this the right file?"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise StudyError(
            [f"{path}:{line}: not UTF-8 text, got byte 0x{content[error.start]:02x}; save the file as UTF-8"]
        ) from error


def parse_text(text: str, where: str) -> tuple[dict[str, Any], Problems]:
    """Parse a study file's text to plain values.

    Args:
        text: The file's text.
        where: What messages call the file.

    Returns:
        The top mapping, and the problems found so far (duplicate keys and the like), which know every line.

    Raises:
        StudyError: It is not YAML, or not a mapping: nothing more can be said about it.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise StudyError([_syntax_problem(error, where)]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise StudyError(
            [f"{where}:{line}: a character that YAML does not allow, got #x{error.character:04x}; remove it"]
        ) from error
    if root is None:
        raise StudyError([f"{where}: the file is empty; `kdstudy init` writes one"])
    if not isinstance(root, yaml.MappingNode):
        raise StudyError(
            [
                f"{where}:{_line(root)}: a study file is a mapping of keys to values, "
                f"got a {_kind(root)}; `kdstudy init` writes one"
            ]
        )
    lines: dict[Steps, int] = {(): _line(root)}
    problems = Problems(where, lines)
    return _Reader(lines, problems).mapping(root, Place()), problems


def write_text(tree: Any, comment: str = "") -> str:
    """Return ``tree`` as YAML that `parse_text` reads back to equal values, below ``comment``."""
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    return lines + yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def flow_text(value: Any) -> str:
    """Return a plain value on one line as a study file writes it: ``{resnet8: {width: 16}}``."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6, default_flow_style=True)
    return text.removesuffix("\n").removesuffix("\n...")


class _Reader:
    """Turns nodes into plain values, noting lines and problems on the way."""

    def __init__(self, lines: dict[Steps, int], problems: Problems) -> None:
        self.lines, self.problems = lines, problems

    def value(self, node: yaml.Node, place: Place) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.item(child, place.item(index)) for index, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and kind in _CONSTRUCTORS:
            try:
                return _CONSTRUCTORS[kind](node.value)
            except ValueError:
                self.problems.add(place, f"not a readable {kind}, got {show(node.value)}; write it plainly")
                return UNREADABLE
        self.problems.add(place, f"YAML tags are not allowed, got {show(node.tag)}; write plain values")
        return UNREADABLE

    def item(self, node: yaml.Node, place: Place) -> Any:
        self.lines[place.steps] = _line(node)
        return self.value(node, place)

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                inner = Place((*place.steps, f"? {_line(key_node)}"), place.name)
                self.lines[inner.steps] = _line(key_node)
                self.problems.add(inner, f"a key is a word, got a {_kind(key_node)}; write key: value")
                continue
            inner = place.key(key_node.value)
            if key_node.value in values:
                first = self.lines[inner.steps]
                self.lines[inner.steps] = _line(key_node)
                self.problems.add(
                    inner, f"a key may stand only once, got it again after line {first}; keep one of them"
                )
                self.lines[inner.steps] = first
                continue
            self.lines[inner.steps] = _line(key_node)
            values[key_node.value] = self.value(value_node, inner)
        return values


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "mapping"
    return "list" if isinstance(node, yaml.SequenceNode) else "single value"


def _syntax_problem(error: yaml.MarkedYAMLError, where: str) -> str:
    mark = error.problem_mark or error.context_mark
    line = f":{mark.line + 1}" if mark else ""
    problem = error.problem or error.context or "cannot be parsed"
    if "; " in problem:
        return f"{where}{line}: {problem}"
    if "single document" in (error.context or ""):
        return f"{where}{line}: a study file holds one document, got another; remove the line ---"
    return f"{where}{line}: not valid YAML, {problem}; check colons, indents, brackets and quotes there"


def _to_int(text: str) -> int:
    return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)


def _to_float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_CONSTRUCTORS: dict[str, Any] = {
    "null": lambda _text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _to_int,
    "float": _to_float,
    "str": str,
}
