"""What lies in a folder with one sub-folder per class: images and their classes, and what is left out and why."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kdstudy.data.decode import image_suffixes, is_image
from kdstudy.errors import DataError

HIDDEN = "hidden"
BESIDE = "beside the class folders"
NO_IMAGE = "no image by name"
MISNAMED = "an image, but not by name"
SPECIAL = "neither file nor folder"
LOOP = "a link back to a folder it is in"
AGAIN = "a link to what is there already"
EMPTY = "empty"
UNREADABLE = "damaged, or too large"

SNIFFED = 50
"""So many files that are no image by name are looked into; the others are taken at their word."""
NAMED = 3
"""So many files are named for each reason."""


class LeftOut(NamedTuple):
    """Files and folders that are left out for one reason.

    Attributes:
        folder: Below which they are.
        reason: Why.
        files: Their paths below it, in order; folders end with a slash.
    """

    folder: str
    reason: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        more = ", ..." if len(self.files) > NAMED else ""
        return f"{self.reason}: {len(self.files)} ({', '.join(self.files[:NAMED])}{more})"


class ClassFolders(NamedTuple):
    """Images by class, in the order of torchvision's ``ImageFolder``.

    Attributes:
        folder: Holds one sub-folder per class.
        classes: Their names, in order.
        paths: Of the images.
        labels: The class of each.
        left_out: What else is there.
    """

    folder: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    left_out: tuple[LeftOut, ...]

    def without(self, reasons: Mapping[str, str]) -> ClassFolders:
        """Return the same without some images.

        Args:
            reasons: Why, by path.

        Raises:
            DataError: A class would have none.
        """
        kept = [(path, label) for path, label in zip(self.paths, self.labels, strict=True) if path not in reasons]
        if bare := sorted({*self.labels} - {label for _, label in kept}):
            raise DataError(
                f"data.root: {self.folder / self.classes[bare[0]]} holds no image that can be read; put images in it, "
                "or take it away"
            )
        others = _by_reason(self.folder, [(why, path) for path, why in reasons.items() if path in {*self.paths}])
        return self._replace(
            paths=tuple(path for path, _ in kept),
            labels=tuple(label for _, label in kept),
            left_out=(*self.left_out, *others),
        )


def read_class_folders(folders: Sequence[Path]) -> list[ClassFolders]:
    """Return what lies in each of some folders, which have the same classes.

    Every file counts whose name ends as one that Pillow reads, and what a link leads to, but once.

    Raises:
        DataError: One cannot be looked into or has no class, a class has no image, classes differ, or a link would
            give images two classes or put them into two of the folders.
    """
    places = [os.path.realpath(folder) for folder in folders]
    if twice := [folder for folder, place in zip(folders, places, strict=True) if places.count(place) > 1]:
        raise DataError(
            f"data.root: {twice[0]} and {twice[1]} are one folder, so that students would be tested on what they learn "
            "from; give each its own images"
        )
    seen = {place: (str(folder), "") for place, folder in zip(places, folders, strict=True)}
    try:
        parts = [_read(folder, seen) for folder in folders]
    except OSError as error:
        raise DataError(
            f"data.root: {error.filename} cannot be looked into ({error.strerror}); correct it, or take it away"
        ) from error
    for other in parts[1:]:
        if differing := sorted({*parts[0].classes} ^ {*other.classes}):
            raise DataError(
                f"data.root: {parts[0].folder} and {other.folder} have different classes, such as '{differing[0]}'; "
                "give both the same sub-folders"
            )
    return parts


def left_out_notes(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """Yield a line for each folder below which something is left out."""
    for folder in dict.fromkeys(each.folder for each in left_out):
        told = "; ".join(str(each) for each in left_out if each.folder == folder)
        yield f"left out of {folder}: {told}"


def _read(folder: Path, seen: dict[str, tuple[str, str]]) -> ClassFolders:
    others: list[tuple[str, str]] = []
    folders, beside = _listed(str(folder), others)
    others += [(BESIDE, path) for path in beside]
    # All classes first: a link from one into another would give its images two labels.
    folders = [path for path in folders if _visit(path, path, seen, others)]
    if not folders:
        raise DataError(f"data.root: {folder} has no sub-folder; put images in one sub-folder per class")
    paths: list[str] = []
    labels: list[int] = []
    for label, path in enumerate(folders):
        files = [file for _, found in sorted(_walk(path, path, seen, others)) for file in found]
        images = [file for file in files if Path(file).suffix.lower() in image_suffixes()]
        if not images:
            raise DataError(f"data.root: {path} holds no image ({len(files)} files); put images in it, or take it away")
        paths += images
        labels += [label] * len(images)
        others += [(NO_IMAGE, file) for file in files if Path(file).suffix.lower() not in image_suffixes()]
    classes = tuple(Path(path).name for path in folders)
    return ClassFolders(folder, classes, tuple(paths), tuple(labels), _by_reason(folder, _sniffed(others)))


def _walk(
    folder: str, of: str, seen: dict[str, tuple[str, str]], others: list[tuple[str, str]]
) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder of a class from here down with its files in order; what a link leads to counts, but once."""
    folders, files = _listed(folder, others)
    yield folder, files
    for inner in sorted(folders, key=lambda path: (os.path.islink(path), path)):  # noqa: PTH114 - many of them
        if _visit(inner, of, seen, others):
            yield from _walk(inner, of, seen, others)


def _listed(folder: str, others: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return the folders and files in a folder, each in order; note what else is there."""
    folders, files = [], []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        kind = _kind(entry)
        if entry.name.startswith("."):
            others.append((HIDDEN, entry.path + "/" * (kind == "folder")))
        elif kind == "folder":
            folders.append(entry.path)
        elif kind == "file":
            files.append(entry.path)
        else:
            others.append((kind, entry.path))
    return folders, files


def _kind(entry: os.DirEntry[str]) -> str:
    """Return what an entry is: a folder, a file (gone, if a link leads nowhere), or why it is neither."""
    try:
        if entry.is_dir():
            return "folder"
        return "file" if entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)) else SPECIAL  # noqa: PTH110
    except OSError:  # links that lead to each other
        return LOOP


def _visit(folder: str, of: str, seen: dict[str, tuple[str, str]], others: list[tuple[str, str]]) -> bool:
    """Note a folder of a class and return whether its images are to be read: not where they are there already.

    Raises:
        DataError: They are there in another class, or in another of the folders that are read.
    """
    place = os.path.realpath(folder)
    if os.path.islink(folder) and _holds(place, os.path.dirname(folder)):  # noqa: PTH114, PTH120 - many of them
        others.append((LOOP, folder + "/"))
        return False
    known = seen.setdefault(place, (folder, of))
    if known[0] == folder and known[1] == of:
        return True
    if known[1] == of:
        others.append((AGAIN, folder + "/"))
        return False
    raise DataError(
        f"data.root: {folder} and {known[0]} are one folder, whose images would count twice; remove the link"
    )


def _holds(place: str, folder: str) -> bool:
    """Return whether a folder is one of those that another, or a link on the way to it, lies in."""
    above = [folder, *map(str, Path(folder).parents)]
    return any(os.path.realpath(each) == place for each in above)


def _sniffed(others: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield what is left out, images with other names under a reason of their own."""
    looked = 0
    for reason, path in others:
        looked += reason == NO_IMAGE
        misnamed = reason == NO_IMAGE and looked <= SNIFFED and is_image(path)
        yield (MISNAMED if misnamed else reason), path


def _by_reason(folder: Path, others: Sequence[tuple[str, str]] | Iterator[tuple[str, str]]) -> tuple[LeftOut, ...]:
    """Return what is left out, the most first."""
    found: dict[str, list[str]] = defaultdict(list)
    for reason, path in others:
        found[reason].append(path.removeprefix(f"{folder}{os.sep}"))
    ranked = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(LeftOut(str(folder), reason, tuple(sorted(files))) for reason, files in ranked)
