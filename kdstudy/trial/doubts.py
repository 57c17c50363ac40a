"""What works and is not what its user wants: statistics that hardly move, arithmetic that a processor imitates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from kdstudy.data import num_batches
from kdstudy.models import pretrained_of
from kdstudy.study import TrialConfig

USUAL = 0.1
"""PyTorch's momentum of batch norms: nothing is said of networks that keep it."""
OLD = 0.1
"""Share of what batch norms began with that may be left in them when training ends."""


def slow_norms(configs: Iterable[TrialConfig], module: nn.Module, images: int) -> Iterator[str]:
    """Yield that a new student is scored with statistics that it largely began with.

    A batch norm of momentum m has after S steps (1 - m)^S left of its first mean 0 and variance 1, and evaluation uses
    them: torchvision's MobileNetV3, EfficientNet-B5 and others have 0.01, made for hundreds of thousands of steps.

    Args:
        configs: All trials with this student.
        module: Its network.
        images: Of the training split.
    """
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm) and each.track_running_stats]
    momenta = [each.momentum for each in norms if each.momentum is not None]
    if not momenta or min(momenta) >= USUAL or pretrained_of(module) is not None:
        return
    steps = max(train.epochs * num_batches(images, train.batch_size) for train in (config.train for config in configs))
    left = (1 - min(momenta)) ** steps
    if left > OLD:
        yield (
            f"student: its batch norms take over {min(momenta):.2g} of each batch's statistics, so after {steps} steps "
            f"{left:.0%} of what they began with is left in those that it is scored with; train for more steps "
            "(train.epochs, a smaller train.batch_size), or take a network whose norms follow faster"
        )


def imitated_arithmetic(configs: Sequence[TrialConfig]) -> Iterator[str]:
    """Yield that bfloat16 is slower here than float32: no GPU is seen, and the processor lacks what oneDNN needs."""
    if torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return
    numerics = configs[0].numerics
    keys = [f"numerics.{part}" for part in ("student", "teacher") if getattr(numerics, part) == "bfloat16"]
    if keys:
        yield (
            f"{' and '.join(keys)}: bfloat16 is imitated on this processor, which takes several times as long as "
            "float32; write float32, unless the trials run on another machine"
        )
