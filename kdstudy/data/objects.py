"""COCO's boxes as images of one class each.

Shapes: N boxes that count, K classes.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from kdstudy.data.coco_file import Box, Part, read_boxes
from kdstudy.data.decode import Window
from kdstudy.errors import DataError, did_you_mean


class Rules(NamedTuple):
    """Which boxes become images, and how.

    Attributes:
        min_side: Longer side of a box, in pixels of its image, >= 1.
        min_boxes: Of a class, in the images for training and validation, >= 1.
        margin: Added on each side of a box, as a share of its longer side, >= 0.
        leave_out: Names of categories that do not count.
    """

    min_side: int
    min_boxes: int
    margin: float
    leave_out: tuple[str, ...] = ()


class Objects(NamedTuple):
    """The boxes of some images, ordered by image, place, and category.

    Attributes:
        paths: File of each box's image, N.
        windows: What is cut out of it, N.
        categories: Place of each box's category in the annotations file, N.
    """

    paths: tuple[str, ...]
    windows: tuple[Window, ...]
    categories: tuple[int, ...]

    def of_categories(self, kept: Sequence[int]) -> Objects:
        """Return the boxes of some categories."""
        return self._where(category in kept for category in self.categories)

    def of_files(self, kept: Iterable[str]) -> Objects:
        """Return the boxes of some images."""
        files = {*kept}
        return self._where(path in files for path in self.paths)

    def labels(self, kept: Sequence[int]) -> torch.Tensor:
        """(N,) int64: the place of each box's category among those kept."""
        place = {category: label for label, category in enumerate(kept)}
        return torch.tensor([place[category] for category in self.categories], dtype=torch.int64)

    def _where(self, chosen: Iterable[bool]) -> Objects:
        rows = list(itertools.compress(zip(*self, strict=True), chosen))
        paths, windows, categories = zip(*rows, strict=True) if rows else ((), (), ())
        return Objects(paths, windows, categories)


def groups_of(paths: Sequence[str]) -> torch.Tensor:
    """Return the same number for the same file, ascending from 0: (N,) int64."""
    number = {path: place for place, path in enumerate(dict.fromkeys(paths))}
    return torch.tensor([number[path] for path in paths], dtype=torch.int64)


def find_objects(part: Part, rules: Rules) -> tuple[Objects, str]:
    """Return the boxes of an annotations file that count, and a line about the others.

    Raises:
        DataError: Boxes or the sizes of images cannot be understood.
    """
    boxes = read_boxes(part)
    why = [_left_out(box, rules) for box in boxes]
    found = sorted(
        (box.image, window_of(box, rules.margin), box.category)
        for box, reason in zip(boxes, why, strict=True)
        if reason is None
    )
    images, windows, categories = zip(*found, strict=True) if found else ((), (), ())
    left_out = Counter(filter(None, why))
    told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items())) or "none"
    note = f"{part.file.name}: {len(found):,} of {len(boxes):,} boxes are large enough; left out: {told}"
    return Objects(tuple(part.paths[image] for image in images), windows, categories), note


def window_of(box: Box, margin: float) -> Window:
    """Return the square around a box, moved into the image; where the image is too small for it, it covers that.

    Its side, to the nearest pixel, is the longer one of the box inside the image and the margin on both sides, as much
    of it as the image has room for. So only a box longer than the image's shorter side has black beside it.

    Args:
        box: With some area inside the image.
        margin: On each side, as a share of the longer side.
    """
    longer = max(_inside(box))
    side = max(1, _nearest(min(longer * (1 + 2 * margin), max(longer, min(box.size)))))
    starts = []
    for start, length, size in zip(box.corner, box.sides, box.size, strict=True):
        middle = (max(start, 0.0) + min(start + length, size)) / 2
        free = size - side
        starts.append(min(max(_nearest(middle - side / 2), min(0, free)), max(0, free)))
    return Window(starts[0], starts[1], side, *box.size)


def classes_of(found: Objects, part: Part, rules: Rules) -> tuple[int, ...]:
    """Return the categories with enough boxes, by their places in the annotations file.

    Raises:
        DataError: Fewer than two have, or one that is to be left out does not exist.
    """
    names = [name for _, name in part.categories]
    for name in rules.leave_out:
        if name not in names:
            raise DataError(
                f"data.options.leave_out: {part.file} has no category '{name}'; {did_you_mean(name, names)}"
            )
    counts = Counter(category for category in found.categories if names[category] not in rules.leave_out)
    kept = tuple(sorted(category for category, count in counts.items() if count >= rules.min_boxes))
    if len(kept) < 2:
        raise DataError(
            f"data.options.min_boxes: {len(kept)} of {len(part.categories)} categories have {rules.min_boxes} boxes of "
            f"{rules.min_side} pixels or more in {part.file}; lower min_boxes or min_side"
        )
    return kept


def class_notes(train: Objects, test: Objects, part: Part, kept: Sequence[int], rules: Rules) -> tuple[str, ...]:
    """Return lines about the classes: how many boxes each has, which are left out, and what guessing scores."""
    counts, tested = Counter(train.categories), Counter(test.categories)
    names = [name for _, name in part.categories]
    ranked = sorted(kept, key=lambda category: -counts[category])
    listed = ", ".join(f"{names[category]} {counts[category]:,} + {tested[category]:,}" for category in ranked)
    rare = len(part.categories) - len(kept) - len({*rules.leave_out})
    lost = [sum(found.values()) - sum(found[category] for category in kept) for found in (counts, tested)]
    most, total = ranked[0], sum(tested[category] for category in kept)
    named = f"; {', '.join(rules.leave_out)} as data.options.leave_out says" if rules.leave_out else ""
    lines = [
        f"{len(kept)} classes with at least {rules.min_boxes} boxes for training and validation (+ for test): {listed}",
        f"left out: {rare} categories with fewer, {lost[0]:,} boxes for training and validation, {lost[1]:,} for test"
        f"{named}",
    ]
    if total:
        lines.append(f"{tested[most] / total:.1%} of the test images are {names[most]}: always saying so scores that")
    if missing := [names[category] for category in kept if not tested[category]]:
        lines.append(f"no test image of {', '.join(missing)}")
    return tuple(lines)


def _left_out(box: Box, rules: Rules) -> str | None:
    """Return why a box does not count; None if it does."""
    if box.crowd:
        return "crowds"
    inside = _inside(box)
    if min(inside) < 1:
        return "less than a pixel wide or high inside the image"
    return f"with a longer side under {rules.min_side} pixels" if max(inside) < rules.min_side else None


def _inside(box: Box) -> list[float]:
    """Return width and height of a box within its image, in pixels; below 0 if it is outside."""
    return [
        length if start >= 0 and start + length <= size else min(start + length, size) - max(start, 0.0)
        for start, length, size in zip(box.corner, box.sides, box.size, strict=True)
    ]


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)
