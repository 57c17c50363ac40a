"""What works and is not what its user wants is said before anything is trained, and nothing else is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kdstudy.study import parse_study
from kdstudy.trial import inspect_parts
from tests.tiny import TINY


class Slow(nn.Module):
    """A network whose batch norms have the momentum of torchvision's MobileNetV3."""

    def __init__(self, num_classes: int, in_channels: int, *, momentum: float = 0.01) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), nn.BatchNorm2d(4, momentum=momentum))
        self.fc = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.body(images).relu().mean((2, 3)))
        return logits


SLOW = TINY.replace("student: {model: resnet8}", "student: {model: 'tests.trial.test_doubts:Slow'}").replace(
    "[none, attention]", "[none]"
)


def told(text: str) -> list[str]:
    found = inspect_parts([config for _, config in parse_study(text).corners()])
    assert not found.faults
    return found.warnings


def test_statistics_that_a_short_training_leaves_as_they_were_are_told() -> None:
    # Six steps of 32 in each of two epochs, and 0.99 ** 12 = 0.886.
    (line,) = told(SLOW)
    assert line.startswith(
        "student: its batch norms take over 0.01 of each batch's statistics, so after 12 steps 89% of what they began "
    )
    # 0.99 ** 228 = 0.101 and 0.99 ** 234 = 0.095, whatever the shorter trials of the study.
    assert len(told(SLOW.replace("epochs: 2,", "epochs: 38,"))) == 1
    assert told(SLOW.replace("epochs: 2,", "epochs: {int: [2, 39]},")) == []
    assert (
        told(SLOW.replace("'tests.trial.test_doubts:Slow'", "{'tests.trial.test_doubts:Slow': {momentum: 0.1}}")) == []
    ), "as PyTorch has it"


@pytest.mark.parametrize("part", ["student", "teacher"])
def test_arithmetic_that_this_processor_imitates_is_told(part: str) -> None:
    known = torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    lines = told(f"{TINY}numerics: {{{part}: bfloat16}}\n")
    assert [line.partition(": ")[0] for line in lines] == ([] if known else [f"numerics.{part}"])
    assert told(TINY) == []
