"""What every transfer method promises."""

from __future__ import annotations

import copy
import inspect
import io
import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from kdstudy.models import FeatureExtractor
from kdstudy.plugins import TRANSFERS
from kdstudy.testing.networks import context_of, small_batch, small_net
from kdstudy.training import Distiller, OptimizerSettings, weights_sha256
from kdstudy.transfer import Batch, MapTransfer, Observation, Transfer


class TransferBench:
    """A student, a wider teacher, a method between them, and the loop that trains them; all in float64.

    Args:
        plugin: The method.
        options: Its options.
        seed: Of the method's own initial weights.

    Attributes:
        student: A `SmallNet`.
        teacher: A wider `SmallNet`.
        batch: The images they are trained on.
        transfer: The method.
        distiller: The loop.
    """

    def __init__(self, plugin: str, options: dict[str, Any], *, seed: int = 0) -> None:
        self.student, self.teacher = small_net(1), small_net(2, widths=(5, 6, 9)).eval()
        self.batch = small_batch()
        context = context_of(self.student, self.teacher)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.transfer: Transfer = TRANSFERS.load(plugin)(context, **options).double()
        self.distiller = Distiller(
            FeatureExtractor(self.student, context.layers),
            FeatureExtractor(self.teacher, context.teacher_layers),
            self.transfer,
            groups={"head": [name for name, _ in self.student.named_parameters()]},
            optimizer=OptimizerSettings(1e-4, 0.9, 5e-4, nesterov=False),
            schedule=lambda _: 1.0,
        )

    def steps(self, count: int) -> list[float | None]:
        """Train on the batch, with the same random draws in every step, and return the losses."""
        return [
            self.distiller.begin_epoch(
                1, [self.batch], steps=1, directions=torch.Generator().manual_seed(3), multipliers={}
            )
            .run()
            .loss
            for _ in range(count)
        ]

    def observe(self) -> tuple[Observation, Observation]:
        """Return what the method keeps of student and teacher; the teacher deliberately not under ``no_grad``."""
        draws = self.transfer.train().draw(self.batch.images, torch.Generator().manual_seed(3))
        own = self.transfer.observe(self.distiller.student, self.batch.images, draws)
        return own, self.transfer.observe(self.networks()[1], self.batch.images, draws)

    def networks(self) -> tuple[FeatureExtractor, FeatureExtractor]:
        """Return student and teacher as the loop uses them."""
        assert self.distiller.teacher is not None
        return self.distiller.student, self.distiller.teacher

    def terms(self, batch: Batch | None = None) -> dict[str, Tensor]:
        """Return the method's terms of the loss."""
        return self.transfer.terms(*self.observe(), batch or self.batch)

    def state(self) -> bytes:
        """Return what a trial's checkpoint holds."""
        buffer = io.BytesIO()
        state = {
            "student": self.student.state_dict(),
            "optimizer": self.distiller.optimizer.state_dict(),
            "transfer": self.transfer.state_dict(),
        }
        torch.save(state, buffer)
        return buffer.getvalue()

    def restore(self, content: bytes) -> None:
        """Continue from what `state` returned."""
        state = torch.load(io.BytesIO(content), weights_only=True)
        self.student.load_state_dict(state["student"])
        self.distiller.optimizer.load_state_dict(state["optimizer"])
        self.transfer.load_state_dict(state["transfer"])


class TransferSuite:
    """Tests of one transfer method; derive from it and set `plugin`.

    Attributes:
        plugin: Registered name, or ``package.module:Name``.
        options: Options the method is built with, where its defaults do not do.
    """

    plugin: str
    options: ClassVar[dict[str, Any]] = {}

    def bench(self, *, seed: int = 0) -> TransferBench:
        """Return student, teacher, method and loop."""
        return TransferBench(self.plugin, self.options, seed=seed)

    def test_terms_are_finite_scalars_that_reach_the_student_and_every_adaptor(self) -> None:
        """Each term is a finite scalar; their sum has a gradient for the student and for the method's own weights."""
        made = self.bench()
        terms = made.terms()
        assert bool(terms) == made.transfer.uses_teacher
        for name, term in terms.items():
            assert term.shape == (), name
            assert math.isfinite(term.item()), name
        if not terms:
            return
        sum(terms.values(), torch.zeros(())).backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in made.student.parameters())
        assert not [key for key, p in made.transfer.named_parameters() if p.grad is None or not p.grad.any()]

    def test_the_layers_it_names_have_a_term_each(self) -> None:
        """Of the crucial layers in `term_layers` there is a loss of their own, >= 0, which a policy may follow."""
        made = self.bench()
        own = {name.partition("/")[2]: term.item() for name, term in made.terms().items()}
        assert set(made.transfer.term_layers) <= set(made.transfer.layers)
        assert all(own[layer] >= 0.0 for layer in made.transfer.term_layers)

    def test_no_gradient_reaches_the_teacher(self) -> None:
        """Not even where the teacher's weights could take one."""
        made = self.bench()
        made.teacher.requires_grad_(True)
        terms = made.terms()
        if terms:
            sum(terms.values(), torch.zeros(())).backward()
        assert all(p.grad is None or not p.grad.any() for p in made.teacher.parameters())

    def test_the_students_logits_and_statistics_are_those_of_a_plain_pass(self) -> None:
        """Observing the student is one forward pass in train mode, no more and no less."""
        made = self.bench()
        plain = copy.deepcopy(made.student)
        own, _ = made.observe()
        assert torch.equal(own.logits, plain(made.batch.images))
        for key, value in plain.state_dict().items():
            assert torch.equal(value, made.student.state_dict()[key]), key

    def test_training_leaves_the_teacher_bitwise_alone_and_repeats(self) -> None:
        """Equal seeds give equal losses; another seed gives others where the method has weights of its own."""
        first, second, other = self.bench(), self.bench(), self.bench(seed=1)
        before = weights_sha256(first.teacher)
        losses = first.steps(4)
        assert weights_sha256(first.teacher) == before
        assert second.steps(4) == losses
        has_state = any(True for _ in first.transfer.parameters())
        assert (other.steps(4) != losses) == has_state

    def test_twenty_steps_on_one_batch_reduce_the_loss(self) -> None:
        """The loop learns with it."""
        first, *_, last = self.bench().steps(21)
        assert first is not None
        assert last is not None
        assert last < first

    def test_twenty_steps_on_its_terms_alone_reduce_them(self) -> None:
        """The terms can be learnt."""
        made = self.bench()
        if not made.transfer.uses_teacher:
            return
        optimizer = torch.optim.Adam([*made.student.parameters(), *made.transfer.parameters()], lr=1e-3)
        values = []
        for _ in range(21):
            loss = sum(made.terms().values(), torch.zeros(()))
            values.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert values[-1] < values[0]

    def test_its_state_survives_a_checkpoint(self) -> None:
        """Training continued from a checkpoint is training that was never interrupted."""
        made = self.bench()
        made.steps(3)
        content = made.state()
        later = made.steps(3)
        resumed = self.bench(seed=7)
        resumed.restore(content)
        assert resumed.steps(3) == later
        assert weights_sha256(resumed.transfer) == weights_sha256(made.transfer)

    def test_its_maps_are_observed_without_a_graph(self) -> None:
        """A method whose maps can feed a policy observes the student in eval mode and changes nothing."""
        made = self.bench()
        if not isinstance(made.transfer, MapTransfer):
            return
        made.transfer.eval()
        made.student.eval()
        before = copy.deepcopy(made.student.state_dict())
        draws = made.transfer.draw(made.batch.images, torch.Generator().manual_seed(0))
        with torch.no_grad():
            seen = made.transfer.observe(made.networks()[0], made.batch.images, draws)
        assert not any(each.requires_grad for each in seen.maps)
        assert len(seen.maps) == len(made.transfer.layers)
        assert all(torch.equal(value, before[key]) for key, value in made.student.state_dict().items())
        assert all(parameter.requires_grad for parameter in made.student.parameters())

    def test_its_source_and_every_option_are_documented(self) -> None:
        """The docstring has a line ``Source: ...`` and one for each option."""
        documentation = inspect.getdoc(TRANSFERS.load(self.plugin)) or ""
        assert "Source:" in documentation
        for option in TRANSFERS.options(self.plugin):
            assert f"{option}:" in documentation, option
