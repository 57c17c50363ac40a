"""Jacobian transfer: how a layer's attention changes with the image.

Shapes: B samples, q of them with derivatives, C channels, H and W positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor, trace
from kdstudy.transfer.base import Observation, Temperature, TransferContext, Weight, in_turn
from kdstudy.transfer.derivatives import (
    DerivativeTransfer,
    Directions,
    Fraction,
    Normalise,
    Power,
    first_derivatives,
    trial_run,
)
from kdstudy.transfer.maps import directional_map, resize


class JacobianTransfer(DerivativeTransfer):
    """Matches the Jacobian J = dQ/dx of each layer's attention map Q, seen from random directions.

    Forms:

    * ``tangent``: J u for one u in {-1, +1} per sample, of shape (H, W), for all layers in one pass with
      tangents. The expected squared distance is the squared Frobenius distance of the Jacobians.
    * ``projection``: the gradient of <v, Q> for one v in {-1, +1} per sample and layer, of the image's shape,
      by one double backward per layer; unbiased as well, and any network will do.
    * ``peak``: the gradient of the largest pixel of Q (each network's own), of the image's shape.
      Deterministic, but a different objective: it sees one row of the Jacobian.

    ``wrt: parameters`` takes the gradient of <v, Q> or of the largest pixel, summed over samples, with
    respect to the weights of the last convolution before the layer's output (the last one wider than 1x1, if
    there is one): one map per batch.

    In training, batch statistics are constants of the derivative. Directions live in [0, 1] image space.

    Args:
        context: Networks and shapes.
        weight: Factor on the sum over layers; 0 measures without teaching.
        form: ``tangent``, ``projection`` or ``peak``.
        wrt: ``images``, or ``parameters`` with the forms ``projection`` and ``peak``.
        p: Power of the attention map, >= 1.
        normalise: ``batch`` divides each network's maps by their RMS norm over the batch, ``sample`` each map by its
            own norm; both leave the scale of the student's maps free. ``teacher`` divides both networks' maps by the
            teacher's running norm, and matches the scale too.
        fraction: Share of the batch, in (0, 1], that has derivatives in training.
        kd_weight: Factor on soft targets; 0 leaves them out.
        temperature: Of the soft targets, > 0.

    Raises:
        MapError: ``tangent`` with ``parameters``; a network without tangent rules; weights of unequal shapes.

    Source: Kokane, Uddin, Xu, arXiv 2407.04871, match Jacobian maps layer by layer; form and loss are our
        choice. Its abstract differentiates with respect to parameters, a review of it with respect to the
        input: both are here. Random projections: Czarnecki et al. 2017, arXiv 1706.04859. ``peak``: Srinivas
        & Fleuret 2018, arXiv 1803.00443, section 4.2.
    """

    name: ClassVar[str] = "jacobian"
    splits_batches: ClassVar[bool] = True

    def __init__(  # noqa: PLR0913 -- keyword-only: the options of a study file
        self,
        context: TransferContext,
        *,
        weight: Weight = 1.0,
        form: Literal["tangent", "projection", "peak"] = "tangent",
        wrt: Literal["images", "parameters"] = "images",
        p: Power = 2.0,
        normalise: Normalise = "batch",
        fraction: Fraction = 1.0,
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(
            context,
            weight=weight,
            p=p,
            normalise=normalise,
            fraction=fraction,
            kd_weight=kd_weight,
            temperature=temperature,
        )
        self.form, self.wrt = form, wrt
        self._image_shape = context.image_shape
        self._convolutions: WeakKeyDictionary[nn.Module, list[str]] = WeakKeyDictionary()
        if wrt == "parameters":
            self._match_convolutions(context)
        elif form == "tangent":
            trial_run(self.name, context.student, context.layers, context.image_shape)
            trial_run(self.name, context.teacher, context.teacher_layers, context.image_shape)

    def _match_convolutions(self, context: TransferContext) -> None:
        if self.form == "tangent":
            raise MapError(
                "jacobian: form: tangent is a derivative along images; with wrt: parameters choose "
                "form: projection or form: peak"
            )
        sides = ((context.student, context.layers), (context.teacher, context.teacher_layers))
        for module, layers in sides:
            self._convolutions[module] = last_convolutions(module, layers, context.image_shape)
        for names in zip(*(self._convolutions[module] for module, _ in sides), strict=True):
            shapes = [tuple(module.get_parameter(name).shape) for (module, _), name in zip(sides, names, strict=True)]
            if shapes[0] != shapes[1]:
                raise MapError(
                    f"jacobian: wrt: parameters needs equal weights, but the student's {names[0]} is "
                    f"{shapes[0]} and the teacher's {names[1]} is {shapes[1]}; use wrt: images"
                )

    def draw(self, images: Tensor, generator: torch.Generator) -> Directions:
        """Draw u or v, as the form needs."""
        return self.directions(
            images, generator, signs=int(self.form == "tangent"), positions=self.form == "projection"
        )

    def observe(self, network: FeatureExtractor, images: Tensor, draws: Directions) -> Observation:
        """Run ``network`` and keep its Jacobian maps, plain tensors if gradients are off at entry."""
        if self.form == "tangent":
            logits, duals = self.jvp(network, images, draws)
            maps = (directional_map(dual.first(dual.value), dual.tangents[0], self.p) for dual in duals)
            return Observation(logits, tuple(map(resize, maps, self.sizes)))
        training = torch.is_grad_enabled()
        with ExitStack() as stack:
            weights = [] if self.wrt == "images" else self._weights(network, stack)
            logits, inputs, attention = self.reverse_mode(network, images, draws, twice=training)
            scalars = self._scalars(attention, draws)
            targets = weights or [inputs] * len(scalars)
            gradients = first_derivatives(scalars, targets, create_graph=training)
        if weights:
            gradients = tuple(gradient.unsqueeze(0) for gradient in gradients)
        return Observation(logits, gradients) if training else Observation(logits.detach(), gradients)

    def whole(self, parts: Observation) -> Observation:
        """Return the maps of all samples; the one of weights is a sum over samples."""
        if self.wrt == "images":
            return super().whole(parts)
        return Observation(in_turn(parts.logits), tuple(each.sum(dim=0) for each in parts.maps))

    def _scalars(self, attention: Sequence[Tensor], draws: Directions) -> list[Tensor]:
        """Return each layer's scalar, summed over samples: each depends on its own image alone."""
        with torch.enable_grad():
            if self.form == "peak":
                return [q.flatten(1).max(dim=1).values.sum() for q in attention]
            return [(q * v).sum() for q, v in zip(attention, draws.positions, strict=True)]

    def _weights(self, network: FeatureExtractor, stack: ExitStack) -> list[Tensor]:
        """Return the weights to differentiate by; frozen ones ask for gradients until ``stack`` closes."""
        module = network.module
        if module not in self._convolutions:
            self._convolutions[module] = last_convolutions(module, network.layers, self._image_shape)
        weights: list[Tensor] = [module.get_parameter(name) for name in self._convolutions[module]]
        for weight in weights:
            stack.callback(weight.requires_grad_, weight.requires_grad)
            weight.requires_grad_(True)
        return weights


def last_convolutions(module: nn.Module, layers: Sequence[str], image_shape: tuple[int, int, int]) -> list[str]:
    """Return, for each layer, the name of the weights of the last convolution completed by its end.

    Kernels wider than one position go before 1x1 ones, which may belong to a shortcut.

    Raises:
        MapError: No convolution runs before a layer's output.
    """
    completed = [name for name, _ in trace(module, image_shape)]
    kernels = {
        name: max(child.kernel_size)
        for name, child in module.named_modules()
        if isinstance(child, (nn.Conv1d, nn.Conv2d))
    }
    found = []
    for layer in layers:
        before = [name for name in completed[: completed.index(layer) + 1] if name in kernels]
        if not before:
            raise MapError(f"jacobian: no convolution runs before layer '{layer}'; use wrt: images")
        wide = [name for name in before if kernels[name] > 1]
        found.append(f"{(wide or before)[-1]}.weight")
    return found
