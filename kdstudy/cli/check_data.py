"""What ``check`` says of a study's data: parts, classes, what was left out, what to beware of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdstudy.study import Study
    from kdstudy.trial import Inspection

NAMED = 20
"""So many files are named in JSON for each reason that some were left out."""


def verify_images(study: Study) -> None:
    """Decode every image that any search of a study may look at.

    Raises:
        DataError: Some cannot be; all are counted, the first named.
    """
    from kdstudy.trial import verify_data

    verify_data(study.corners()[0][1], study.confirm.searches)


def about_data(found: Inspection, study: Study) -> Iterator[str]:
    """Yield what was found of data and teacher; nothing of data that are not here."""
    from kdstudy.data import data_lines

    if found.data is None:
        return
    yield from data_lines(found.data)
    yield from found.notes
    for line in _warnings(found, study):
        yield f"warning: {line}"


def data_document(found: Inspection, study: Study) -> dict[str, object]:
    """Return the same as JSON; nothing of data that are not here."""
    from kdstudy.data import class_counts

    data = found.data
    if data is None:
        return {}
    left_out = [
        {"folder": each.folder, "reason": each.reason, "count": len(each.files), "files": [*each.files[:NAMED]]}
        for each in data.left_out
    ]
    return {
        "data": {
            "name": data.name,
            "place": data.place,
            "image_shape": [*data.image_shape],
            "train": len(data.train),
            "val": len(data.val),
            "test": data.num_test,
            "classes": class_counts(data),
            "left_out": left_out,
            "notes": [*data.notes],
        },
        "notes": [*found.notes],
        "warnings": _warnings(found, study),
    }


def _warnings(found: Inspection, study: Study) -> list[str]:
    from kdstudy.data import shortages
    from kdstudy.trial import largest_batch, shared_images

    assert found.data is not None
    configs = [config for _, config in study.corners()]
    return [*found.warnings, *shortages(found.data, largest_batch(configs)), *shared_images(configs[0])]
