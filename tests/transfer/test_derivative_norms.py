"""What the loss of a derivative map divides by, ``normalise``: values by hand, and its pull at the student's scale."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdstudy.plugins import TRANSFERS
from kdstudy.testing import context_of, small_net
from kdstudy.transfer import Batch, MapTransfer, Observation, TransferContext
from kdstudy.transfer.map_transfer import EmptyMapError

KINDS = ("batch", "sample", "teacher", "running")
METHODS = ("jacobian", "hessian")


def method(name: str, normalise: str | None = None, **options: Any) -> MapTransfer:
    given = {} if normalise is None else {"normalise": normalise}
    built: MapTransfer = TRANSFERS.load(name)(context_of(small_net(1), small_net(2)), **given, **options)
    return built.double().train()


def losses(built: MapTransfer, student: Tensor, teacher: Tensor) -> list[float]:
    """One loss per layer; each layer has the same maps."""
    return [loss.item() for loss in built.losses([student] * 3, [teacher] * 3)]


# Two samples of two positions. The student's norms are 1 and 7, in the mean square (1 + 49) / 2 = 5^2; the teacher's
# are 2 and 14, (4 + 196) / 2 = 10^2.
STUDENT = torch.tensor([[1.0, 0.0], [0.0, 7.0]], dtype=torch.float64)
TEACHER = torch.tensor([[2.0, 0.0], [14.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [
        ("batch", (0.0 + (1.4**2 + 1.4**2)) / 2),  # (0.2, 0) (0, 1.4) against (0.2, 0) (1.4, 0)
        ("sample", (0.0 + 2.0) / 2),  # (1, 0) (0, 1) against (1, 0) (1, 0)
        ("teacher", (1.0 + (14**2 + 7**2)) / 2 / 100),  # (-1, 0) (-14, 7), over 10^2
        ("running", (0.0 + (1.4**2 + 1.4**2)) / 2),  # the first batch's norms are the running ones
    ],
)
@pytest.mark.parametrize("name", METHODS)
def test_values_by_hand(name: str, normalise: str, expected: float) -> None:
    assert losses(method(name, normalise), STUDENT, TEACHER) == pytest.approx([expected] * 3, rel=1e-12)
    if normalise == "batch":
        assert losses(method(name), STUDENT, TEACHER) == pytest.approx([expected] * 3, rel=1e-12), "the default"


def test_the_teachers_norm_runs_in_training_alone_and_no_student_moves_it() -> None:
    built = method("jacobian", "teacher")
    losses(built, STUDENT, TEACHER)
    # Twice the maps have the mean square 400: 0.9 * 100 + 0.1 * 400 = 130. (1 - 4, 0) and (-28, 7) are 9 and 833.
    assert losses(built, STUDENT, 2 * TEACHER) == pytest.approx([(9 + 833) / 2 / 130] * 3, rel=1e-12)
    assert losses(built.eval(), STUDENT, 5 * TEACHER)[0] == pytest.approx(((1 - 10) ** 2 + 70**2 + 49) / 2 / 130)
    found = copy.deepcopy(built.state_dict())
    assert losses(built.train(), STUDENT, TEACHER) != losses(method("jacobian", "teacher"), STUDENT, TEACHER)
    built.load_state_dict(found)
    again = losses(built, 1e3 * STUDENT, TEACHER)  # 0.9 * 130 + 0.1 * 100 = 127, whatever the student's maps are
    assert again[0] == pytest.approx((998**2 + 14**2 + 7000**2) / 2 / 127)


def test_what_an_earlier_version_recorded_runs_after_the_students_maps() -> None:
    built = method("jacobian", "running")
    losses(built, STUDENT, TEACHER)
    # 0.9 * 25 + 0.1 * 100 = 32.5 against 100.
    small, large = torch.tensor([[0.2, 0], [1.4, 0]]), torch.tensor([[2.0, 0], [0, 14]]) / 32.5**0.5
    expected = (large.double() - small.double()).square().sum().item() / 2
    assert losses(built, 2 * STUDENT, TEACHER) == pytest.approx([expected] * 3, rel=1e-6)


def drawn(seed: int, scale: float) -> tuple[Tensor, Tensor]:
    """Maps of five samples, those of each layer of the student's as one leaf."""
    numbers = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 3, 5, 4, 6, generator=numbers, dtype=torch.float64)
    return (scale * student).requires_grad_(True), teacher


def pull(built: MapTransfer, student: Tensor, teacher: Tensor) -> Tensor:
    """<m_S, dL/dm_S> of each layer: what the loss changes by, per unit of a common factor of the student's maps."""
    total = torch.stack(list(built.losses(list(student), list(teacher)))).sum()
    (slope,) = torch.autograd.grad(total, student)
    return (student.detach() * slope).flatten(1).sum(dim=1)


scales = st.floats(-3, 3).map(lambda exponent: 10.0**exponent)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(METHODS), st.sampled_from(["batch", "sample"]), seeds, scales)
def test_no_pull_at_the_scale_of_the_students_maps(name: str, normalise: str, seed: int, scale: float) -> None:
    built, (student, teacher) = method(name, normalise), drawn(seed, scale)
    torch.testing.assert_close(pull(built, student, teacher), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-10)
    one, other = built.losses(list(student), list(teacher)), built.losses(list(1e3 * student), list(teacher))
    rows = 1 if normalise == "batch" else 2  # one angle for the batch, or one for each image
    cosine = torch.cosine_similarity(student.detach().flatten(rows), teacher.flatten(rows), dim=-1)
    torch.testing.assert_close(torch.stack(list(one)), 2 * (1 - cosine.view(3, -1).mean(dim=1)), rtol=1e-9, atol=0)
    torch.testing.assert_close(list(one), list(other), rtol=1e-9, atol=0)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(METHODS), seeds, scales)
def test_a_regression_pulls_towards_the_teachers_scale(name: str, seed: int, scale: float) -> None:
    student, teacher = drawn(seed, scale)
    found = pull(method(name, "teacher"), student, teacher)
    products = (student.detach() * (student.detach() - teacher)).flatten(1).sum(dim=1)
    torch.testing.assert_close(found, 2 * products / teacher.square().flatten(1).sum(dim=1), rtol=1e-9, atol=0)
    assert found.abs().min() > 1e-6, "not of degree 0"
    if scale > 2:
        assert (found > 0).all(), "too large: shrink"


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(METHODS), seeds, scales)
def test_the_norm_of_earlier_versions_always_shrinks(name: str, seed: int, scale: float) -> None:
    student, teacher = drawn(seed, scale)
    found = pull(method(name, "running"), student, teacher)
    cosine = torch.cosine_similarity(student.detach().flatten(1), teacher.flatten(1), dim=1)
    torch.testing.assert_close(found, 2 * (1 - cosine), rtol=1e-9, atol=0)
    assert (found > 0).all()


@pytest.mark.parametrize("normalise", KINDS)
@pytest.mark.parametrize("name", METHODS)
def test_a_map_of_zeros_is_an_error_never_nan(name: str, normalise: str, batch: Batch) -> None:
    maps = tuple(torch.rand(6, 2, 2, dtype=torch.float64) for _ in range(3))
    dead = (maps[0], torch.zeros_like(maps[1]), maps[2])
    logits = torch.zeros(6, 5, dtype=torch.float64)
    for owner, seen in (("student", (dead, maps)), ("teacher", (maps, dead))):
        with pytest.raises(EmptyMapError, match=f"{name}: the {owner}'s map at layer 'stage2' is zero over a whole"):
            method(name, normalise).terms(*(Observation(logits, each) for each in seen), batch)
    # One image without a map is no reason to stop, and none for 0/0.
    holed = tuple(torch.cat([torch.zeros_like(each[:1]), each[1:]]).requires_grad_(True) for each in maps)
    terms = method(name, normalise).terms(Observation(logits, holed), Observation(logits, maps), batch)
    gradients = torch.autograd.grad(sum(terms.values(), torch.zeros(())), holed)
    assert all(value.isfinite().all() for value in (*terms.values(), *gradients))


def test_no_norm_keeps_the_teachers_maps_in_the_graph(context_of: Callable[..., TransferContext]) -> None:
    for normalise in KINDS:
        student, teacher = drawn(0, 1.0)
        teacher.requires_grad_(True)
        total = sum(method("jacobian", normalise).losses(list(student), list(teacher)), torch.zeros(()))
        (slope,) = torch.autograd.grad(total, teacher, allow_unused=True)
        assert slope is None, normalise
