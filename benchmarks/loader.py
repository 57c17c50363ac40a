"""Images a second that one core loads at 224 px for training: ours, and plain torch with Pillow and v2 transforms.

Every contender decodes the same JPEGs of a folder in this process, with one thread, and makes batches of 64 of them:
random windows and mirrors, with or without RandAugment. Ours decodes to 256 x 256 (``resize: 256``) and cuts windows
from that; ``kept`` has them decoded already. ``torch, as its recipes``: windows of the whole file; ``torch, our
windows``: of 256 x 256, as ours. What is counted is CPU time, so it is what each process of a loader does on a core of
its own, but for handing batches over. The last line is what a network needs: resnet18, forward and backward.

    python benchmarks/loader.py FOLDER [ROUNDS [IMAGES]]
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timing import alternate, ratio, table, where
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kdstudy.data import Augmentation, Batch, Split, batches, import_torchvision
from kdstudy.data.files import ImageFiles
from kdstudy.data.named import Named

import_torchvision()
import torchvision  # noqa: E402 - it needs the line above
from torchvision.transforms import v2  # noqa: E402

SIZE, KEPT, BATCH = 224, 256, 64
RECIPES = {
    "windows, mirrors": (Named("random_resized_crop"), Named("flip")),
    "and RandAugment": (Named("random_resized_crop"), Named("flip"), Named("rand_augment")),
}
BASE = "torch, as its recipes"


class Pictures(Dataset[Tensor]):
    """What everybody writes: one file at a time, opened by Pillow."""

    def __init__(self, paths: list[str], transform: Callable[[Any], Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Tensor:
        with Image.open(self.paths[place]) as image:
            return self.transform(image.convert("RGB"))


def main(folder: str, rounds: int, count: int) -> None:
    """Run and print."""
    paths = sorted(map(str, itertools.chain(*(Path(folder).rglob(f"*.{end}") for end in ("jpg", "jpeg", "JPEG")))))
    paths = paths[:count]
    if len(paths) < BATCH:
        sys.exit(f"{folder}: has {len(paths)} JPEGs, a batch takes {BATCH}; name another folder")
    width, height = np.mean([Image.open(path).size for path in paths], axis=0)
    print(where(), f"{rounds} rounds over {len(paths)} JPEGs of {width:.0f} x {height:.0f} in the mean", flush=True)
    rows = []
    for title, named in RECIPES.items():
        seconds = alternate(contenders(paths, named), rounds)
        for name in seconds:
            rate = len(paths) / float(np.median(seconds[name]))
            rows.append([title, name, f"{rate:.0f}", ratio(seconds, BASE, name)])
    rate = BATCH / float(np.median(alternate({"resnet18": network_step()}, rounds)["resnet18"]))
    rows.append(["", "resnet18, forward and backward", f"{rate:.1f}", ""])
    head = ["work", "contender", "images/s and core", f"times {BASE}"]
    print(table(head, rows))


def contenders(paths: list[str], named: tuple[Named, ...]) -> dict[str, Callable[[], object]]:
    """Return what is measured, each an epoch over all images."""
    files = ImageFiles(tuple(paths), size=KEPT, fit="crop", memory=0, workers=0)
    labels = torch.zeros(len(paths), dtype=torch.int64)
    on_disk = Split(files, labels, side=SIZE)
    kept = Split(files.decoded(), labels, side=SIZE)
    return {
        BASE: lambda: drain(plain(paths, named, ())),
        "torch, our windows": lambda: drain(plain(paths, named, (v2.Resize(KEPT), v2.CenterCrop(KEPT)))),
        "kdstudy, from disk": lambda: drain(ours(on_disk, named)),
        "kdstudy, kept": lambda: drain(ours(kept, named)),
    }


def plain(paths: list[str], named: tuple[Named, ...], first: tuple[Any, ...]) -> Iterator[Tensor]:
    """Return torch's loader over Pillow's images and v2's transforms, and floats in [0, 1] as ours gives them."""
    steps = [v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip()]
    steps += [v2.RandAugment()] if len(named) > 2 else []
    end = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    data = Pictures(paths, v2.Compose([*first, *steps, *end]))
    return iter(DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True))


def ours(split: Split, named: tuple[Named, ...]) -> Iterator[Batch]:
    """Return one epoch's batches."""
    order, augment = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    augmentation = Augmentation(named=named, mean=(0.5, 0.5, 0.5))
    return batches(split, batch_size=BATCH, augmentation=augmentation, order=order, augment=augment, device="cpu")


def drain(made: Iterator[Any]) -> None:
    """Take every batch."""
    for _ in made:
        pass


def network_step() -> Callable[[], object]:
    """Return one forward and backward pass over a batch."""
    network = torchvision.models.resnet18()
    images = torch.rand(BATCH, 3, SIZE, SIZE)

    def step() -> None:
        network(images).logsumexp(1).sum().backward()

    return step


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5, int(sys.argv[3]) if len(sys.argv) > 3 else 256)
