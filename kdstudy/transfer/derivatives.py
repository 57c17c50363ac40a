"""The base class of Jacobian and Hessian transfer: directions, derivatives of attention maps, norms, the loss.

Shapes: B samples, q of them with derivatives, C channels, H and W positions, L crucial layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor, evaluating, watching
from kdstudy.plugins import Earlier
from kdstudy.transfer.autodiff import Dual, differentiable
from kdstudy.transfer.base import Temperature, TransferContext, Weight, beside
from kdstudy.transfer.losses import batch_unit_distance, mean_square_norm, squared_distance, unit_distance
from kdstudy.transfer.map_transfer import MapTransfer
from kdstudy.transfer.maps import attention_map, resize

Norm = Literal["batch", "sample", "teacher"]
Retired = Literal["running"]
Normalise = Annotated[Norm, Earlier(Retired, default="running", instead="write batch, or teacher to match the scale")]
"""An option. In records of earlier versions: ``running``, their default (see `DerivativeTransfer`)."""
Power = Annotated[float, Ge(1)]
Fraction = Annotated[float, Gt(0), Le(1)]

# Share of the running mean square that a new batch replaces: a memory of about ten batches.
_NEW = 0.1


class Directions(NamedTuple):
    """One batch's random directions, the same for student and teacher.

    Attributes:
        samples: q, the number of samples (the first ones) whose maps are compared.
        images: Directions in image space, each (q, C, H, W).
        positions: One weight per position of each layer's attention map, each (q, H_j, W_j); empty if not
            needed.
    """

    samples: int
    images: tuple[Tensor, ...]
    positions: tuple[Tensor, ...]


class DerivativeTransfer(MapTransfer):
    """Matches a derivative of the attention map with respect to the image, in [0, 1], or to weights.

    The loss of a layer is ``|| m_S / n_S - m_T / n_T ||^2``, summed over the map, averaged over samples.
    ``normalise`` says what n is (measured: docs/derivative-norms.md):

    * ``batch``: the RMS norm of that network's maps of that layer over the present batch; the gradient flows through
      n_S. The loss is of degree 0 in the student's maps, <m_S, dL/dm_S> = 0, so nothing pulls at their scale. Biased by
      the norm's sampling error (1-4 % at 64 images).
    * ``sample``: each map's own norm, as attention transfer takes it. Also of degree 0; small maps count as much as
      large ones.
    * ``teacher``: both maps by the running RMS norm of the teacher's, a constant: ||m_S - m_T||^2 in units of the
      teacher's. A regression, which matches the scale too.

    Records of earlier versions hold ``running``: n_S the running RMS norm of the student's maps, a constant for the
    gradient. That is the gradient of no function. At n_S = ||m_S|| its part along m_S is 2 (1 - cos), which shrinks m_S
    for as long as the two maps are not parallel, and n_S runs after it: the student collapses.

    A running mean square contains the present batch with weight 0.1: divided by its own, a network's ``|| m / n ||^2``
    stays below 10 even where its maps grow suddenly.

    Args:
        context: Networks and shapes.
        weight: Factor on the sum over layers.
        p: Power of the attention map, >= 1.
        normalise: ``batch``, ``sample`` or ``teacher``; ``running`` for what an earlier version recorded.
        fraction: Share of the batch, in (0, 1], rounded up to whole samples, that has derivatives in
            training.
        kd_weight: Factor on soft targets.
        temperature: Of the soft targets.
    """

    cache_neutral_options: ClassVar[frozenset[str] | None] = frozenset(
        {"weight", "normalise", "kd_weight", "temperature"}
    )
    needs_directions: ClassVar[bool] = True
    squares: Tensor

    def __init__(  # noqa: PLR0913 -- keyword-only: the options of a study file
        self,
        context: TransferContext,
        *,
        weight: Weight,
        p: Power,
        normalise: Norm | Retired,
        fraction: Fraction,
        kd_weight: Weight,
        temperature: Temperature,
    ) -> None:
        super().__init__(context, weight=weight, kd_weight=kd_weight, temperature=temperature)
        self.p, self.normalise, self.fraction = p, normalise, fraction
        # Running mean square norm of each layer's maps, 0 before any batch: row 0 of those whose norm divides the
        # student's, row 1 of the teacher's.
        self.register_buffer("squares", torch.zeros(2, len(self.layers)))

    def directions(
        self,
        images: Tensor,
        generator: torch.Generator,
        *,
        signs: int = 0,
        normals: int = 0,
        positions: bool = False,
    ) -> Directions:
        """Draw directions for a batch; all samples have derivatives unless the method is training.

        Args:
            images: (B, C, H, W).
            generator: On the CPU.
            signs: Number of directions with entries -1 or +1.
            normals: Number of directions with standard normal entries.
            positions: Whether every layer gets weights of -1 or +1 over its positions.
        """
        count = math.ceil(self.fraction * len(images)) if self.training else len(images)
        shape = (count, *images.shape[1:])
        drawn = [_signs(shape, generator) for _ in range(signs)]
        drawn += [torch.randn(shape, generator=generator) for _ in range(normals)]
        weights = [_signs((count, *size), generator) for size in self.sizes] if positions else []
        moved = [tuple(beside(each.to(images.dtype), images) for each in made) for made in (drawn, weights)]
        return Directions(count, *moved)

    def part_of(self, draws: Directions, rank: int, ranks: int) -> Directions:
        """Return the directions of a rank's samples.

        Raises:
            MapError: So many samples have no equal parts.
        """
        if draws.samples % ranks:
            raise MapError(
                f"{self.name}: {draws.samples} samples of a batch have derivatives (fraction: {self.fraction:g}), "
                f"which do not split over {ranks} ranks; choose another fraction"
            )
        own = [tuple(each[rank::ranks] for each in made) for made in (draws.images, draws.positions)]
        return Directions(draws.samples // ranks, *own)

    def jvp(self, network: FeatureExtractor, images: Tensor, draws: Directions) -> tuple[Tensor, tuple[Dual, ...]]:
        """Run ``network`` once in forward mode and return its logits and its layers' activations as duals."""
        with full_precision(images.device):
            output = network(Dual(images, draws.images))
        for layer, feature in zip(self.layers, output.features, strict=True):
            _require_dual(self.name, layer, feature)
        return output.logits.value, output.features

    def reverse_mode(
        self, network: FeatureExtractor, images: Tensor, draws: Directions, *, twice: bool
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Run ``network`` for reverse mode: its logits, the leaf images, each layer's attention map.

        Args:
            network: Student or teacher.
            images: (B, C, H, W) in [0, 1].
            draws: Tell how many samples have features.
            twice: Whether gradients of gradients are asked for.
        """
        # torch's fused attention has no second derivative, its plain form has.
        attention = sdpa_kernel(SDPBackend.MATH) if twice else nullcontext()
        with full_precision(images.device), attention:
            run = differentiable(network, images, draws.samples)
        with torch.enable_grad():
            maps = (attention_map(feature, self.p) for feature in run.features)
            return run.logits, run.inputs, tuple(map(resize, maps, self.sizes))

    def losses(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return each layer's squared distance of normalised maps; updates the running norms in training."""
        pairs = list(zip(student, teacher, strict=True))
        if self.normalise in ("batch", "sample"):
            distance = unit_distance if self.normalise == "sample" else batch_unit_distance
            return [distance(*pair) for pair in pairs]
        norms = self._update([student if self.normalise == "running" else teacher, teacher]).sqrt()
        return [squared_distance(s / norms[0, j], t.detach() / norms[1, j]) for j, (s, t) in enumerate(pairs)]

    @torch.no_grad()
    def _update(self, maps: Sequence[Sequence[Tensor]]) -> Tensor:
        """Return the mean square norms to divide by, (2, L): the batch's own before any training."""
        rows = [torch.stack([mean_square_norm(item) for item in layers]) for layers in maps]
        batch = torch.stack(rows).to(self.squares)
        if self.training:
            self.squares.copy_(torch.where(self.squares == 0, batch, self.squares.lerp(batch, _NEW)))
        squares = torch.where(self.squares == 0, batch, self.squares)
        return squares.clamp_min(torch.finfo(squares.dtype).tiny).to(rows[0])


def first_derivatives(
    scalars: Sequence[Tensor], targets: Sequence[Tensor], *, create_graph: bool
) -> tuple[Tensor, ...]:
    """Return the gradient of each scalar with respect to its target, zero where it does not depend on it.

    Args:
        scalars: One per layer, from graphs that share their beginnings.
        targets: One per scalar; may be the same tensor each time.
        create_graph: Whether the gradients are differentiated again.
    """
    gradients = []
    for scalar, target in zip(scalars, targets, strict=True):
        if not scalar.requires_grad:  # nothing left of a linear map after one derivative
            gradients.append(torch.zeros_like(target))
            continue
        gradients += torch.autograd.grad(
            scalar, target, create_graph=create_graph, retain_graph=True, materialize_grads=True
        )
    return tuple(gradients)


def trial_run(method: str, module: nn.Module, layers: Sequence[str], image_shape: tuple[int, int, int]) -> list[Dual]:
    """Push a zero image through ``module`` in eval mode and return its layers' duals; modes are restored.

    Raises:
        MapError: The network calls a function without a tangent rule, or a layer does not depend on the
            image.
    """
    features: dict[str, Any] = {}

    def record(name: str, _inputs: Any, output: Any) -> None:
        features.setdefault(name, output)  # the first call, as `FeatureExtractor` does

    like = next(iter(module.parameters()), torch.zeros(()))
    image = torch.zeros(1, *image_shape, device=like.device, dtype=like.dtype)
    watched = watching({name: module.get_submodule(name) for name in layers}, record)
    with watched, evaluating(module), torch.no_grad(), full_precision(like.device):
        module(Dual(image, (image,)))
    return [_require_dual(method, name, features.get(name)) for name in layers]


def _require_dual(method: str, layer: str, feature: Any) -> Dual:
    if not isinstance(feature, Dual):
        raise MapError(f"{method}: the output of layer '{layer}' is no function of the image; leave the layer out")
    return feature


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return a block without autocast, which flips ReLU masks (13-30 % off), where the device has any."""
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator).mul_(2).sub_(1).float()
