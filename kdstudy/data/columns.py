"""Tables of Hugging Face's ``datasets`` library as map-style data sets: which columns are images, which are labels."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdstudy.data.decode import open_image, reading
from kdstudy.errors import DataError

if TYPE_CHECKING:
    from PIL import Image as Images

LABEL = ("label", "labels")
"""What a column of labels is called whose feature does not say that it is one."""


@dataclass(frozen=True, eq=False)
class Rows:
    """A split as a map-style data set: an image that is not yet decoded, and its label.

    Args:
        table: A ``datasets.Dataset`` whose column ``image`` holds ``{"bytes": ..., "path": ...}``.
        image: That column.
        split: For messages.
        targets: Of all images.
        classes: Names, in order; empty where they have none.
    """

    table: Any
    image: str
    split: str
    targets: Sequence[Any]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Images.Image, Any]:
        stored: dict[str, Any] = self.table[index][self.image] or {}
        content, path = stored.get("bytes"), stored.get("path")
        where = f"image {index} of split '{self.split}'" + (f" ({path})" if path else "")
        with reading(where):
            if content is None and path is not None:
                content = Path(path).read_bytes()
            if content is None:
                raise DataError(f"data: {where} is empty; take it out of the data set")
            return open_image(io.BytesIO(content)), self.targets[index]


def rows_of(chosen: Mapping[str, tuple[str, Any]], image: str | None, label: str | None) -> list[Rows]:
    """Return the splits as map-style data sets.

    Args:
        chosen: Name and ``datasets.Dataset`` of each, by what it is for: ``train``, ``test``.
        image: Column of the images; None to find it.
        label: Likewise of the labels.

    Raises:
        DataError: No column is meant, or several could be; or an image has no label.
    """
    from datasets import Image

    parts: list[Rows] = []
    for key, (split, table) in chosen.items():
        shown, told = _image_column(table, split, image), _label_column(table, split, label)
        targets, classes = _labels(table, told, f"data.options.{key}: split '{split}'", parts)
        images = table.with_format(None).select_columns([shown]).cast_column(shown, Image(decode=False))
        parts.append(Rows(images, shown, split, targets, classes))
    return parts


def _image_column(table: Any, split: str, name: str | None) -> str:
    found: list[str] = [
        key for key, feature in table.features.items() if _holds_images(feature) and name in (None, key)
    ]
    if len(found) == 1:
        return found[0]
    raise _unknown("image", name, table, split, "holds images")


def _label_column(table: Any, split: str, name: str | None) -> str:
    if name is not None and name in table.features:
        return name
    found: list[str] = [key for key, feature in table.features.items() if _kind(feature).startswith("ClassLabel")]
    found = found or [key for key in LABEL if key in table.features]
    if name is None and len(found) == 1:
        return found[0]
    raise _unknown("label", name, table, split, "holds classes")


def _holds_images(feature: Any) -> bool:
    return _kind(feature) == "Image" or (isinstance(feature, dict) and {"bytes"} <= {*feature} <= {"bytes", "path"})


def _kind(feature: Any) -> str:
    """Return what a column holds, in a word or two."""
    if (inner := getattr(feature, "feature", None)) is not None:
        return f"{_kind(inner)} list"
    kind = type(feature).__name__
    return str(feature.dtype) if kind == "Value" else kind


def _unknown(key: str, name: str | None, table: Any, split: str, what: str) -> DataError:
    listed = ", ".join(f"{column} ({_kind(feature)})" for column, feature in table.features.items())
    why = f"not one column of split '{split}' alone {what}" if name is None else f"'{name}' is no column that {what}"
    return DataError(f"data.options.{key}: {why}; choose one of {listed}")


def _labels(table: Any, column: str, where: str, before: Sequence[Rows]) -> tuple[list[Any], tuple[str, ...]]:
    """Return the labels of a split, as `TrainTest` wants them, and the classes' names, those of parts before it."""
    feature = table.features[column]
    values = table.with_format(None).select_columns([column])[:][column]
    for index, value in enumerate(values):
        if value is None or value == -1:
            raise DataError(f"{where} has no label for image {index}, got {value}; name a split with labels")
    kind = _kind(feature)
    if kind == "ClassLabel":
        return values, tuple(feature.names)
    if kind == "ClassLabel list":
        names = tuple(feature.feature.names)
        return [tuple(int(k in value) for k in range(len(names))) for value in map(frozenset, values)], names
    if kind in ("string", "large_string"):
        names = before[0].classes if before else tuple(sorted({*values}))
        number = {name: label for label, name in enumerate(names)}
        for index, value in enumerate(values):
            if value not in number:
                raise DataError(f"{where} has the label '{value}' (image {index}), the training images have not")
        return [number[value] for value in values], names
    if "int" in kind or kind == "bool":
        return values, ()
    raise DataError(f"data.options.label: column '{column}' holds no labels but {kind}; choose another column")
