"""What every data set promises."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from kdstudy.data import Dataset, load_data


class DatasetSuite:
    """Tests of one data set; derive from it and set `plugin`.

    Attributes:
        plugin: Registered name, or ``package.module:name``.
        options: Options it is loaded with, where its defaults do not do.
        root: Folder of its files, if it has any; None for the default.
    """

    plugin: str
    options: ClassVar[dict[str, Any]] = {}
    root: str | None = None

    def load(self, *, split_seed: int = 0, with_test: bool = False) -> Dataset:
        """Return the data set with a fifth of its training images for validation."""
        return load_data(
            self.plugin,
            val_fraction=0.2,
            root=self.root,
            options=self.options,
            split_seed=split_seed,
            with_test=with_test,
        )

    def test_parts_are_well_formed(self) -> None:
        """Images (N, C, H, W) uint8, labels (N,) int64 or (N, K) float32, every class in every part."""
        data = self.load(with_test=True)
        assert data.test is not None
        for part in (data.train, data.val, data.test):
            if isinstance(part.images, Tensor):
                assert part.images.dtype == torch.uint8
                assert part.images.shape == (len(part), *data.image_shape)
            assert part.labels.shape == ((len(part), data.num_classes) if data.multilabel else (len(part),))
            assert part.labels.dtype == (torch.float32 if data.multilabel else torch.int64)
            assert _positives(data, part.labels).any(dim=0).all(), "a class without an image"
        assert len(data.mean) == len(data.std) == data.image_shape[0]
        assert all(0 < mean < 1 for mean in data.mean)
        assert all(std > 0 for std in data.std)

    def test_the_split_is_a_function_of_its_seed(self) -> None:
        """Equal seeds give equal parts and one fingerprint, others other parts, of equal sizes but for groups."""
        first, again, other = self.load(), self.load(), self.load(split_seed=1)
        assert torch.equal(first.val.labels, again.val.labels)
        assert first.fingerprint == again.fingerprint
        assert first.fingerprint != other.fingerprint
        assert len(first.train) + len(first.val) == len(other.train) + len(other.val)
        assert first.train.groups is not None or len(first.val) == len(other.val)

    def test_no_group_of_images_is_divided(self) -> None:
        """What must stay together is all for training or all for validation, whatever the seed."""
        for seed in range(5):
            data = self.load(split_seed=seed)
            groups = [{*part.groups.tolist()} if part.groups is not None else set() for part in (data.train, data.val)]
            assert not groups[0] & groups[1], "a group on both sides"

    def test_the_test_split_stays_shut_unless_asked_for(self) -> None:
        """Search must not be able to look at it."""
        assert self.load().test is None


def _positives(data: Dataset, labels: Tensor) -> Tensor:
    """Return (N, K): whether an image has a class."""
    return labels > 0 if data.multilabel else labels[:, None] == torch.arange(data.num_classes)
