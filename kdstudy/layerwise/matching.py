"""Matches the layers of student and teacher: the crucial layers, where the two are compared.

Source: Kokane, Uddin, Xu, arXiv 2407.04871, call layers of student and teacher that match in dimension
crucial. We match by height and width, since maps average over channels, and take one point per size: the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from kdstudy.errors import ModelError, did_you_mean
from kdstudy.models import NORMALISE

Trace = Sequence[tuple[str, tuple[int, ...]]]
"""What `kdstudy.models.features.trace` gives: names and output shapes without the batch, in order of completion."""

Points = dict[tuple[int, int], tuple[str, tuple[int, int, int]]]
"""The candidate of each (H, W): its name and (C, H, W)."""


class LayerPair(NamedTuple):
    """One crucial layer.

    Attributes:
        student: Its dotted name in the student.
        teacher: Its partner's in the teacher.
        student_shape: (C, H, W) of the student's output.
        teacher_shape: (C, H, W) of the teacher's.
    """

    student: str
    teacher: str
    student_shape: tuple[int, int, int]
    teacher_shape: tuple[int, int, int]


def match_layers(
    student_trace: Trace, teacher_trace: Trace, pairs: Literal["auto"] | Sequence[tuple[str, str]] = "auto"
) -> tuple[LayerPair, ...]:
    """Pair layers of two networks, in the order in which the student runs them.

    Automatic pairs: for every height and width above 1 x 1 that both networks have, the last module of each
    network with outputs of that size. What is outside goes before what is inside a block that goes on to
    another size; then a module that contains others (a stage, a block) goes before one that does not (a
    convolution, an activation); of nested ones that end together, the outermost is the last.

    Args:
        student_trace: Of the student.
        teacher_trace: Of the teacher, for the same image shape.
        pairs: ``auto``, or (student, teacher) names.

    Raises:
        ModelError: Nothing matches, or a named layer does not exist, repeats or has no map.
    """
    if pairs == "auto":
        matched = _automatic(student_trace, teacher_trace)
    else:
        matched = [_named(student_trace, teacher_trace, student, teacher) for student, teacher in pairs]
        _refuse_repeats([pair.student for pair in matched])
    order = {name: position for position, (name, _) in enumerate(student_trace)}
    return tuple(sorted(matched, key=lambda pair: order[pair.student]))


def _automatic(student_trace: Trace, teacher_trace: Trace) -> list[LayerPair]:
    student, teacher = _by_size(student_trace), _by_size(teacher_trace)
    common = [size for size in student if size in teacher]
    if not common:
        raise ModelError(
            "layers: no output of the student has the height and width of one of the teacher's; "
            f"student has {_listing(student)}, teacher has {_listing(teacher)}; "
            "name pairs under 'layers'"
        )
    points = [(student[size], teacher[size]) for size in common]
    return [LayerPair(ours, theirs, our_shape, their_shape) for (ours, our_shape), (theirs, their_shape) in points]


def _by_size(trace: Trace) -> Points:
    """Return the point of each size: the last of the best ranked modules."""
    containers = {name.rpartition(".")[0] for name, _ in trace}
    steps = _size_changing(trace)
    chosen: Points = {}
    ranks: dict[tuple[int, int], tuple[int, bool]] = {}
    for name, shape in trace:
        if not _is_map(shape) or name == NORMALISE:
            continue
        channels, height, width = shape
        inside = sum(size != (height, width) for owner, size in steps.items() if name.startswith(owner + "."))
        rank = (-inside, name in containers)
        if rank >= ranks.get((height, width), rank):
            chosen[height, width] = (name, (channels, height, width))
            ranks[height, width] = rank
    return chosen


def _size_changing(trace: Trace) -> dict[str, tuple[int, ...]]:
    """Return the modules in which one step from a size to the next happens, and the size of their outputs.

    Such a module (a block or stage that halves the image) holds maps of two sizes; what it holds of its
    input's size is its own affair. A module with more sizes is a whole network, whose parts count.
    """
    steps = {}
    for owner, shape in trace:
        sizes = {held[1:] for name, held in trace if _is_map(held) and f"{name}.".startswith(owner + ".")}
        if len(sizes) == 2:
            steps[owner] = tuple(shape[1:])
    return steps


def _is_map(shape: Sequence[int]) -> bool:
    return len(shape) == 3 and shape[1] * shape[2] > 1


def _named(student_trace: Trace, teacher_trace: Trace, student: str, teacher: str) -> LayerPair:
    return LayerPair(
        student, teacher, _shape("student", student_trace, student), _shape("teacher", teacher_trace, teacher)
    )


def _shape(role: str, trace: Trace, name: str) -> tuple[int, int, int]:
    shapes = dict(trace)
    if name not in shapes:
        raise ModelError(
            f"layers: the {role} has no layer '{name}' that runs and gives one tensor; {did_you_mean(name, shapes)}"
        )
    shape = shapes[name]
    if len(shape) != 3:
        raise ModelError(
            f"layers: the {role}'s layer '{name}' gives shape {shape}, not (channels, height, "
            f"width); it has {_listing(_by_size(trace))}"
        )
    return (shape[0], shape[1], shape[2])


def _refuse_repeats(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ModelError(
                f"layers: the student's layer '{name}' is named {names.count(name)} times; pair each layer once"
            )


def _listing(points: Points) -> str:
    if not points:
        return "no layer with a map above 1x1"
    return ", ".join(f"{name} {height}x{width}" for (height, width), (name, _) in points.items())
