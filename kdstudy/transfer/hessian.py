"""Hessian transfer: how a layer's attention curves with the image.

The Hessian of an activation itself is zero almost everywhere in a network of convolutions, ReLU and average
pooling; that of the attention map Q = mean over channels of |A|^p is not. For p = 2 it needs first
derivatives only.

Shapes: B samples, q of them with derivatives, C channels, H and W positions.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.autodiff import Dual
from kdstudy.transfer.base import Observation, Temperature, TransferContext, Weight
from kdstudy.transfer.derivatives import (
    DerivativeTransfer,
    Directions,
    Fraction,
    Normalise,
    Power,
    first_derivatives,
    trial_run,
)
from kdstudy.transfer.maps import curvature_map, resize


class HessianTransfer(DerivativeTransfer):
    """Matches the Hessian D^2 Q of each layer's attention map Q, seen from random directions.

    Forms:

    * ``tangent``: D^2 Q[u, u] for one Gaussian u per sample, of shape (H, W), for all layers in one pass with
      tangents. The expected square of a difference dH is (tr dH)^2 + 2 ||dH||_F^2, zero only if dH is; signs
      in place of Gaussian entries would be blind to a traceless diagonal.
    * ``bilinear``: D^2 Q[u, v] for two independent directions in {-1, +1}: the expected square is ||dH||_F^2.
    * ``hvp``: the Hessian of <v, Q> times u, with u and v in {-1, +1}, of the image's shape, by two backward
      passes per layer; the expected square is ||dH||_F^2 summed over positions. Any p and any network will do.
    * ``hutchinson``: u times (the Hessian of the sum over positions of Q) times u, entry by entry, u in {-1,
      +1}: a one-probe estimate of the diagonal, of the image's shape. Any p and any network will do.

    In training, batch statistics are constants of the derivative. Directions live in [0, 1] image space.

    Args:
        context: Networks and shapes.
        weight: Factor on the sum over layers; 0 measures without teaching.
        form: ``tangent``, ``bilinear``, ``hvp`` or ``hutchinson``.
        p: Power of the attention map, >= 1; 2 for the first two forms.
        normalise: ``batch`` divides each network's maps by their RMS norm over the batch, ``sample`` each map by its
            own norm; both leave the scale of the student's maps free. ``teacher`` divides both networks' maps by the
            teacher's running norm, and matches the scale too.
        fraction: Share of the batch, in (0, 1], that has derivatives in training.
        kd_weight: Factor on soft targets; 0 leaves them out.
        temperature: Of the soft targets, > 0.

    Raises:
        MapError: ``tangent`` or ``bilinear`` with p other than 2, or with a network that is not piecewise
            linear in the image up to the layer.

    Source: Kokane, Uddin, Xu, arXiv 2407.04871, match Hessian maps layer by layer; which Hessian they take
        could not be read, so the forms are our choice. The diagonal estimate: Bekas, Kokiopoulou, Saad 2007;
        as used in AdaHessian, arXiv 2006.00719.
    """

    name: ClassVar[str] = "hessian"
    splits_batches: ClassVar[bool] = True

    def __init__(  # noqa: PLR0913 -- keyword-only: the options of a study file
        self,
        context: TransferContext,
        *,
        weight: Weight = 1.0,
        form: Literal["tangent", "bilinear", "hvp", "hutchinson"] = "tangent",
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
        self.form = form
        self._forward_mode = form in ("tangent", "bilinear")
        if self._forward_mode:
            if p != 2:
                raise MapError(f"hessian: form: {form} holds for p = 2 only, got p: {p}; choose form: hvp")
            for module, layers in (
                (context.student, context.layers),
                (context.teacher, context.teacher_layers),
            ):
                for dual in trial_run(self.name, module, layers, context.image_shape):
                    self._require_piecewise_linear(dual)

    def _require_piecewise_linear(self, dual: Dual) -> None:
        if dual.curved is not None:
            raise MapError(
                f"hessian: form: {self.form} needs a network that is piecewise linear in the image, but it "
                f"calls '{dual.curved}'; choose form: hvp"
            )

    def draw(self, images: Tensor, generator: torch.Generator) -> Directions:
        """Draw u and v, as the form needs."""
        signs = {"tangent": 0, "bilinear": 2, "hvp": 1, "hutchinson": 1}[self.form]
        return self.directions(
            images, generator, signs=signs, normals=int(self.form == "tangent"), positions=self.form == "hvp"
        )

    def observe(self, network: FeatureExtractor, images: Tensor, draws: Directions) -> Observation:
        """Run ``network`` and keep its Hessian maps, plain tensors if gradients are off at entry."""
        if not self._forward_mode:
            return self._doubly_backward(network, images, draws)
        logits, duals = self.jvp(network, images, draws)
        for dual in duals:
            self._require_piecewise_linear(dual)
        maps = (curvature_map(dual.tangents[0], dual.tangents[-1]) for dual in duals)
        return Observation(logits, tuple(map(resize, maps, self.sizes)))

    def _doubly_backward(self, network: FeatureExtractor, images: Tensor, draws: Directions) -> Observation:
        training = torch.is_grad_enabled()
        logits, inputs, attention = self.reverse_mode(network, images, draws, twice=True)
        (u,), targets = draws.images, [inputs] * len(attention)
        with torch.enable_grad():
            weights = draws.positions or [torch.ones_like(q) for q in attention]
            scalars = [(q * v).sum() for q, v in zip(attention, weights, strict=True)]
            slopes = first_derivatives(scalars, targets, create_graph=True)
            alongs = [(slope * u).sum() for slope in slopes]
            products = first_derivatives(alongs, targets, create_graph=training)
        maps = products if self.form == "hvp" else tuple(u * product for product in products)
        return Observation(logits, maps) if training else Observation(logits.detach(), maps)
