"""What one batch shows to be lost from the start: a loss, a gradient or a map that is no number to learn from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdstudy.data import Batch
from kdstudy.errors import StudyError
from kdstudy.study import parse_study
from kdstudy.transfer import Observation
from kdstudy.transfer.attention import AttentionTransfer
from kdstudy.trial import run_corners
from tests.tiny import TINY

HERE = "tests.trial.test_dry_run"
OWN = "layers: [[mid, layer2]]"


def study(transfer: str, student: str = "resnet8", layers: str = "") -> str:
    text = TINY.replace("[none, attention]", f"[{transfer}]").replace(
        "student: {model: resnet8}", f"student: {{model: {student}}}"
    )
    return f"{text}{layers}\n"


def refused(transfer: str = "none", student: str = "resnet8", layers: str = "") -> str:
    """What the dry run says of a study, in one line."""
    with pytest.raises(StudyError) as caught:
        run_corners(parse_study(study(transfer, student, layers), "x.yaml"))
    (problem,) = caught.value.problems
    return problem


class Faulty(AttentionTransfer):
    """Attention transfer one of whose terms is broken."""

    def __init__(self, context: Any, *, fault: str = "none") -> None:
        super().__init__(context)
        self.fault = fault

    def terms(self, student: Observation, teacher: Observation, batch: Batch) -> dict[str, Tensor]:
        first = student.maps[0]
        broken = {
            "none": first.mean(),
            "nan": (-1 - first.square()).log().mean(),
            "inf": first.mean() / torch.zeros(()),
            "gradient": (first - first.detach()).abs().sum().sqrt(),  # of value 0 and no finite slope
        }
        return super().terms(student, teacher, batch) | {"faulty/own": broken[self.fault]}


class Small(nn.Module):
    """Two convolutions; its answers, or what it hands on, may be broken."""

    def __init__(self, num_classes: int, in_channels: int, *, fault: str = "none") -> None:
        super().__init__()
        self.fault = fault
        self.mid = nn.Conv2d(in_channels, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8, num_classes)
        if fault == "dead":
            nn.init.zeros_(self.mid.weight)
            nn.init.zeros_(self.mid.bias)

    def forward(self, images: Tensor) -> Tensor:
        held = self.mid(images)
        logits: Tensor = self.fc(held.mean((2, 3)))
        return logits / (logits - logits) if self.fault == "nan" else logits


@pytest.mark.parametrize("fault", ["nan", "inf"])
def test_a_term_that_is_no_number_from_the_first_step_is_named(fault: str) -> None:
    told = refused(f"{{'{HERE}:Faulty': {{fault: {fault}}}}}")
    assert told.startswith(f"{HERE}:Faulty/constant")
    assert told.endswith("loss: term 'faulty/own' is not a finite number in the first batch; mend what computes it")


def test_a_finite_loss_without_a_finite_slope_is_told_by_its_gradient() -> None:
    told = refused(f"{{'{HERE}:Faulty': {{fault: gradient}}}}")
    assert "loss: the gradient of the student's 'conv1.weight' (and " in told
    assert "is not a finite number in the first batch" in told


def test_answers_of_a_network_that_are_no_numbers_are_the_networks_fault() -> None:
    told = refused(student=f"{{'{HERE}:Small': {{fault: nan}}}}", layers=OWN)
    assert told.endswith(
        "loss: term 'cross_entropy' is not a finite number in the first batch; mend the network's answers"
    )


def test_maps_that_are_zero_from_the_first_step_teach_nothing() -> None:
    told = refused("attention", student=f"{{'{HERE}:Small': {{fault: dead}}}}", layers=OWN)
    assert "the student's maps are zero over the whole first batch" in told


@pytest.mark.parametrize("transfer", [f"{{'{HERE}:Faulty': {{fault: none}}}}", "none", "jacobian", "crd"])
def test_what_can_be_trained_passes(transfer: str) -> None:
    assert run_corners(parse_study(study(transfer), "x.yaml")) == 1
