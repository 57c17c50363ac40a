"""COCO as multi-label classification: which of its categories are in an image; or each of its objects as an image.

Source: Lin et al. 2014, arXiv 1405.0312. Reading it as multi-label classification is common (e.g. Ridnik et
al. 2021, arXiv 2009.14119, who also stretch images to a square).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from kdstudy.data.coco_file import Part, annotated, find, read
from kdstudy.data.dataset import IMAGENET_MEAN, IMAGENET_STD, Augmentation, Source, Split
from kdstudy.data.files import ImageFiles, White
from kdstudy.data.objects import Objects, Rules, class_notes, classes_of, find_objects, groups_of
from kdstudy.data.split import hold_out
from kdstudy.data.stored import GIGABYTE, Gigabytes, Side, Workers
from kdstudy.errors import DataError


def load(  # noqa: PLR0913 - each keyword is a key of the study file
    root: Path,
    download: bool,
    *,
    size: Side = 64,
    crop: Annotated[float, Gt(0), Le(1)] = 0.5,
    memory_gb: Gigabytes = 2.0,
    workers: Workers = 2,
    white: White = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
    task: Literal["labels", "objects"] = "labels",
    min_side: Annotated[int, Ge(1)] = 32,
    min_boxes: Annotated[int, Ge(2)] = 50,
    margin: Annotated[float, Ge(0), Le(1)] = 0.1,
    leave_out: Sequence[str] = (),
) -> Source:
    """Load COCO's images with their categories as labels, or its objects with one class each; val is the test split.

    ``task: labels``: an image has a category if it has an annotation of it, crowds included; images without any are
    kept. Images are stretched to squares.

    ``task: objects``: each annotated box becomes an image of one class: the square around it, with as much margin as
    the image has room for, moved into the image where it would leave it. A box longer than the image's shorter side has
    black beside it. Crowds, small boxes and rare categories are left out, and said. All objects of an image are in the
    same split.

    In training, a random window (at least ``crop`` of the area, up to 4:3 or
    3:4) is scaled to the full size, and half of the images are mirrored.

    Args:
        root: Holds ``images/`` and ``annotations/instances_train.json`` and ``instances_val.json``, or has a
            folder ``coco`` that does. COCO 2017 as distributed (``train2017/``, ``instances_train2017.json``)
            is found as well.
        download: COCO cannot be fetched from here.
        size: Height and width in pixels, >= 8.
        crop: Smallest share of an image's area that a training window keeps, in (0, 1]; 1 keeps all.
        memory_gb: Decode once and keep the images if all splits together need at most so many gigabytes
            (1e9 bytes); else decode each batch anew. The numbers are the same.
        workers: Processes that decode batches ahead in that case, >= 0.
        white: Level that is white in grey images of more than eight bits, such as 4095 for twelve; null for what the
            files say, which is 65535 in most.
        test_fraction: Share of the images of the train file held out as the test split where there is no val file, in
            (0, 1): the same images for every seed, and for both tasks.
        task: ``labels`` of whole images, any number each, or ``objects``, one class each.
        min_side: Of objects: the longer side of a box that becomes an image, in pixels of the file and inside the
            image, at least; with ``size`` no larger than this, no object is enlarged.
        min_boxes: Of objects: a category with fewer such boxes in the images for training and validation is left out.
        margin: Of objects: added on each side, as a share of the box's longer side.
        leave_out: Of objects: categories that no image is made of, such as one that most objects are of.
    """
    rules = Rules(min_side, min_boxes, margin, tuple(leave_out))
    if task == "labels" and rules != Rules(32, 50, 0.1):
        raise DataError(
            "data.options: min_side, min_boxes, margin and leave_out are of objects; write task: objects, or leave "
            "them out"
        )
    files = partial(ImageFiles, size=size, fit="stretch", memory=memory_gb * GIGABYTE, workers=workers, white=white)
    part = read(*find(root, "train"))
    other = _read_val(root, part) if annotated(root, "val") else None
    classes = tuple(name for _, name in part.categories)
    train = Split(files(part.paths), part.labels)
    notes: tuple[str, ...] = ()
    if other is not None:
        test = Split(files(other.paths), other.labels)
    else:
        why = f"no annotations of val in {part.file.parent}"
        whole = replace(train, groups=groups_of(part.paths)) if task == "objects" else train
        train, test, note = hold_out(whole, test_fraction, why, classes)
        notes = (note,)
    source = Source(
        num_classes=len(classes),
        train=train,
        test=test,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        augmentation=Augmentation(flip=True, crop=crop),
        multilabel=True,
        classes=classes,
        place=str(part.file.parents[1]),
        notes=notes,
    )
    return source if task == "labels" else _as_objects(source, part, other or part, rules)


def _read_val(root: Path, train: Part) -> Part:
    other = read(*find(root, "val"))
    if train.categories != other.categories:
        raise DataError(
            f"data.root: the annotations in {train.file.parent} list different categories for train and val; "
            "take both files from one data set"
        )
    return other


def _as_objects(source: Source, part: Part, other: Part, rules: Rules) -> Source:
    """Return the objects of a source's images, whose annotations are in one file or two."""
    images, tested = source.train.images, source.test.images
    assert isinstance(images, ImageFiles)
    assert isinstance(tested, ImageFiles)
    if both := sorted({*images.paths} & {*tested.paths}):
        raise DataError(
            f"data.root: {len(both)} images are in both {part.file.name} and {other.file.name}, such as {both[0]}; "
            "their objects would be in the training and in the test split, so take them out of one file"
        )
    found = {each.file: find_objects(each, rules) for each in (part, other)}
    train, test = found[part.file][0].of_files(images.paths), found[other.file][0].of_files(tested.paths)
    kept = classes_of(train, part, rules)

    def split_of(objects: Objects) -> Split:
        chosen = objects.of_categories(kept)
        cut = replace(images, paths=chosen.paths, windows=chosen.windows)
        return Split(cut, chosen.labels(kept), groups_of(chosen.paths))

    told = (note for _, note in found.values())
    return replace(
        source,
        num_classes=len(kept),
        train=split_of(train),
        test=split_of(test),
        multilabel=False,
        classes=tuple(part.categories[category][1] for category in kept),
        notes=(*source.notes, *told, *class_notes(train, test, part, kept, rules)),
    )
