"""What every registered transfer method must do, with its default options and with each of its forms."""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from kdstudy.models import FeatureExtractor
from kdstudy.plugins import TRANSFERS
from kdstudy.transfer import Batch, MapTransfer, Observation, Transfer, TransferContext


def variants() -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for name in TRANSFERS:
        found.append((name, {}))
        options = TRANSFERS.options(name)
        if "form" in options:
            found += [(name, {"form": form}) for form in typing.get_args(options["form"].annotation)]
            found += [(name, {"normalise": kind}) for kind in ("sample", "teacher", "running")]
            found += [(name, {"fraction": 0.5, "kd_weight": 1.0})]
        if "wrt" in options:
            found.append((name, {"form": "peak", "wrt": "parameters"}))
    return found


VARIANTS = [pytest.param(*item, id="-".join(map(str, [item[0], *item[1].values()]))) for item in variants()]
MAPPED = [item for item in VARIANTS if issubclass(TRANSFERS.load(item.values[0]), MapTransfer)]


class Setting:
    """Student, frozen teacher, method and a batch, all in float32."""

    def __init__(
        self,
        build: Callable[..., nn.Module],
        context_of: Callable[..., TransferContext],
        name: str,
        options: dict[str, Any],
        batch: Batch,
    ) -> None:
        self.student = build(1, torch.float32).train()
        self.teacher = build(2, torch.float32).eval().requires_grad_(False)
        self.batch = batch._replace(images=batch.images.float())
        context = context_of(self.student, self.teacher)
        with torch.random.fork_rng(devices=[]):  # adaptors start from the seed, as in a trial
            torch.manual_seed(0)
            self.method: Transfer = TRANSFERS.load(name)(context, **options).train()
        self.networks = (
            FeatureExtractor(self.student, context.layers),
            FeatureExtractor(self.teacher, context.teacher_layers),
        )

    def observe(self, seed: int = 0) -> tuple[Observation, Observation]:
        draws = self.method.draw(self.batch.images, torch.Generator().manual_seed(seed))
        student = self.method.observe(self.networks[0], self.batch.images, draws)
        with torch.no_grad():
            return student, self.method.observe(self.networks[1], self.batch.images, draws)

    def loss(self, seed: int = 0) -> torch.Tensor:
        student, teacher = self.observe(seed)
        terms = self.method.terms(student, teacher, self.batch)
        return functional.cross_entropy(student.logits, self.batch.labels) + sum(terms.values())


@pytest.fixture
def make(
    small_net: Callable[..., nn.Module], context_of: Callable[..., TransferContext], batch: Batch
) -> Callable[[str, dict[str, Any]], Setting]:
    return lambda name, options: Setting(small_net, context_of, name, options, batch)


Make = Callable[[str, dict[str, Any]], Setting]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_terms_are_finite_scalars_that_teach_the_student_alone(make: Make, name: str, options: dict[str, Any]) -> None:
    setting = make(name, options)
    before = copy.deepcopy(setting.teacher.state_dict())
    student, teacher = setting.observe()
    assert not any(item.requires_grad for item in (teacher.logits, *teacher.maps))
    terms = setting.method.terms(student, teacher, setting.batch)
    assert all(value.shape == () and value.isfinite() and value.requires_grad for value in terms.values())
    assert bool(terms) == setting.method.uses_teacher
    setting.loss().backward()
    gradients = [parameter.grad for parameter in setting.student.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    for key, value in setting.teacher.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in setting.teacher.parameters())


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_logits_and_running_statistics_are_those_of_a_plain_pass(
    make: Make, name: str, options: dict[str, Any]
) -> None:
    setting = make(name, options)
    plain = copy.deepcopy(setting.student)
    student, _ = setting.observe()
    assert torch.equal(student.logits, plain(setting.batch.images))
    for key, value in plain.state_dict().items():
        assert torch.equal(value, setting.student.state_dict()[key]), key


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_equal_seeds_give_equal_losses(make: Make, name: str, options: dict[str, Any]) -> None:
    one, two = make(name, options), make(name, options)
    assert torch.equal(one.loss(3), two.loss(3))
    assert torch.equal(one.loss(4), two.loss(4))


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_state_survives_a_round_trip(make: Make, name: str, options: dict[str, Any]) -> None:
    one, two = make(name, options), make(name, options)
    one.loss(0)
    two.method.load_state_dict(one.method.state_dict())
    two.student.load_state_dict(one.student.state_dict())
    assert torch.equal(one.loss(1), two.loss(1))


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_twenty_steps_reduce_the_loss(make: Make, name: str, options: dict[str, Any]) -> None:
    setting = make(name, options)
    optimizer = torch.optim.SGD(setting.student.parameters(), lr=0.02, momentum=0.5)
    losses = []
    for _ in range(20):
        loss = setting.loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("name", "options"), MAPPED)
def test_as_an_instrument_it_observes_without_a_graph(make: Make, name: str, options: dict[str, Any]) -> None:
    setting = make(name, options)
    setting.method.eval()
    setting.student.eval()
    before = copy.deepcopy(setting.student.state_dict())
    draws = setting.method.draw(setting.batch.images, torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = setting.method.observe(setting.networks[0], setting.batch.images, draws)
    rows = 1 if "wrt" in options else len(setting.batch.images)
    assert all(not m.requires_grad and len(m) == rows for m in seen.maps)
    assert len(seen.maps) == len(setting.method.layers)
    assert all(torch.equal(value, before[key]) for key, value in setting.student.state_dict().items())
    assert all(parameter.requires_grad for parameter in setting.student.parameters())


@pytest.mark.parametrize("name", list(TRANSFERS))
def test_documentation_names_the_source_and_each_option(name: str) -> None:
    documentation = inspect.getdoc(TRANSFERS.load(name)) or ""
    assert "Source:" in documentation
    for option in TRANSFERS.options(name):
        assert f"{option}:" in documentation, option
