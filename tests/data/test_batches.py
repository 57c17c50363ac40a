"""Batches against a naive loop over samples."""

import pytest
import torch
from torch import Tensor

from kdstudy.data.batches import (
    batches,
    count_views,
    eval_batches,
    num_batches,
    view_batches,
    views_drawn,
)
from kdstudy.data.dataset import Augmentation, Split
from kdstudy.data.pixels import cut_out, draw_windows, scale_windows, shift_and_flip
from kdstudy.errors import DataError


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


PLAIN = Augmentation()


def split(size: int = 50) -> Split:
    images = torch.randint(0, 256, (size, 3, 6, 5), dtype=torch.uint8, generator=stream(0))
    return Split(images, torch.arange(size) % 4)


def epoch(
    part: Split,
    augmentation: Augmentation = PLAIN,
    size: int = 8,
    order: int = 1,
    augment: int = 2,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    return list(
        batches(
            part, batch_size=size, augmentation=augmentation, order=stream(order), augment=stream(augment), device="cpu"
        )
    )


@pytest.mark.parametrize("pad", [0, 1, 4])
def test_shift_and_flip_equals_a_loop_over_samples(pad: int) -> None:
    images = split(20).images
    shifts = torch.randint(0, 2 * pad + 1, (20, 2), generator=stream(3))
    flips = torch.rand(20, generator=stream(4)) < 0.5
    expected = torch.zeros_like(images)
    for i, ((down, right), flip) in enumerate(zip(shifts.tolist(), flips.tolist(), strict=True)):
        padded = torch.zeros(3, 6 + 2 * pad, 5 + 2 * pad, dtype=torch.uint8)
        padded[:, pad : pad + 6, pad : pad + 5] = images[i]
        window = padded[:, down : down + 6, right : right + 5]
        expected[i] = window.flip(2) if flip else window
    assert torch.equal(shift_and_flip(images, shifts, flips, pad), expected)


def test_without_augmentation_images_are_the_splits_in_zero_to_one() -> None:
    part = split()
    for images, labels, indices in epoch(part):
        assert images.dtype == torch.float32
        assert torch.equal(images, part.images[indices].float() / 255)
        assert torch.equal(labels, part.labels[indices])


def test_every_sample_has_a_shift_and_flip_of_its_own() -> None:
    ramp = torch.arange(1, 31, dtype=torch.uint8).view(1, 1, 6, 5).repeat(64, 1, 1, 1)
    ((images, _, _),) = epoch(Split(ramp, torch.zeros(64, dtype=torch.long)), Augmentation(2, True), size=64)
    assert len(images.unique(dim=0)) > 20


def test_a_samples_view_does_not_depend_on_order_or_batch_size() -> None:
    part, augmentation = split(48), Augmentation(2, True)

    def views(**settings: int) -> Tensor:
        found = torch.zeros(48, 3, 6, 5)
        for images, _, indices in epoch(part, augmentation, **settings):
            found[indices] = images
        return found

    assert torch.equal(views(size=8, order=1), views(size=16, order=9))
    assert not torch.equal(views(augment=2), views(augment=3))


def test_equal_seeds_give_equal_batches_and_others_do_not() -> None:
    part, augmentation = split(), Augmentation(1, True)
    first, again = epoch(part, augmentation), epoch(part, augmentation)
    for one, two in zip(first, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(first[0][2], epoch(part, augmentation, order=5)[0][2])


def test_no_sample_repeats_and_a_last_partial_batch_is_left_out() -> None:
    indices = [index for _, _, part in epoch(split(50), size=8) for index in part.tolist()]
    assert len(indices) == len(set(indices)) == 48 == 8 * num_batches(50, 8)


def test_fewer_samples_than_a_batch_give_one_batch() -> None:
    ((images, _, _),) = epoch(split(5), size=8)
    assert len(images) == 5
    assert num_batches(5, 8) == 1


def test_evaluation_sees_every_sample_once_in_order() -> None:
    part = split(50)
    found = list(eval_batches(part, 16, "cpu"))
    assert [len(images) for images, _, _ in found] == [16, 16, 16, 2]
    assert torch.equal(torch.cat([indices for _, _, indices in found]), torch.arange(50))
    assert torch.equal(torch.cat([images for images, _, _ in found]), part.images.float() / 255)


def test_making_batches_leaves_the_split_as_it_was() -> None:
    part = split()
    before = part.images.clone()
    epoch(part, Augmentation(2, True))
    list(eval_batches(part, 16, "cpu"))
    assert torch.equal(part.images, before)


@pytest.mark.parametrize("view", ["whole", "quarter", "between"])
def test_a_window_is_scaled_as_a_loop_over_pixels_does(view: str) -> None:
    images = split(3).images.float()
    between = (0.1, 0.25, 0.7, 0.55)
    window = {"whole": (0.0, 0.0, 1.0, 1.0), "quarter": (0.5,) * 4, "between": between}[view]
    found = scale_windows(images, torch.tensor([window] * 3))
    top, left, height, width = window
    for row in range(6):
        for column in range(5):
            # The centre of this pixel, as a place between the centres of the image's pixels.
            y = min(max((top + height * (row + 0.5) / 6) * 6 - 0.5, 0), 5)
            x = min(max((left + width * (column + 0.5) / 5) * 5 - 0.5, 0), 4)
            y0, x0 = min(int(y), 4), min(int(x), 3)
            dy, dx = y - y0, x - x0
            square = images[:, :, y0 : y0 + 2, x0 : x0 + 2]
            rows = square[:, :, 0] * (1 - dy) + square[:, :, 1] * dy
            expected = rows[:, :, 0] * (1 - dx) + rows[:, :, 1] * dx
            assert torch.allclose(found[:, :, row, column], expected, atol=1e-3)


def test_windows_lie_in_the_image_and_have_the_area_and_ratio_asked_for() -> None:
    top, left, height, width = draw_windows(4000, 0.25, stream(0)).double().unbind(1)
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 1 + 1e-6
    area, ratio = height * width, width / height
    uncut = (height < 1) & (width < 1)
    assert area[uncut].min() >= 0.25 - 1e-6
    assert abs(area.mean() - 0.61) < 0.03  # 0.625 less what is cut
    assert ratio.min() >= 0.75 - 1e-6
    assert ratio.max() <= 4 / 3 + 1e-6
    assert abs(ratio.log().mean()) < 0.02


@pytest.mark.parametrize(("centre", "blackened"), [((2, 2), 9), ((0, 0), 4), ((5, 4), 4), ((0, 2), 6)])
def test_a_square_is_cut_out_and_clipped_at_the_border(centre: tuple[int, int], blackened: int) -> None:
    found = cut_out(torch.ones(1, 2, 6, 5), torch.tensor([centre]), 3)
    assert found[0, 0, centre[0], centre[1]] == 0
    assert (found == 0).sum() == 2 * blackened


def test_every_sample_has_a_window_and_a_hole_of_its_own() -> None:
    flat = Split(torch.full((64, 1, 6, 5), 200, dtype=torch.uint8), torch.zeros(64, dtype=torch.long))
    ((images, _, _),) = epoch(flat, Augmentation(cutout=2), size=64)
    assert len(images.unique(dim=0)) > 15
    ramp = torch.arange(1, 31, dtype=torch.uint8).view(1, 1, 6, 5).repeat(64, 1, 1, 1)
    ((images, _, _),) = epoch(Split(ramp, flat.labels), Augmentation(crop=0.5), size=64)
    assert len(images.unique(dim=0)) == 64


def test_further_augmentation_does_not_change_the_shifts() -> None:
    part = split(48)
    plain = epoch(part, Augmentation(2, True))
    cut = epoch(part, Augmentation(2, True, cutout=2))
    for (images, _, _), (holed, _, _) in zip(plain, cut, strict=True):
        assert ((images == holed) | (holed == 0)).all()


@pytest.mark.parametrize("augmentation", [PLAIN, Augmentation(pad=1), Augmentation(flip=True), Augmentation(2, True)])
def test_every_view_that_an_epoch_draws_has_its_number(augmentation: Augmentation) -> None:
    part, count = split(48), count_views(augmentation)
    assert count == (2 * augmentation.pad + 1) ** 2 * (1 + augmentation.flip)
    numbers = views_drawn(48, augmentation, stream(2))
    assert 0 <= int(numbers.min()) <= int(numbers.max()) < count
    every = torch.stack(
        [
            torch.cat(
                [
                    images
                    for images, _, _ in view_batches(
                        part, batch_size=24, augmentation=augmentation, view=v, device="cpu"
                    )
                ]
            )
            for v in range(count)
        ]
    )
    assert len(every.flatten(2).unique(dim=0)) == count, "no two numbers are one view"
    for images, _, indices in epoch(part, augmentation, augment=2):
        assert torch.equal(images, every[numbers[indices], indices])


def test_cifars_recipe_has_162_views_and_random_windows_none_that_can_be_counted() -> None:
    assert count_views(Augmentation(pad=4, flip=True)) == 162
    for augmentation in (Augmentation(crop=0.5), Augmentation(cutout=4)):
        with pytest.raises(DataError, match="all_views needs views that can be counted"):
            count_views(augmentation)
