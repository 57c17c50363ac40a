"""Images that a trial's splits share, for whoever checks a study or prepares one."""

from __future__ import annotations

from kdstudy.data import doubles
from kdstudy.study import TrialConfig
from kdstudy.trial.build import dataset_of

BENCHMARKS = frozenset({"cifar10", "cifar100", "digits", "synthetic"})
"""Their splits are as published, and nobody's to mend: of CIFAR-100's test images, ten are training images."""


def shared_images(config: TrialConfig) -> list[str]:
    """Return lines about images in more than one split of a trial's data; none is decoded, no test score looked at.

    Raises:
        DataError: The data cannot be had.
    """
    if config.data.name in BENCHMARKS:
        return []
    return [f"data: {line}" for line in doubles(dataset_of(config, with_test=True, decoded=False))]
