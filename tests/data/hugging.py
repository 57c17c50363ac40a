"""Small data sets in the folders that the datasets library of Hugging Face reads."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.data.layouts import CLASSES, pixels

ROWS = {"train": 24, "test": 9}
"""How many images each split has."""


def rows(count: int, seed: int, side: int = 8) -> dict[str, list[Any]]:
    """Images of three classes, as columns: in PNG, in the order of their classes."""
    generator = np.random.default_rng(seed)
    labels = sorted(index % len(CLASSES) for index in range(count))
    images = []
    for label in labels:
        file = io.BytesIO()
        Image.fromarray(pixels(generator, label, side, side)).save(file, "PNG")
        images.append({"bytes": file.getvalue(), "path": None})
    return {"image": images, "label": labels}


def make_hub_folder(folder: Path, kind: str, *, side: int = 8, counts: dict[str, int] = ROWS) -> Path:
    """Write a data set as ``parquet`` or ``arrow`` files, by ``save_to_disk``, or as ``images`` in folders."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=[*CLASSES])})
    columns = {part: rows(count, seed, side) for seed, (part, count) in enumerate(counts.items())}
    parts = {part: datasets.Dataset.from_dict(found, features=features) for part, found in columns.items()}
    folder.mkdir(parents=True)
    if kind == "saved":
        datasets.DatasetDict(parts).save_to_disk(str(folder))
    for part, table in parts.items():
        if kind == "parquet":
            table.to_parquet(str(folder / f"{part}-00000-of-00001.parquet"))
        if kind == "arrow":
            table.save_to_disk(str(folder / "made"))
            (made,) = (folder / "made").glob("*.arrow")
            made.rename(folder / f"{part}.arrow")
            for file in (folder / "made").iterdir():
                file.unlink()
            (folder / "made").rmdir()
        if kind == "images":
            for index, (image, label) in enumerate(zip(columns[part]["image"], columns[part]["label"], strict=True)):
                file = folder / part / CLASSES[label] / f"{index:03}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(image["bytes"])
    return folder
