"""Matches the layers of student and teacher: the crucial layers, where the two are compared.

Source: Kokane, Uddin, Xu, arXiv 2407.04871, call layers of student and teacher that match in dimension
crucial. We match by height and width, since maps average over channels, and take one point per size: the last.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

from kdstudy.errors import ModelError, did_you_mean
from kdstudy.models import MAP, NORMALISE, Layout, Traced

Trace = Sequence[tuple[str, tuple[int, ...]]] | Sequence[Traced]
"""What `kdstudy.models.trace_maps` or, for a network of nothing but maps, `trace` gives: in order of completion."""

Points = dict[tuple[int, int], Traced]
"""The candidate of each (H, W)."""

DEPTHS = 4
"""Pairs of two networks that keep one grid: blocks at a quarter, a half, three quarters of the depth, and the last."""

FEW = 3
"""Stages that a network needs to be taken by its stages alone."""

_WITHOUT = "choose what needs none: kd or dkd, under constant"


class LayerPair(NamedTuple):
    """One crucial layer.

    Attributes:
        student: Its dotted name in the student.
        teacher: Its partner's in the teacher.
        student_shape: (C, H, W) of the student's output.
        teacher_shape: (C, H, W) of the teacher's.
        student_layout: How the student's output is laid out; the shape is that of the map made of it.
        teacher_layout: How the teacher's is.
    """

    student: str
    teacher: str
    student_shape: tuple[int, int, int]
    teacher_shape: tuple[int, int, int]
    student_layout: Layout = MAP
    teacher_layout: Layout = MAP

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W) at which maps are compared: the smaller of both; the larger map is averaged over areas."""
        height, width = (min(sides) for sides in zip(self.student_shape[1:], self.teacher_shape[1:], strict=True))
        return height, width


def match_layers(
    student_trace: Trace, teacher_trace: Trace, pairs: Literal["auto"] | Sequence[tuple[str, str]] = "auto"
) -> tuple[LayerPair, ...]:
    """Pair layers of two networks, in the order in which the student runs them.

    Automatic pairs: for every height and width above 1 x 1 that both networks have, the last module of each
    network with outputs of that size. What is outside goes before what is inside a block that goes on to
    another size; then a module that contains others (a stage, a block) goes before one that does not (a
    convolution, an activation); of nested ones that end together, the outermost is the last.

    Pairs go by relative depth instead where the networks scale images to different sizes, or one keeps one grid (a ViT:
    more than half of the modules that contain others and give maps give tokens, or maps whose channels come last, all
    of one height and width): of L pairs, pair j from 1 joins the points at ceil(j D / L) of D. The points of a network
    that keeps one grid are its blocks: the modules most often repeated, the outermost of nested ones; never its patch
    embedding. Another's are its points above that contain others, its stages, if there are three, else all points. L is
    the smaller of both D; of two networks with one grid each, at most four.

    Args:
        student_trace: Of the student.
        teacher_trace: Of the teacher, for the same images.
        pairs: ``auto``, or (student, teacher) names.

    Raises:
        ModelError: Nothing matches, or what is not in order does, or only a network's beginning gives maps; or a named
            layer does not exist, repeats or has no map.
    """
    student, teacher = ([Traced(*layer) for layer in trace] for trace in (student_trace, teacher_trace))
    if pairs == "auto":
        matched = _automatic(student, teacher)
    else:
        matched = [
            _pair(_named("student", student, ours), _named("teacher", teacher, theirs)) for ours, theirs in pairs
        ]
        _refuse_repeats([pair.student for pair in matched])
    order = {layer.name: position for position, layer in enumerate(student)}
    return tuple(sorted(matched, key=lambda pair: order[pair.student]))


def match_embeddings(student_trace: Trace, teacher_trace: Trace) -> LayerPair:
    """Pair the vectors that enter the classifiers, for methods that need no more.

    They are what the last layer before those that give logits gave, if that is one vector per image.

    Args:
        student_trace: As for `match_layers`.
        teacher_trace: Likewise.

    Raises:
        ModelError: A network has no such layer.
    """
    return _pair(
        *(
            _embedding(role, [Traced(*layer) for layer in trace])
            for role, trace in (("student", student_trace), ("teacher", teacher_trace))
        )
    )


def _embedding(role: str, trace: Sequence[Traced]) -> Traced:
    logits = trace[-1].shape if trace else ()
    before = itertools.dropwhile(lambda layer: layer.shape == logits, reversed(trace))
    for name, shape, _ in before:
        if len(shape) == 1 or shape[1:] == (1, 1):
            return Traced(name, (shape[0], 1, 1), Layout("vector") if len(shape) == 1 else MAP)
    raise ModelError(
        f"layers: no layer of the {role} matches one of the other network, or gives one vector per image before its "
        "logits; name pairs under 'layers'"
    )


def _pair(student: Traced, teacher: Traced) -> LayerPair:
    for role, (name, _, layout) in (("student", student), ("teacher", teacher)):
        if layout is not None and not layout.in_order:
            raise ModelError(
                f"layers: what the {role}'s '{name}' gives ({layout}) does not run through the image row by row, so it "
                f"makes no map; name pairs of other layers under 'layers', or {_WITHOUT}"
            )
    return LayerPair(
        student.name,
        teacher.name,
        _chw(student),
        _chw(teacher),
        student.layout or MAP,
        teacher.layout or MAP,
    )


def _chw(layer: Traced) -> tuple[int, int, int]:
    channels, height, width = layer.shape
    return channels, height, width


def _automatic(student: Sequence[Traced], teacher: Sequence[Traced]) -> list[LayerPair]:
    ours, theirs = _by_size(student), _by_size(teacher)
    for role, trace in (("student", student), ("teacher", teacher)):
        _require_read(role, trace)
    if (_blocks(student) or _blocks(teacher) or _inputs_differ(student, teacher)) and ours and theirs:
        return _by_depth(student, teacher)
    common = [size for size in ours if size in theirs]
    if not common:
        raise ModelError(
            "layers: no output of the student has the height and width of one of the teacher's; "
            f"student has {_listing(ours)}, teacher has {_listing(theirs)}; "
            f"name pairs under 'layers', or {_WITHOUT}"
        )
    return [_pair(ours[size], theirs[size]) for size in common]


def _require_read(role: str, trace: Sequence[Traced]) -> None:
    """Refuse a network of whose layers little but the first gives maps: a transformer whose tokens fit no grid.

    Raises:
        ModelError: After the last layer with a map come more modules that contain others, and give neither maps nor
            vectors, than give maps.
    """
    containers = _containers(trace)
    maps = [place for place, layer in enumerate(trace) if _is_map(layer)]
    after = [layer for layer in trace[max(maps, default=0) :] if layer.name in containers and _is_unread(layer)]
    with_maps = [place for place in maps if trace[place].name in containers]
    if maps and len(after) > len(with_maps):
        raise ModelError(
            f"layers: after the {role}'s '{trace[maps[-1]].name}', none of its layers gives a map or tokens of a known "
            f"grid ('{after[-1].name}' gives shape {after[-1].shape}); name pairs under 'layers', or {_WITHOUT}"
        )


def _is_unread(layer: Traced) -> bool:
    return layer.layout is None and len(layer.shape) > 1


def _by_depth(student: Sequence[Traced], teacher: Sequence[Traced]) -> list[LayerPair]:
    blocks = _blocks(student), _blocks(teacher)
    ours, theirs = blocks[0] or _stages(student), blocks[1] or _stages(teacher)
    count = min(len(ours), len(theirs), *([DEPTHS] if all(blocks) else []))
    return [_pair(*pair) for pair in zip(_spread(ours, count), _spread(theirs, count), strict=True)]


def _inputs_differ(student: Sequence[Traced], teacher: Sequence[Traced]) -> bool:
    sizes = [next((layer.shape[1:] for layer in trace if layer.name == NORMALISE), ()) for trace in (student, teacher)]
    return all(sizes) and sizes[0] != sizes[1]


def _spread(points: Sequence[Traced], count: int) -> list[Traced]:
    return [points[-(-place * len(points) // count) - 1] for place in range(1, count + 1)]


def _blocks(trace: Sequence[Traced]) -> list[Traced]:
    """Return the blocks, by depth, of a network that keeps one grid; none of another's."""
    containers = _containers(trace)
    maps = [layer for layer in trace if layer.name in containers and _is_map(layer)]
    turned = [layer for layer in maps if layer.layout != MAP]
    if len({layer.shape[1:] for layer in turned}) != 1 or 2 * len(turned) <= len(maps):
        return []
    families: dict[str, list[Traced]] = defaultdict(list)
    for layer in turned:
        families[re.sub(r"\d+", "#", layer.name)].append(layer)
    order = list(families)
    best = max(order, key=lambda family: (len(families[family]), -family.count("."), order.index(family)))
    return families[best]


def _stages(trace: Sequence[Traced]) -> list[Traced]:
    containers, points = _containers(trace), list(_by_size(trace).values())
    stages = [point for point in points if point.name in containers]
    return stages if len(stages) >= FEW else points


def _containers(trace: Sequence[Traced]) -> set[str]:
    return {layer.name.rpartition(".")[0] for layer in trace}


def _by_size(trace: Sequence[Traced]) -> Points:
    """Return the point of each size: the last of the best ranked modules."""
    containers = _containers(trace)
    steps = _size_changing(trace)
    chosen: Points = {}
    ranks: dict[tuple[int, int], tuple[int, bool]] = {}
    for layer in trace:
        if not _is_map(layer) or layer.name == NORMALISE:
            continue
        _, height, width = layer.shape
        inside = sum(size != (height, width) for owner, size in steps.items() if layer.name.startswith(owner + "."))
        rank = (-inside, layer.name in containers)
        if rank >= ranks.get((height, width), rank):
            chosen[height, width] = layer
            ranks[height, width] = rank
    return chosen


def _size_changing(trace: Sequence[Traced]) -> dict[str, tuple[int, ...]]:
    """Return the modules in which one step from a size to the next happens, and the size of their outputs.

    Such a module (a block or stage that halves the image) holds maps of two sizes; what it holds of its
    input's size is its own affair. A module with more sizes is a whole network, whose parts count.
    """
    steps = {}
    for owner in trace:
        sizes = {held.shape[1:] for held in trace if _is_map(held) and f"{held.name}.".startswith(owner.name + ".")}
        if len(sizes) == 2:
            steps[owner.name] = tuple(owner.shape[1:])
    return steps


def _is_map(layer: Traced) -> bool:
    return layer.layout is not None and len(layer.shape) == 3 and layer.shape[1] * layer.shape[2] > 1


def _named(role: str, trace: Sequence[Traced], name: str) -> Traced:
    layers = {layer.name: layer for layer in trace}
    if name not in layers:
        raise ModelError(
            f"layers: the {role} has no layer '{name}' that runs and gives one tensor; {did_you_mean(name, layers)}"
        )
    layer = layers[name]
    if layer.layout is None or len(layer.shape) != 3:
        raise ModelError(
            f"layers: the {role}'s layer '{name}' gives shape {layer.shape}, not (channels, height, width) nor tokens "
            f"of a grid; it has {_listing(_by_size(trace))}"
        )
    return layer


def _refuse_repeats(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ModelError(
                f"layers: the student's layer '{name}' is named {names.count(name)} times; pair each layer once"
            )


def _listing(points: Points) -> str:
    if not points:
        return "no layer with a map above 1x1"
    return ", ".join(f"{name} {height}x{width}" for (height, width), (name, *_) in points.items())
