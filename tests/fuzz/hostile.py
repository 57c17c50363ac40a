"""Generates study files, right ones and every kind of wrong, from a seed."""

from __future__ import annotations

import random
from typing import Any

import yaml

STRANGER = "stranger_package"
"""A package that is importable, leaves a mark when it is imported, and was never allowed."""

BASE: dict[str, Any] = {
    "name": "fuzz", "seed": 1,
    "data": {"name": "synthetic", "val_fraction": 0.25},
    "teacher": {"model": "resnet8", "epochs": 1, "allow_weak": True},
    "student": {"model": "resnet8"},
    "train": {"epochs": 2, "batch_size": 32, "base_lr": {"log": [0.01, 0.1]}},
    "arms": {
        "transfers": [{"attention": {"weight": {"log": [1, 10]}}}, "none"],
        "policies": ["constant", {"layerwise": {"interval": 1}}],
    },
    "search": {"sampler": "random", "trials_per_arm": 2},
    "confirm": {"seeds": 1},
}  # fmt: skip

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63) - 1, 10**400, 0.0, -0.5, 0.5, 1e308, -1e-308, float("inf"),
    float("nan"), "", " ", "a", "none", "resnet8", "constant", "\0", "\x1b[2J", "\ud83d\ude00", "x" * 5000,
    "../../up", "/etc/passwd", "/dev/zero", "~/.ssh/id_rsa", "file:///etc/passwd", "%s%n", "$(touch ran)",
    "`touch ran`", "{{7*7}}", "'; DROP TABLE", [], {}, [[]], [None], {"": None}, {"a": {"a": {"a": 1}}}, [[["deep"]]],
    list(range(1000)), {"uniform": [0, 1]}, {"uniform": [1, 0]}, {"uniform": []}, {"log": [0, 1]}, {"log": [-1, "x"]},
    {"int": [1.5, 2]}, {"int": [1, 2**70]}, {"choice": []}, {"choice": [{"choice": [1]}]},
    {"choice": ["resnet8", {"wrn_16_1": {}}]}, {"choice": [f"{STRANGER}.method:Transfer", 1]},
    {"uniform": [float("nan"), 1]}, f"{STRANGER}.method:Transfer", {f"{STRANGER}.method:Transfer": {"x": 1}},
    "os:system", {"os:system": {"command": "touch ran"}}, "subprocess:run", "builtins:eval", "kdstudy.cli:main",
    "kdstudy.models.vgg:nn", "a:b:c", ":", "os:", ":os", "..:x", "os.path:join",
)  # fmt: skip

TEXTS: tuple[str, ...] = (
    "!!python/object/apply:os.system ['touch ran']", "!!python/name:os.system", "!!python/module:os", "&a [*a]",
    "*nowhere", "!!binary aGVsbG8=", "!!set {a, b}", "!include /etc/passwd", "{<<: {a: 1}}",
    "2001-12-14t21:59:43.10-05:00", "0x_1", "1_000", "0o777", ".inf", "-.nan", "1e999", "'unclosed", "{unclosed",
    "[" * 300 + "]" * 300, "{a: " * 40 + "1" + "}" * 40, "? complex\n: key", "|\n  block", "%YAML 9.9", "--- again",
    "\t tab", "@at", "`tick`", "a: b: c", "- - - x",
)  # fmt: skip


def study_text(seed: int) -> bytes:
    """Return the study file of number ``seed``: about one in four is right, the others in one to four ways wrong."""
    draw = random.Random(seed)
    tree: Any = yaml.safe_load(yaml.safe_dump(BASE))
    for _ in range(draw.choice((0, 1, 1, 1, 2, 4))):
        draw.choice((_replace, _replace, _replace, _drop, _insert, _rename))(tree, draw)
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=draw.random() < 0.5)
    if draw.random() < 0.3:
        text = draw.choice((_graft, _cut, _double, _indent))(text, draw)
    content = text.encode("utf-8", "surrogatepass")
    return _flip(content, draw) if draw.random() < 0.15 else content


def _places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [place for key, value in below for place in ((*path, key), *_places(value, (*path, key)))]


def _parent(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        tree = tree[key]
    return tree


def _somewhere(tree: Any, draw: random.Random) -> tuple[Any, Any]:
    places = _places(tree)
    path = draw.choice(places) if places else ("name",)
    return _parent(tree, path), path[-1]


def _replace(tree: Any, draw: random.Random) -> None:
    parent, key = _somewhere(tree, draw)
    parent[key] = draw.choice(VALUES)


def _drop(tree: Any, draw: random.Random) -> None:
    parent, key = _somewhere(tree, draw)
    del parent[key]


def _insert(tree: Any, draw: random.Random) -> None:
    parent, _ = _somewhere(tree, draw)
    if isinstance(parent, list):
        parent.insert(0, draw.choice(VALUES))
        return
    names = (
        "root",
        "path",
        "options",
        "download",
        "model",
        "layers",
        "resources",
        "lag",
        "pruner",
        "surprise",
        "name",
        "key_map",
    )
    parent[draw.choice(names)] = draw.choice(VALUES)


def _rename(tree: Any, draw: random.Random) -> None:
    parent, key = _somewhere(tree, draw)
    if isinstance(parent, dict):
        parent[draw.choice((f"{key}x", str(key)[:-1], "", "a.b", "..", "__class__", 7, None, True))] = parent.pop(key)


def _graft(text: str, draw: random.Random) -> str:
    lines = text.splitlines()
    spot = draw.randrange(len(lines)) if lines else 0
    key = lines[spot].partition(":")[0] if lines else "name"
    return "\n".join([*lines[:spot], f"{key}: {draw.choice(TEXTS)}", *lines[spot + 1 :]])


def _cut(text: str, draw: random.Random) -> str:
    return text[: draw.randrange(len(text) + 1)]


def _double(text: str, draw: random.Random) -> str:
    return text + draw.choice(("", "---\n", "...\n")) + text


def _indent(text: str, draw: random.Random) -> str:
    lines = text.splitlines()
    spot = draw.randrange(len(lines)) if lines else 0
    return "\n".join([*lines[:spot], *(f"   {line}" for line in lines[spot : spot + 1]), *lines[spot + 1 :]])


def _flip(content: bytes, draw: random.Random) -> bytes:
    return flipped(content, draw, 1 + draw.randrange(3))


def flipped(content: bytes, draw: random.Random, count: int) -> bytes:
    """Return ``content`` with ``count`` of its bytes drawn anew."""
    changed = bytearray(content)
    for _ in range(count if changed else 0):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)
