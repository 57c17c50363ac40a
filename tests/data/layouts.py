"""Small files in the layouts that real data sets have."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CATEGORIES = {1: "person", 3: "car", 90: "toothbrush"}
CLASSES = ("ant", "bee", "cat")


def pixels(generator: np.random.Generator, label: int, height: int, width: int) -> np.ndarray:
    """Noise on a colour of the class."""
    base = np.array([60 + 40 * label, 200 - 30 * label, 120])
    return np.clip(base + generator.integers(-50, 50, (height, width, 3)), 0, 255).astype(np.uint8)


def _pickle(path: Path, content: object) -> list[str]:
    path.write_bytes(pickle.dumps(content))
    return [path.name, hashlib.md5(path.read_bytes()).hexdigest()]


def _cifar_part(seed: int, count: int, key: str, classes: int = 5) -> dict[str, object]:
    generator = np.random.default_rng(seed)
    labels = [int(label) for label in generator.permutation(np.arange(count) % classes)]
    data = np.stack([pixels(generator, label, 32, 32).transpose(2, 0, 1).reshape(-1) for label in labels])
    return {"data": data, key: labels}


def make_cifar(root: Path, name: str) -> dict[str, object]:
    """Write tiny ``CIFAR10`` or ``CIFAR100`` files; return the sums that its class has to expect."""
    names = [f"class {number}" for number in range(5)]
    if name == "CIFAR10":
        folder = root / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        train = [_pickle(folder / f"data_batch_{number}", _cifar_part(number, 100, "labels")) for number in (1, 2)]
        test = [_pickle(folder / "test_batch", _cifar_part(9, 50, "labels"))]
        key, meta = "label_names", _pickle(folder / "batches.meta", {"label_names": names})
    else:
        folder = root / "cifar-100-python"
        folder.mkdir(parents=True)
        train = [_pickle(folder / "train", _cifar_part(3, 200, "fine_labels"))]
        test = [_pickle(folder / "test", _cifar_part(4, 50, "fine_labels"))]
        key, meta = "fine_label_names", _pickle(folder / "meta", {"fine_label_names": names})
    return {"train_list": train, "test_list": test, "meta": {"filename": meta[0], "key": key, "md5": meta[1]}}


def expect(monkeypatch: pytest.MonkeyPatch, name: str, sums: dict[str, object]) -> None:
    """Let torchvision's own check expect the tiny files; the check stays in force."""
    from kdstudy.data.torchvision_import import import_torchvision

    import_torchvision()
    from torchvision import datasets

    for attribute, value in sums.items():
        monkeypatch.setattr(getattr(datasets, name), attribute, value)


def make_coco(root: Path, *, train: int = 160, val: int = 40) -> None:
    """Write tiny COCO files: every image may have each category, ids have gaps, one image has none."""
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    generator = np.random.default_rng(0)
    start = 1
    for part, count in (("train", train), ("val", val)):
        images, annotations = [], []
        for number in range(start, start + count):
            name = f"{number:012}.jpg"
            chosen = [
                id_ for id_, share in zip(CATEGORIES, (0.7, 0.3, 0.15), strict=True) if generator.random() < share
            ]
            if number == start:
                chosen = []
            Image.fromarray(pixels(generator, len(chosen), 24, 32)).save(root / "images" / name)
            images.append({"id": number, "file_name": name, "width": 32, "height": 24})
            annotations += [
                {"id": len(annotations), "image_id": number, "category_id": id_, "iscrowd": 0}
                for id_ in chosen
                for _ in range(2)
            ]
        start += count
        categories = [{"id": id_, "name": name} for id_, name in reversed(CATEGORIES.items())]
        (root / "annotations" / f"instances_{part}.json").write_text(
            json.dumps({"images": images[::-1], "annotations": annotations, "categories": categories})
        )


def make_folders(root: Path, *, train: int = 40, test: int = 8, held_out: str = "test") -> None:
    """Write tiny image folders, ``train`` and ``test`` images a class."""
    generator = np.random.default_rng(1)
    for part, count in (("train", train), (held_out, test)):
        for label, name in enumerate(CLASSES):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(pixels(generator, label, 20, 30)).save(folder / f"{number:03}.png")
