"""Contrastive distillation by hand and against torchdistill."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from kdstudy.transfer.crd import ContrastiveTransfer
from tests.transfer.waves import TORCHDISTILL, batch_of, context, seen, wave


def unit_rows(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


OWN, OTHER = unit_rows(wave(3, 3, phase=0.6)), unit_rows(wave(3, 3, phase=1.7))
INDICES, NEGATIVES = torch.tensor([1, 4, 6]), torch.tensor([0, 2, 3, 7])


def method(**options: float) -> ContrastiveTransfer:
    """A method whose embeddings are the features themselves, with fixed memories."""
    made = ContrastiveTransfer(
        context((3, 1, 1), (3, 1, 1)), weight=1.0, dim=3, negatives=4, tau=0.5, momentum=0.4, **options
    ).double()
    with torch.no_grad():
        for embedding in (made.student_embedding, made.teacher_embedding):
            embedding.weight.copy_(torch.eye(3))
            embedding.bias.zero_()
        made.student_memory.copy_(unit_rows(wave(8, 3, phase=0.1)))
        made.teacher_memory.copy_(unit_rows(wave(8, 3, phase=2.0)))
    return made


def loss(made: ContrastiveTransfer, labels: Sequence[int] = (0, 1, 2), drawn: Tensor = NEGATIVES) -> float:
    batch = batch_of(3, torch.tensor(labels), INDICES)
    return made.terms(seen(OWN, drawn), seen(OTHER, drawn), batch)["crd/layer1"].item()


def test_against_torchdistill() -> None:
    # CRDLoss with 8 samples, contrast indices NEGATIVES for every sample, two steps on the same embeddings.
    made = method()
    assert loss(made) == pytest.approx(6.492688112796019, **TORCHDISTILL)
    assert made.log_scales.exp().tolist() == pytest.approx([14.481580064516702, 21.62669173483595], **TORCHDISTILL)
    assert loss(made) == pytest.approx(5.264597723904241, **TORCHDISTILL)
    assert made.student_memory[4].tolist() == pytest.approx(
        [0.5330981889617272, -0.19040037331171566, -0.8243506649287582], **TORCHDISTILL
    )
    assert made.teacher_memory[6].tolist() == pytest.approx(
        [-0.14891624353557334, 0.47103631204755797, 0.869453129929319], **TORCHDISTILL
    )


def one_anchor(anchors: Tensor, memory: Tensor, usable: Sequence[Sequence[int]]) -> float:
    """The loss of one anchor network in its first batch, written out."""
    scores = [
        [math.exp((anchors[i] @ memory[k]).item() / 0.5) for k in (INDICES[i].item(), *usable[i])] for i in range(3)
    ]
    entries = [score for row in scores for score in row]
    z = sum(entries) / len(entries) * 8
    total = 0.0
    for positive, *negatives in scores:
        noise = len(negatives) / 8
        total -= math.log(positive / z / (positive / z + noise))
        total -= sum(math.log(noise / (score / z + noise)) for score in negatives)
    return total / 3


def test_own_class_and_own_image_are_no_negatives() -> None:
    made, drawn = method(), torch.tensor([0, 2, 4, 7])
    made.classes.copy_(torch.tensor([0, -1, 1, -1, -1, -1, -1, 0]))
    usable = [(2, 4), (0, 7), (0, 2, 4, 7)]  # sample 4 draws itself; 0 and 7 are of class 0, 2 of class 1
    expected = one_anchor(OWN, made.teacher_memory.clone(), usable) + one_anchor(
        OTHER, made.student_memory.clone(), usable
    )
    assert loss(made, drawn=drawn) == pytest.approx(expected, rel=1e-10)
    assert made.classes.tolist() == [0, 0, 1, -1, 1, -1, 2, 0]


def test_the_state_moves_in_train_mode_only() -> None:
    made = method().eval()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    loss(made)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_draws_come_from_the_generator_given() -> None:
    made = ContrastiveTransfer(context((3, 1, 1), (3, 1, 1), num_train=50), negatives=1000)
    images = torch.zeros(2, 3, 8, 8)
    first, again = (made.draw(images, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (1000,)
    assert set(first.tolist()) == set(range(50))


def test_memories_start_with_rows_of_length_one_on_average() -> None:
    made = ContrastiveTransfer(context((3, 1, 1), (3, 1, 1), num_train=400))
    for memory in (made.student_memory, made.teacher_memory):
        assert memory.shape == (400, 128)
        assert memory.square().sum(dim=1).mean().item() == pytest.approx(1, abs=0.02)
    assert not torch.equal(made.student_memory, made.teacher_memory)
