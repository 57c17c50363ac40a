"""Runs the students of a pack at once: one pass of `torch.func.vmap` over their stacked weights.

Each student keeps its own weights, buffers, optimizer, rates and method, so what follows the pass, and all that follows
a step, is as it is in turn; sums are rounded differently.

Shapes: M members, B samples, C channels, H and W positions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from kdstudy.errors import ModelError
from kdstudy.models import FeatureExtractor, GeneratorStates, Output, generator_states, preserved_generators
from kdstudy.training import generator
from kdstudy.trial.run import TrialRun

_ALIKE = 0.05
"""Largest difference from a student on its own, relative to what it gives: bfloat16 comes to about 0.01."""


@final
class Stack:
    """Students of one architecture, to be run at once.

    Args:
        students: In train mode, on one device.
    """

    def __init__(self, students: Sequence[FeatureExtractor]) -> None:
        self._runs = [_Run(student) for student in students]
        self._own = [dict(run.named_parameters()) for run in self._runs]
        self._parameters: dict[str, Any] = {}

    def run(self, images: Tensor) -> list[Output]:
        """Run all on the same images, (B, C, H, W); running statistics become each student's own."""
        parameters, buffers = stack_module_state(self._runs)
        self._parameters = {  # stacked, channels_last is neither fast nor without gaps in vmap's rules
            name: each.detach().contiguous().requires_grad_(each.requires_grad) for name, each in parameters.items()
        }
        first = self._runs[0]
        run = torch.vmap(lambda *state: functional_call(first, state, (images,)))
        logits, features = run(self._parameters, buffers)
        with torch.no_grad():
            for member, each in enumerate(self._runs):
                for name, buffer in each.named_buffers():
                    buffer.copy_(buffers[name][member])
        parts = zip(*(feature.unbind() for feature in features), strict=True) if features else [()] * len(self._runs)
        return [Output(*each) for each in zip(logits.unbind(), parts, strict=True)]

    def backward(self, losses: Sequence[Tensor]) -> None:
        """Give every student, and every method, the gradients of its own loss of what `run` gave.

        Args:
            losses: Scalars, of as many students as have one; those of the others count as 0.
        """
        torch.autograd.backward(losses)
        for name, stacked in self._parameters.items():
            if stacked.grad is None:
                continue
            for own, gradient in zip(self._own, stacked.grad.unbind(), strict=True):
                own[name].grad = _laid_out_as(own[name], gradient)
        self._parameters = {}


class _Run(nn.Module):
    """A student's whole pass, its crucial layers included, as a function of its weights."""

    def __init__(self, student: FeatureExtractor) -> None:
        super().__init__()
        self.student = student.module
        self._extractor = student

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return logits and features."""
        output = self._extractor(images)
        return output.logits, output.features


def _laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    """Return a gradient in the memory layout of its parameter, which optimizers of one kernel rely on."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


class MoreThanOutputsError(ModelError):
    """A method asks more of a student than the outputs of one plain pass."""

    def __init__(self) -> None:
        told = "numerics.packs: under vmap a method is given the outputs of each student's one pass, and asks for more"
        super().__init__(f"{told}; write turns")


class _Given:
    """Stands in for a student that has run."""

    def __init__(self, images: Tensor, output: Output) -> None:
        self._images, self._output = images, output

    def __call__(self, images: Any, *, exact: bool = False) -> Output:
        if exact or images is not self._images:
            raise MoreThanOutputsError
        return self._output

    def __getattr__(self, name: str) -> Any:
        raise MoreThanOutputsError


def given(images: Tensor, output: Output) -> FeatureExtractor:
    """Return what stands in for a student that has given ``output`` of these images.

    Raises:
        MoreThanOutputsError: When it is asked for anything else.
    """
    return cast(FeatureExtractor, _Given(images, output))


def objection(trials: Sequence[TrialRun]) -> str | None:
    """Return why students cannot be run at once, in a few words; None where they can, which is tried out here.

    Nothing of it is kept: no running statistics, no random numbers.

    Args:
        trials: Of one pack, before a step.
    """
    images = torch.rand(4, *trials[0].data.image_shape, generator=torch.Generator().manual_seed(0))
    images = images.to(trials[0].device)
    try:
        with preserved_generators(), torch.no_grad():
            before = generator_states()
            outputs, buffers = _tried(trials, lambda students: Stack(students).run(images))
            if _moved(before, generator_states()):
                return "the student draws random numbers"
            for trial, output in zip(trials, outputs, strict=True):
                transfer = trial.distiller.transfer
                draws = transfer.draw(images, generator(0, "directions"))
                transfer.observe(given(images, output), images, draws)
            alone = _tried(trials, lambda students: [student(images) for student in students])
            if not _alike((outputs, buffers), alone):
                return "the student computes something else where several run at once"
    except torch.OutOfMemoryError:
        raise
    except MoreThanOutputsError:
        return "the transfer method needs more than the students' outputs"
    except Exception as error:  # noqa: BLE001 -- whatever vmap, or a network of the user's own, has against it
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None


def _moved(before: GeneratorStates, after: GeneratorStates) -> bool:
    """Return whether a global generator has been drawn from."""
    same = [torch.equal(*pair) for pair in zip((before.cpu, *before.cuda), (after.cpu, *after.cuda), strict=True)]
    return not all(same) or before.python != after.python or str(before.numpy) != str(after.numpy)


def _tried(trials: Sequence[TrialRun], run: Any) -> tuple[list[Output], list[Tensor]]:
    """Run the students in train mode; return what they gave, and their buffers then, which are put back."""
    students = [trial.student for trial in trials]
    modules = [module for student in students for module in student.module.modules()]
    kept = [
        (each._buffers, name, own, own.clone())
        for each in modules
        for name, own in each._buffers.items()
        if own is not None
    ]
    with _training(students):
        try:
            outputs = run(students)
            return outputs, [now.clone() for buffers, name, *_ in kept if (now := buffers[name]) is not None]
        finally:
            for buffers, name, own, value in kept:
                buffers[name] = own.copy_(value)


@contextlib.contextmanager
def _training(students: Sequence[FeatureExtractor]) -> Iterator[None]:
    modes = [(module, module.training) for student in students for module in student.module.modules()]
    for student in students:
        student.module.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _alike(first: Any, second: Any) -> bool:
    pairs = zip(torch.utils._pytree.tree_leaves(first), torch.utils._pytree.tree_leaves(second), strict=True)
    return all(bool((one.double() - other.double()).norm() <= _ALIKE * other.double().norm()) for one, other in pairs)
