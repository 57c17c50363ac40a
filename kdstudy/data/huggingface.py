"""Data sets of the Hugging Face hub, or folders, as its ``datasets`` library (extra ``hf``) reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le, Lt

from kdstudy.data.columns import rows_of
from kdstudy.data.dataset import IMAGENET_MEAN, IMAGENET_STD, Augmentation, Source
from kdstudy.data.files import White
from kdstudy.data.own import TrainTest, as_source
from kdstudy.data.stored import Gigabytes, Side, Workers
from kdstudy.errors import DataError

NAME = "huggingface"
HELD_OUT = ("test", "validation", "valid", "val", "dev")
"""Splits that serve as the test split, the first that there is."""
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(.*)")


def load(  # noqa: PLR0913 - each keyword is a key of the study file
    root: Path,
    download: bool,
    *,
    hub: str | None = None,
    revision: str | None = None,
    config: str | None = None,
    train: str = "train",
    test: str | None = None,
    image: str | None = None,
    label: str | None = None,
    size: Side = 64,
    resize: Side | None = None,
    crop: Annotated[float, Gt(0), Le(1)] = 0.5,
    flip: bool = True,
    memory_gb: Gigabytes = 2.0,
    workers: Workers = 2,
    white: White = None,
    exif: Literal["ignore", "apply"] = "apply",
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
) -> Source:
    """Load a data set of the hub by its name, or a folder: parquet, arrow, ``save_to_disk``, or images by class.

    Labels are read without decoding images. Images are prepared as those of `imagefolder` are. Nothing is written into
    the folder; what the library makes of it, it keeps in its own cache (``HF_HOME``).

    Args:
        root: The folder, where ``hub`` is null.
        download: Whether the data set may be fetched from the hub.
        hub: Name of a data set there, such as ``uoft-cs/cifar10``; null for the folder.
        revision: Branch, tag or commit of it; null for ``main``. The commit is recorded.
        config: Configuration, also called subset; null for the only one.
        train: Split of the training images; several as ``train+validation``.
        test: Split of the test images; null for ``test``, else ``validation``, else a part of ``train``.
        image: Column of the images; null where one is of that kind.
        label: Column of the labels: classes, names, numbers from 0, or lists of classes; null where one column holds
            classes, or is called ``label`` or ``labels``.
        size: Height and width in pixels, >= 8.
        resize: Side that images are kept at, >= ``size``: as for `imagefolder`; null for ``size``.
        crop: Smallest share of an image's area that a training window keeps, in (0, 1]; 1 keeps all.
        flip: Whether images may be mirrored left to right.
        memory_gb: Decode once and keep the images if those of a split need at most so many gigabytes (1e9 bytes).
        workers: Processes that decode batches ahead where they do not, >= 0.
        white: Level that is white in grey images of more than eight bits; null for what the files say.
        exif: Whether images are turned as the camera noted (``apply``), which is what the library does.
        test_fraction: Share of each class held out as the test split where there is none, in (0, 1).
    """
    if resize is not None and resize < size:
        raise DataError(f"data.options.resize: must be at least size, got {resize} and {size}; write {size} or more")
    if hub is None and revision is not None:
        raise DataError(
            "data.options.revision: a folder has none; leave it out, or name a data set by data.options.hub"
        )
    folder = root if hub is None else _snapshot(hub, revision, download)
    splits = _splits(folder, config)
    chosen, notes = _chosen(splits, train, test)
    parts = rows_of(chosen, image, label)
    if hub is not None:
        notes.append(f"{hub} of the Hugging Face hub, revision {folder.name}")
    made = TrainTest(
        parts[0],
        parts[1] if len(parts) > 1 else None,
        size=resize or size,
        augmentation=Augmentation(flip=flip, crop=crop),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        memory_gb=memory_gb,
        workers=workers,
        white=white,
        exif=exif == "apply",
        test_fraction=test_fraction,
        notes=tuple(notes),
        place=str(folder),
    )
    source = as_source(made, NAME)
    if resize is None:
        return source
    return replace(source, train=replace(source.train, side=size), test=replace(source.test, side=size))


def _datasets() -> Any:
    """Import the library, which not everybody has."""
    try:
        import datasets
    except ImportError as error:
        raise DataError("data.name: huggingface needs the datasets library; run 'pip install kdstudy[hf]'") from error
    return datasets


def _snapshot(hub: str, revision: str | None, download: bool) -> Path:
    """Return the folder in the library's cache that holds a data set of the hub; its name is the commit."""
    _datasets()
    from huggingface_hub import constants, snapshot_download

    try:
        return Path(snapshot_download(hub, repo_type="dataset", revision=revision, local_files_only=not download))
    except Exception as error:
        what = f"'{hub}'" + (f" at revision '{revision}'" if revision else "")
        fetch = f"hf download --repo-type dataset {hub}" + (f" --revision {revision}" if revision else "")
        told = f"is not in {constants.HF_HUB_CACHE}; write data.download: true"
        if download:
            told = f"cannot be fetched into {constants.HF_HUB_CACHE} ({_line(error)}); mend the name or the connection"
        raise DataError(
            f"data.options.hub: {what} {told}, or bring that folder from where '{fetch}' works, or name a folder by "
            "data.root"
        ) from error


def _splits(folder: Path, config: str | None) -> dict[str, Any]:
    """Return the splits that a folder holds, by their names; the only one of a data set without any is ``train``."""
    datasets = _datasets()
    if not folder.is_dir():
        raise DataError(f"data.root: no folder at {folder}; name one, or a data set of the hub by data.options.hub")
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    if saved and config is not None:
        raise DataError(f"data.options.config: {folder} was saved by save_to_disk, which keeps none; leave it out")
    _require_shards(folder)
    try:
        with _quietly(datasets):
            found = datasets.load_from_disk(str(folder)) if saved else datasets.load_dataset(str(folder), name=config)
    except Exception as error:
        raise DataError(
            f"data.root: {folder} cannot be read by the datasets library ({_line(error)}); name a folder of parquet or "
            "arrow files, of save_to_disk, or of images in train/CLASS/ and test/CLASS/"
        ) from error
    return dict(found) if isinstance(found, dict) else {"train": found}


@contextmanager
def _quietly(datasets: Any) -> Iterator[None]:
    """Show no bars of progress: they would be those of every process."""
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _require_shards(folder: Path) -> None:
    """Refuse a data set of which files are missing, as after a copy or download that broke off."""
    seen: dict[tuple[Path, str, int, str], set[int]] = {}
    for file in folder.rglob("*-of-*"):
        if match := _SHARD.fullmatch(file.name):
            name, place, count, ending = match.groups()
            seen.setdefault((file.parent, name, int(count), ending), set()).add(int(place))
    for (parent, name, count, ending), places in seen.items():
        if missing := sorted({*range(count)} - places):
            raise DataError(
                f"data.root: {parent / f'{name}-{missing[0]:05}-of-{count:05}{ending}'} is missing ({len(places)} of "
                f"{count} such files are there); copy or download the data set again"
            )


def _chosen(splits: dict[str, Any], train: str, test: str | None) -> tuple[dict[str, tuple[str, Any]], list[str]]:
    """Return name and table of the training split, and of the test split if there is one; and lines about them."""
    names = [name.strip() for name in train.split("+")]
    held_out = test or next((name for name in HELD_OUT if name in splits and name not in names), None)
    for key, name in [*(("train", name) for name in names), ("test", held_out)]:
        if name is not None and name not in splits:
            raise DataError(f"data.options.{key}: there is no split '{name}'; choose from {', '.join(splits)}")
    if held_out in names or len({*names}) < len(names):
        raise DataError(
            f"data.options: split '{held_out if held_out in names else train}' is taken twice; take it once"
        )
    tables = [splits[name] for name in names]
    chosen = {"train": (train, tables[0] if len(tables) == 1 else _joined(tables, train))}
    notes = []
    if held_out is not None:
        chosen["test"] = (held_out, splits[held_out])
        if test is None and held_out != "test":
            notes.append(f"there is no split 'test': the images of '{held_out}' are the test split")
    if unused := [name for name in splits if name not in (*names, held_out)]:
        notes.append(
            f"split{'s' * (len(unused) > 1)} {', '.join(unused)} not used: validation images are carved from '{train}'"
        )
    return chosen, notes


def _joined(tables: list[Any], train: str) -> Any:
    try:
        return _datasets().concatenate_datasets(tables)
    except ValueError as error:
        raise DataError(f"data.options.train: {train} do not go together ({_line(error)}); name one split") from error


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200]
