"""Load a data set by name, carve its validation split, and fingerprint it; once per process."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kdstudy.data.dataset import Augmentation, Dataset, Source, Split
from kdstudy.data.items import ItemImages
from kdstudy.data.named import Named
from kdstudy.data.own import as_source, seeded_globals
from kdstudy.data.split import combine, digest, stratified
from kdstudy.data.stored import StoredImages
from kdstudy.errors import DataError
from kdstudy.plugins import DATASETS
from kdstudy.seeds import derive
from kdstudy.settings import Settings
from kdstudy.storage import folder_at, is_bucket, node_folder


def load_data(  # noqa: PLR0913 - each argument is a key of the study file
    name: str,
    *,
    val_fraction: float,
    split_seed: int,
    root: str | Path | None = None,
    train_images: int | None = None,
    download: bool = False,
    augment: bool | Sequence[tuple[str, Mapping[str, Any]]] = True,
    options: Mapping[str, Any] | None = None,
    with_test: bool = False,
    decoded: bool = True,
) -> Dataset:
    """Return a data set with a validation split carved from its official training split.

    Equal arguments give the same tensors without loading again, ``with_test`` aside.

    Args:
        name: A registered data set, or ``package.module:load``.
        val_fraction: Share of the training images kept for validation, in (0, 1).
        split_seed: Seed of that choice and of ``train_images``; >= 0.
        root: Folder of the files, or ``s3://`` location, from which each machine fetches them once; by default
            ``$KDSTUDY_DATA``, else ``./data``.
        train_images: Take only so many of the official training images, in proportion to the classes, before
            the split; None for all. Of images in groups, whole groups: nearly so many.
        download: Whether missing files may be fetched.
        augment: Whether training batches are augmented in the data set's customary way; or, in place of that, names and
            options of augmentations, in order.
        options: Of the data set.
        with_test: Whether ``test`` is given; the fingerprint is the same either way.
        decoded: Whether images in files are decoded now, if they may stay in memory; False where none is looked at.

    Raises:
        PluginError: No data set of that name.
        DataError: It is missing, or too small for the request.
        StoreError: It cannot be fetched.
    """
    location = _location(root)
    plain = json.dumps(dict(options or {}), sort_keys=True)
    dataset = _load(
        name,
        folder=_folder(location),
        download=download,
        options=plain,
        val_fraction=val_fraction,
        train_images=train_images,
        split_seed=split_seed,
    )
    test = dataset.test
    assert test is not None
    ready = _decoded if decoded and _fits([dataset.train, dataset.val, test]) else _as_they_are
    return replace(
        dataset,
        train=ready(dataset.train),
        val=ready(dataset.val),
        test=ready(test) if with_test else None,
        augmentation=_augmentation(dataset, augment),
        place=location if dataset.place and is_bucket(location) else dataset.place,
    )


def forget_data() -> None:
    """Give back the memory of data sets that this process has loaded and needs no more."""
    _decoded.cache_clear()
    _load.cache_clear()


def verify_images(  # noqa: PLR0913 - as `load_data`
    name: str,
    *,
    split_seeds: Sequence[int],
    val_fraction: float,
    root: str | Path | None = None,
    train_images: int | None = None,
    download: bool = False,
    options: Mapping[str, Any] | None = None,
) -> None:
    """See that every image that a study will look at can be, before anything is trained.

    Images that are not in memory are decoded once: what fits in memory as `load_data` does it, which then need not.

    Args:
        name: As for `load_data`, like all but the seeds.
        split_seeds: Of all its searches, each of which may take other training images; the study's own first.
        val_fraction: Likewise.
        root: Likewise.
        train_images: Likewise.
        download: Likewise.
        options: Likewise.

    Raises:
        DataError: A file cannot be decoded, or a search would have no score.
    """
    place: dict[str, Any] = {"root": root, "download": download, "options": options}
    whole: dict[str, Any] = {"val_fraction": val_fraction, "train_images": train_images, "with_test": True, **place}
    data = load_data(name, split_seed=split_seeds[0], **whole)
    parts = [part.images for part in (data.train, data.val, data.test) if part is not None]
    for images in parts:
        if isinstance(images, StoredImages):
            images.verify()
    if len(split_seeds) == 1:
        return
    source = _source(name, _folder(_location(root)), download, options or {})
    stored = source.train.images if isinstance(source.train.images, StoredImages) else None
    if stored is None and not data.multilabel and data.train.groups is None:
        return
    taken = [torch.cat(_divide(source, train_images, val_fraction, seed)) for seed in split_seeds]
    if stored is not None:
        later = torch.unique(torch.cat(taken[1:]))
        stored.take(later[~torch.isin(later, taken[0])]).verify()


def _augmentation(dataset: Dataset, augment: bool | Sequence[tuple[str, Mapping[str, Any]]]) -> Augmentation:
    if isinstance(augment, bool):
        return dataset.augmentation if augment else Augmentation()
    return Augmentation(named=tuple(Named(*each) for each in augment), mean=dataset.mean)


@functools.cache
def _fetched(location: str) -> Path:
    return folder_at(location).on_disk(node_folder())


def _location(root: str | Path | None) -> str:
    return str(root or Settings.read().data or "data")


def _folder(location: str) -> Path:
    return _fetched(location) if is_bucket(location) else Path(location).expanduser().absolute()


@functools.lru_cache(maxsize=2)
def _load(  # noqa: PLR0913 - together the key of the cache
    name: str,
    *,
    folder: Path,
    download: bool,
    options: str,
    val_fraction: float,
    train_images: int | None,
    split_seed: int,
) -> Dataset:
    source = _source(name, folder, download, json.loads(options))
    _refuse_unlabelled(source.test, "test")
    if source.classes and len(source.classes) != source.num_classes:
        raise DataError(f"data: {name} has {source.num_classes} classes and names {len(source.classes)}; correct it")
    train, val = _divide(source, train_images, val_fraction, split_seed)
    splits = {"train": source.train.take(train), "val": source.train.take(val), "test": source.test}
    if _fits([*splits.values()]):  # what is read for the fingerprint anyway is kept
        splits = {part: split.decoded() if _known_by_pixels(split) else split for part, split in splits.items()}
    fingerprints = {part: digest(split.images, split.labels) for part, split in splits.items()}
    if source.train.side is not None:
        fingerprints["side"] = hashlib.sha256(str(source.train.side).encode()).hexdigest()
    fingerprints["split"] = digest(train, val)
    channels, (height, width) = source.train.images.shape[1], source.train.size
    return Dataset(
        name=name,
        num_classes=source.num_classes,
        multilabel=source.multilabel,
        image_shape=(channels, height, width),
        **splits,
        mean=source.mean,
        std=source.std,
        augmentation=source.augmentation,
        fingerprint=combine(fingerprints),
        fingerprints=fingerprints,
        num_test=len(source.test),
        classes=source.classes,
        place=source.place,
        notes=source.notes,
        left_out=source.left_out,
    )


def _source(name: str, folder: Path, download: bool, options: Mapping[str, Any]) -> Source:
    with seeded_globals():
        made = DATASETS.call(name, folder, download, options=options)
    return as_source(made, name)


def _divide(
    source: Source, train_images: int | None, val_fraction: float, split_seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which of the official training images are for training, and which for validation."""
    kept = _subset(source, train_images, split_seed)
    chosen = len(kept)
    count = round(val_fraction * chosen)
    if not 0 < count < chosen:
        raise DataError(
            f"data.val_fraction: {val_fraction} of {chosen} training images is {count}; "
            "choose a share that leaves images on both sides"
        )
    generator = torch.Generator().manual_seed(derive(split_seed, "validation split"))
    whole = source.train
    groups = None if whole.groups is None else whole.groups[kept]
    parts = stratified(whole.labels[kept], count, generator, "data.val_fraction", source.classes, groups)
    val, train = (kept[part] for part in parts)
    for part, indices in (("training", train), ("validation", val)):
        _refuse_unlabelled(source.train.take(indices), part)
    return train, val


def _refuse_unlabelled(split: Split, part: str) -> None:
    """Refuse images on which no score is defined, before anything is trained for them."""
    if len(split) == 0 or (split.labels.is_floating_point() and not bool(split.labels.any())):
        found = "no image" if len(split) == 0 else f"no label on any of its {len(split)} images"
        raise DataError(f"data: the {part} split has {found}, so that no score is defined on it; give it some")


def _fits(splits: Sequence[Split]) -> bool:
    """Return whether the images of all splits, once decoded, may stay in memory."""
    total = sum(split.images.nbytes for split in splits)
    stored = [split.images for split in splits if isinstance(split.images, StoredImages)]
    return all(total <= images.memory for images in stored)


def _known_by_pixels(split: Split) -> bool:
    return isinstance(split.images, ItemImages) and split.images.quickly_known


def _as_they_are(split: Split) -> Split:
    return split


@functools.lru_cache(maxsize=6)
def _decoded(split: Split) -> Split:
    """Decode a split when it is first asked for, never before."""
    return split.decoded()


def _subset(source: Source, train_images: int | None, split_seed: int) -> torch.Tensor:
    available = len(source.train)
    if train_images is None or train_images == available:
        return torch.arange(available)
    if not 0 < train_images < available:
        raise DataError(f"data.train_images: the data set has {available}, got {train_images}; choose 1 to {available}")
    generator = torch.Generator().manual_seed(derive(split_seed, "train images"))
    whole = source.train
    return stratified(whole.labels, train_images, generator, "data.train_images", source.classes, whole.groups)[0]
