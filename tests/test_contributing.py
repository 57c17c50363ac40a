"""The transfer method shown in CONTRIBUTING.md is complete: it is taken from there and plugged in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from kdstudy.models import FeatureExtractor
from kdstudy.plugins import TRANSFERS
from kdstudy.transfer import Batch, TransferContext

DOCUMENT = Path(__file__).parents[1] / "CONTRIBUTING.md"
NAME = "outside_package.activity:ActivityTransfer"


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of a user's own that holds the method."""
    source = re.search(
        r"<!-- tests/test_contributing.*?```python\n(.*?)^```",
        DOCUMENT.read_text(),
        flags=re.DOTALL | re.MULTILINE,
    )
    assert source is not None
    package = tmp_path / "outside_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "activity.py").write_text(source[1])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("KDSTUDY_ALLOW_PLUGINS", "outside_package")
    return package


def small() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(3))


def test_the_method_shown_is_a_plug_in_whose_loss_is_as_worked_out(outside: Path) -> None:
    torch.manual_seed(1)  # neither network may be dead
    student, teacher = small(), small()
    images = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    for module in (student, teacher):
        module(images)
    context = TransferContext(
        layers=("1",), student_shapes=((2, 3, 3),), teacher_shapes=((2, 3, 3),), image_shape=(1, 5, 5),
        num_classes=3, num_train=2, student=student, teacher=teacher, teacher_layers=("1",),
    )  # fmt: skip
    assert list(TRANSFERS.options(NAME)) == ["weight"]
    method = TRANSFERS.load(NAME)(context, weight=2.0)
    own, other = (method.observe(FeatureExtractor(module, ["1"]), images, None) for module in (student, teacher))
    batch = Batch(images, torch.tensor([0, 1]), torch.arange(2))
    terms = method.terms(own, other, batch)
    difference = student[:2](images).mean((1, 2, 3)) - teacher[:2](images).mean((1, 2, 3))
    torch.testing.assert_close(terms["activity/1"], 2.0 * (difference**2).mean())
    terms["activity/1"].backward()
    assert student[0].weight.grad is not None
    assert student[0].weight.grad.abs().sum() > 0
