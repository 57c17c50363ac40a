"""Whether the batches of a trial, and what its method does with them, split over its ranks; and what each gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from kdstudy.data import Dataset
from kdstudy.errors import DataError, MapError
from kdstudy.study import TrialConfig
from kdstudy.training import generator
from kdstudy.transfer import Transfer, splits_over_ranks


def rank_notes(configs: Iterable[TrialConfig], images: int) -> Iterator[str]:
    """Yield how many images of a step each rank has, for each batch size; nothing of one rank.

    Args:
        configs: Trials of one study.
        images: In the training split.
    """
    for config in {each.train.batch_size: each for each in configs if each.resources.ranks > 1}.values():
        resources, batch = config.resources, min(config.train.batch_size, images)
        devices = f"{resources.gpus:g} GPU" if resources.gpus else f"{resources.cpus} CPU core(s)"
        statistics = "the whole batch" if config.numerics.sync_batch_norm else "each rank's own part"
        yield (
            f"resources.ranks: {resources.ranks} of {devices} each train one trial; a step's batch of {batch} images "
            f"is {batch // resources.ranks} per rank; batch norm is of {statistics}; the teacher is trained by one"
        )


def require_split(config: TrialConfig, method: Transfer, data: Dataset) -> None:
    """Refuse a trial whose ranks could not give what one gives.

    Args:
        config: The trial.
        method: Its transfer method.
        data: Its data set.

    Raises:
        DataError: An epoch's batch does not split: it is the whole training split.
        MapError: The method does not say that its batches may be split, or its draws do not.
    """
    ranks, images = config.resources.ranks, len(data.train)
    if ranks == 1:
        return
    batch = min(config.train.batch_size, images)
    if batch % ranks:
        raise DataError(
            f"resources.ranks: a batch of {batch} images does not split over {ranks} ranks; choose another batch_size, "
            "or ranks: 1"
        )
    if not splits_over_ranks(type(method)):
        raise MapError(
            f"{config.transfer.name}: does not say that ranks may each observe a part of a batch (splits_batches); say "
            "so if what it observes of a sample depends on no other one, else write resources.ranks: 1"
        )
    if not method.uses_teacher:
        return
    blank = torch.zeros(1, *data.image_shape).expand(batch, *data.image_shape)
    method.part_of(method.train().draw(blank, generator(0, "directions")), 0, ranks)
