"""Augmentations by name: torchvision's own results, under random numbers of the trial's own."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kdstudy.data import Augmentation, batches, count_views, eval_batches, import_torchvision, view_batches
from kdstudy.data.dataset import Split
from kdstudy.data.imagefolder import load
from kdstudy.data.named import EpochChange, Named, middle
from kdstudy.errors import DataError
from kdstudy.plugins import AUGMENTATIONS
from kdstudy.seeds import derive

import_torchvision()
from torchvision.transforms import v2  # noqa: E402 - it needs the line above
from torchvision.transforms.v2 import functional  # noqa: E402

MEAN = (0.5, 0.25, 0.75)
RECIPE = (
    Named("random_resized_crop", {"scale": [0.2, 1.0]}),
    Named("flip"),
    Named("rand_augment"),
    Named("color_jitter", {"hue": 0.1}),
    Named("random_erasing", {"p": 0.5}),
)


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 24, side: int = 16, channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=stream(0))


def change(*named: Named, size: int = 16, seed: int = 5) -> EpochChange:
    return EpochChange(named, (size, size), MEAN, seed)


def epoch(images: Tensor, size: int = 8, order: int = 1, augment: int = 2) -> Tensor:
    """Return the images of an epoch in their own order."""
    part = Split(images, torch.zeros(len(images), dtype=torch.int64))
    augmentation = Augmentation(named=RECIPE, mean=MEAN)
    made = batches(
        part, batch_size=size, augmentation=augmentation, order=stream(order), augment=stream(augment), device="cpu"
    )
    found = torch.full((len(images), 3, 16, 16), torch.nan)
    for batch in made:
        found[batch.indices] = batch.images
    return found


def test_what_an_image_becomes_depends_on_the_epochs_seed_and_its_index_alone() -> None:
    images = pictures()
    whole = epoch(images)
    assert not whole.isnan().any()
    assert torch.equal(whole, epoch(images, size=6, order=9))
    assert not torch.equal(whole, epoch(images, augment=3))
    views = view_batches(
        Split(images, torch.zeros(24)),
        batch_size=10,
        augmentation=Augmentation(named=RECIPE, mean=MEAN),
        view=stream(2),
        device="cpu",
    )
    assert torch.equal(torch.cat([batch.images for batch in views])[:24], whole), "as the cache of views sees them"


def test_equal_images_are_changed_differently() -> None:
    same = pictures(1).expand(24, -1, -1, -1)
    assert len(epoch(same).flatten(1).unique(dim=0)) == 24


def test_sums_are_taken_by_one_thread_however_many_there_are() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        made = change(Named(f"{__name__}:telling"))(pictures(2), torch.arange(2))
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)
    assert (made == 1).all()


def test_the_global_generators_go_on_where_they_were() -> None:
    def drawn() -> list[float]:
        return [torch.rand(()).item(), float(np.random.rand()), random.random()]

    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    undisturbed = drawn()
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
    change(*RECIPE)(pictures(), torch.arange(24))
    assert drawn() == undisturbed


@pytest.mark.parametrize(
    ("named", "theirs"),
    [
        (RECIPE[0], v2.RandomResizedCrop(16, scale=(0.2, 1.0), antialias=True)),
        (Named("random_crop", {"padding": 3}), v2.RandomCrop(16, padding=3)),
        (Named("flip"), v2.RandomHorizontalFlip()),
        (Named("rand_augment", {"magnitude": 12, "num_ops": 3}), v2.RandAugment(3, 12)),
        (Named("trivial_augment_wide"), v2.TrivialAugmentWide()),
        (RECIPE[3], v2.ColorJitter(0.4, 0.4, 0.4, 0.1)),
        (RECIPE[4], v2.RandomErasing(0.5, value=[128, 64, 191])),
        (Named("random_erasing", {"p": 1.0, "fill": "black"}), v2.RandomErasing(1.0, scale=(0.02, 1 / 3))),
    ],
    ids=lambda each: each.name if isinstance(each, Named) else "",
)
def test_each_is_torchvisions_own_under_the_images_seed(named: Named, theirs: v2.Transform) -> None:
    images, indices = pictures(), torch.arange(24).flip(0)
    found = change(named)(images, indices)
    changed = 0
    for image, index, made in zip(images, indices.tolist(), found, strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(5, index))
            if named.name in ("rand_augment", "trivial_augment_wide"):
                expected = functional.pil_to_tensor(theirs(functional.to_pil_image(image)))
            else:
                expected = theirs(image)
        assert torch.equal(made, expected)
        changed += not torch.equal(made, image)
    assert changed > 3


def _windows(count: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield top, left, height and width of windows, read off an image whose channels are its rows and columns."""
    ramp = torch.arange(256, dtype=torch.uint8)
    place = torch.stack([ramp[:, None].expand(256, 256), ramp[None].expand(256, 256), torch.zeros(256, 256).byte()])
    made = change(Named("random_resized_crop", {"scale": [0.1, 0.5]}), size=256)(
        place.expand(count, -1, -1, -1), torch.arange(count)
    )
    for rows, columns, _ in made.int():
        top, bottom, left, right = (int(line) for line in (rows[0, 9], rows[-1, 9], columns[9, 0], columns[9, -1]))
        yield top, left, bottom - top + 1, right - left + 1


def test_windows_have_the_areas_ratios_and_places_asked_for() -> None:
    top, left, height, width = torch.tensor([*_windows(600)], dtype=torch.float64).T
    area, ratio = height * width / 256**2, (width / height).log() / math.log(4 / 3)
    assert 0.098 < area.min() < area.max() < 0.51
    assert abs(area.mean() - 0.3) < 4 * 0.4 / math.sqrt(12 * 600)
    assert abs(area.var().sqrt() - 0.4 / math.sqrt(12)) < 0.01
    assert abs(ratio.mean()) < 4 * 2 / math.sqrt(12 * 600)
    assert -1.02 < ratio.min() < -0.9 < 0.9 < ratio.max() < 1.02
    for place, side in ((top, height), (left, width)):
        assert abs((place / (256 - side)).mean() - 0.5) < 4 / math.sqrt(12 * 600)


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_the_share_of_mirrored_images_is_the_one_asked_for(p: float) -> None:
    images = pictures(1, side=4).expand(2000, -1, -1, -1)
    made = change(Named("flip", {"p": p}), size=4)(images, torch.arange(2000))
    mirrored = (made == images[0].flip(2)).flatten(1).all(1)
    assert ((made == images[0]).flatten(1).all(1) ^ mirrored).all()
    assert abs(float(mirrored.double().mean()) - p) < 4 * math.sqrt(p * (1 - p) / 2000)


def test_their_views_cannot_be_counted() -> None:
    with pytest.raises(DataError, match=r"^cache.mode: all_views .* changed by random_resized_crop, flip.*; write"):
        count_views(Augmentation(named=RECIPE, mean=MEAN))


@pytest.mark.parametrize("name", [*AUGMENTATIONS])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_one_that_is_registered_takes_grey_images_and_coloured_ones(name: str, channels: int) -> None:
    named = EpochChange((Named(name),), (12, 12), (0.5,) * channels, 1)
    made = named(pictures(3, channels=channels), torch.arange(3))
    assert made.shape == (3, channels, 12, 12)
    assert made.dtype == torch.uint8
    assert AUGMENTATIONS.load(name).__doc__


def telling() -> object:
    return lambda image: torch.full_like(image, torch.get_num_threads())


def halved() -> object:
    return lambda image: image[:, ::2, ::2]


def floating(*, by: float = 2.0) -> object:
    return lambda image: image / by


def noisy(*, level: int = 9) -> object:
    """Draw from all three generators."""

    def added(image: Tensor) -> Tensor:
        noise = torch.randint(0, level, image.shape) + int(np.random.randint(level)) + random.randrange(level)
        return (image // 2 + noise).to(torch.uint8)

    return added


def test_one_of_the_users_own_draws_from_the_images_seed_and_must_give_an_image() -> None:
    named = change(Named(f"{__name__}:noisy"))
    whole = named(pictures(), torch.arange(24))
    assert torch.equal(whole[7:9], named(pictures()[7:9], torch.arange(7, 9)))
    for wrong, message in (
        ("halved", "let no augmentation make them smaller"),
        ("floating", "must make a torch.uint8"),
    ):
        with pytest.raises(DataError, match=message) as error:
            change(Named(f"{__name__}:{wrong}"))(pictures(), torch.arange(24))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["random_resized_crop", "random_erasing"])
@pytest.mark.parametrize("option", ["scale", "ratio"])
def test_a_range_that_falls_is_refused_in_one_line(name: str, option: str) -> None:
    with pytest.raises(DataError, match=rf"^data.augment: {name}.{option} must be \[lowest, highest\], got .*; write"):
        change(Named(name, {option: [0.9, 0.3]}))(pictures(), torch.arange(24))


def folder(root: Path) -> Path:
    for part in ("train", "test"):
        for label in ("a", "b"):
            (root / part / label).mkdir(parents=True)
            for place in range(3):
                pixels = torch.randint(0, 256, (60, 80, 3), dtype=torch.uint8, generator=stream(place + ord(label)))
                Image.fromarray(pixels.numpy()).save(root / part / label / f"{place}.png")
    return root


def test_evaluation_looks_at_the_middle_of_what_windows_are_cut_from(tmp_path: Path) -> None:
    source = load(folder(tmp_path), False, size=28, resize=32, workers=0)
    assert source.test.images.shape[2:] == (32, 32)
    assert source.test.size == (28, 28)
    (batch,) = eval_batches(source.test, 8, "cpu")
    pixels = torch.randint(0, 256, (60, 80, 3), dtype=torch.uint8, generator=stream(ord("a")))
    theirs = functional.center_crop(
        functional.resize(functional.to_image(Image.fromarray(pixels.numpy())), [32], antialias=True), [28]
    )
    assert (batch.images[0] * 255 - theirs).abs().mean() < 4, "but for a window of whole pixels"
    for augmentation in (source.augmentation, Augmentation(), Augmentation(flip=True, cutout=3)):
        made = batches(
            source.train,
            batch_size=6,
            augmentation=augmentation,
            order=stream(1),
            augment=stream(2),
            device="cpu",
        )
        assert next(made).images.shape == (6, 3, 28, 28)
    with pytest.raises(DataError, match=r"^data.options.resize: must be at least size"):
        load(tmp_path, False, size=32, resize=28)


def test_windows_reach_the_border_of_what_is_kept() -> None:
    bordered = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    bordered[..., :2, :] = bordered[..., -2:, :] = 255
    assert not middle(bordered, (28, 28)).any()
    crop = change(Named("random_resized_crop", {"scale": [0.9, 1.0]}), size=28)
    made = crop(bordered.expand(16, -1, -1, -1), torch.arange(16))
    assert made.shape == (16, 3, 28, 28)
    assert (made.amax((1, 2, 3)) > 100).sum() >= 8


def test_processes_that_decode_change_images_as_one_does(tmp_path: Path) -> None:
    def images(count: int) -> Tensor:
        source = load(folder(tmp_path / str(count)), False, size=28, resize=32, workers=count, memory_gb=0)
        made = batches(
            source.train,
            batch_size=2,
            augmentation=Augmentation(named=RECIPE, mean=MEAN),
            order=stream(1),
            augment=stream(2),
            device="cpu",
        )
        return torch.cat([batch.images for batch in made])

    assert torch.equal(images(2), images(0))


SEEN = """
import sys
import torch
from kdstudy.data.imagefolder import load

def seen(images, indices):
    return torch.tensor(["torchvision" in sys.modules])

if __name__ == "__main__":
    from pathlib import Path
    images = load(Path(sys.argv[1]), False, size=28, workers=1, memory_gb=0).train.images
    print([made.tolist() for made in images.stream([torch.arange(2)], "cpu", seen)])
"""


@pytest.mark.slow
def test_processes_that_change_images_are_begun_with_what_is_slow_to_import(tmp_path: Path) -> None:
    root = folder(tmp_path / "images")
    (tmp_path / "seen.py").write_text(SEEN)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "seen", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path})
    assert done.stdout == "[[True]]\n"
