"""What every registered transfer method must do, whatever it compares."""

from __future__ import annotations

import copy
import inspect
import io
import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kdstudy.models import FeatureExtractor
from kdstudy.plugins import TRANSFERS
from kdstudy.training import Distiller, OptimizerSettings, weights_sha256
from kdstudy.transfer.base import Batch, Transfer, TransferContext
from kdstudy.transfer.features import FeatureTransfer

# Small enough for the small networks; everything else as a user gets it.
OPTIONS = {"crd": {"negatives": 64, "dim": 16}}
TEACHING = [name for name in TRANSFERS if name != "none"]
FEATURES = [name for name in TRANSFERS if issubclass(TRANSFERS.load(name), FeatureTransfer)]


def build(name: str, context: TransferContext, seed: int = 0, **options: object) -> Transfer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transfer: Transfer = TRANSFERS.load(name)(context, **OPTIONS.get(name, {}), **options)
    return transfer.double()


class Bench:
    """A student, a teacher wider than it, a method, and the loop that trains them."""

    def __init__(
        self,
        name: str,
        small_net: Callable[..., nn.Module],
        context_of: Callable[..., TransferContext],
        *,
        seed: int = 0,
        rate: float = 1e-4,
    ) -> None:
        self.student, self.teacher = small_net(1), small_net(2, widths=(5, 6, 9))
        context = context_of(self.student, self.teacher)
        self.transfer = build(name, context, seed)
        self.distiller = Distiller(
            FeatureExtractor(self.student, context.layers),
            FeatureExtractor(self.teacher, context.teacher_layers),
            self.transfer,
            groups={"head": [name for name, _ in self.student.named_parameters()]},
            optimizer=OptimizerSettings(rate, 0.9, 5e-4, nesterov=False),
            schedule=lambda _: 1.0,
        )

    def steps(self, batch: Batch, count: int) -> list[float]:
        """Train on one batch, with the same directions at every step, and return the losses."""
        return [
            self.distiller.begin_epoch(1, [batch], steps=1, directions=torch.Generator().manual_seed(3), multipliers={})
            .run()
            .loss
            for _ in range(count)
        ]

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        transfer, distiller = self.transfer.train(), self.distiller
        draws = transfer.draw(batch.images, torch.Generator().manual_seed(3))
        own = transfer.observe(distiller.student, batch.images, draws)
        target = transfer.observe(distiller.teacher, batch.images, draws)  # deliberately not under no_grad
        return transfer.terms(own, target, batch)

    def state(self) -> bytes:
        """What a trial's checkpoint holds."""
        buffer = io.BytesIO()
        torch.save(
            {
                "student": self.student.state_dict(),
                "optimizer": self.distiller.optimizer.state_dict(),
                "transfer": self.transfer.state_dict(),
            },
            buffer,
        )
        return buffer.getvalue()

    def restore(self, content: bytes) -> None:
        state = torch.load(io.BytesIO(content), weights_only=True)
        self.student.load_state_dict(state["student"])
        self.distiller.optimizer.load_state_dict(state["optimizer"])
        self.transfer.load_state_dict(state["transfer"])


@pytest.fixture
def bench(small_net, context_of) -> Callable[..., Bench]:
    return lambda name, **options: Bench(name, small_net, context_of, **options)


@pytest.mark.parametrize("name", TEACHING)
def test_terms_are_finite_scalars_and_reach_the_student_and_every_adaptor(name: str, bench, batch: Batch) -> None:
    made = bench(name)
    terms = made.terms(batch)
    assert terms
    for term in terms.values():
        assert term.shape == ()
        assert math.isfinite(term.item())
    sum(terms.values()).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in made.student.parameters())
    assert not [key for key, p in made.transfer.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("name", TEACHING)
def test_no_gradient_reaches_the_teacher(name: str, bench, batch: Batch) -> None:
    made = bench(name)
    made.teacher.requires_grad_(True)
    sum(made.terms(batch).values()).backward()
    assert all(p.grad is None or not p.grad.any() for p in made.teacher.parameters())


@pytest.mark.parametrize("name", list(TRANSFERS))
def test_training_leaves_the_teacher_bitwise_alone_and_repeats(name: str, bench, batch: Batch) -> None:
    first, second, other = bench(name), bench(name), bench(name, seed=1)
    before = weights_sha256(first.teacher)
    losses = first.steps(batch, 4)
    assert weights_sha256(first.teacher) == before
    assert second.steps(batch, 4) == losses
    has_state = any(True for _ in first.transfer.parameters())
    assert (other.steps(batch, 4) != losses) == has_state, "initial weights are the seed's alone"


@pytest.mark.parametrize("name", list(TRANSFERS))
def test_twenty_steps_on_one_batch_reduce_the_loss(name: str, bench, batch: Batch) -> None:
    losses = bench(name).steps(batch, 21)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", TEACHING)
def test_twenty_steps_on_its_terms_alone_reduce_them(name: str, bench, batch: Batch) -> None:
    made = bench(name)
    optimizer = torch.optim.Adam([*made.student.parameters(), *made.transfer.parameters()], lr=1e-3)
    values = []
    for _ in range(21):
        loss = sum(made.terms(batch).values())
        values.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert values[-1] < values[0]


@pytest.mark.parametrize("name", list(TRANSFERS))
def test_its_state_survives_a_checkpoint(name: str, bench, batch: Batch) -> None:
    made = bench(name)
    made.steps(batch, 3)
    content = made.state()
    later = made.steps(batch, 3)
    resumed = bench(name, seed=7)
    resumed.restore(content)
    assert resumed.steps(batch, 3) == later
    assert weights_sha256(resumed.transfer) == weights_sha256(made.transfer)


@pytest.mark.parametrize("name", list(TRANSFERS))
def test_its_source_and_every_option_are_documented(name: str) -> None:
    text = inspect.getdoc(TRANSFERS.load(name))
    assert re.search(r"^Source: ", text, re.MULTILINE)
    for option in TRANSFERS.options(name):
        assert re.search(rf"^    {option}: ", text, re.MULTILINE), option


@pytest.mark.parametrize("name", FEATURES)
def test_soft_targets_can_be_added_and_weight_scales(name: str, bench, small_net, context_of, batch: Batch) -> None:
    plain = bench(name)
    values = {key: term.item() for key, term in plain.terms(batch).items()}
    context = context_of(plain.student, plain.teacher)
    made = bench(name)
    made.transfer = build(name, context, weight=0.5, kd_weight=2.0, temperature=3.0)
    terms = made.terms(batch)
    full = build(name, context, weight=1.0)
    made.transfer = full
    ones = made.terms(batch)
    assert set(terms) == {*values, "kd"}
    for key, term in ones.items():
        assert terms[key].item() == pytest.approx(0.5 * term.item(), rel=1e-12)


@pytest.mark.parametrize("name", FEATURES)
def test_other_sizes_are_accepted(name: str, small_net, context_of, batch: Batch) -> None:
    for strides in ((2, 1, 2), (1, 1, 1)):
        student, teacher = small_net(1), small_net(2, widths=(5, 6, 9), strides=strides).eval()
        context = context_of(student, teacher)
        transfer = build(name, context)
        draws = transfer.draw(batch.images, torch.Generator())
        terms = transfer.terms(
            transfer.observe(FeatureExtractor(student, context.layers), batch.images, draws),
            transfer.observe(FeatureExtractor(teacher, context.layers), batch.images, draws),
            batch,
        )
        assert all(math.isfinite(term.item()) for term in terms.values())


@pytest.mark.parametrize("name", FEATURES)
def test_a_dead_layer_gives_finite_losses_and_gradients(name: str, bench, batch: Batch) -> None:
    made = bench(name)
    made.student.stage3[1].weight.data.zero_()
    made.student.stage3[1].bias.data.fill_(-1.0)
    sum(made.terms(batch).values()).backward()
    gradients = [p.grad for p in (*made.student.parameters(), *made.transfer.parameters()) if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", FEATURES)
def test_labels_of_several_classes_are_accepted(name: str, bench, batch: Batch) -> None:
    several = Batch(batch.images, torch.eye(5, dtype=torch.float64)[batch.labels], batch.indices)
    assert all(math.isfinite(term.item()) for term in bench(name).terms(several).values())


def test_a_method_of_features_needs_layers(small_net, context_of) -> None:
    from dataclasses import replace

    from kdstudy.errors import MapError

    context = context_of(small_net(1), small_net(2))
    empty = replace(context, layers=(), student_shapes=(), teacher_shapes=(), teacher_layers=())
    for name in FEATURES:
        with pytest.raises(MapError, match=f"{name}: no layer"):
            build(name, copy.copy(empty))
