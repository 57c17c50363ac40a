"""What our own forward mode costs beside torch's: one step of a student that matches derivatives of its maps.

Contenders, with the same weights, images and directions, each a forward pass with tangents, cross-entropy plus a loss
of the Jacobian maps at three layers, and the backward pass:

* `Dual`: kdstudy/transfer/autodiff.
* ``forward_ad``: `torch.autograd.forward_ad` in the same pass, every batch norm replaced by one that treats its
  statistics as constants of the derivative. Tangents must cover the whole batch.
* ``two passes``: an ordinary pass that records the statistics of every batch norm, then `torch.func.jvp` over the
  images that have a derivative, with the statistics recorded.

Losses and gradients are compared in float64, to 1e-9, before anything is timed.

    python benchmarks/forward_mode.py [ROUNDS [STEPS]]
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from timing import alternate, ratio, table, where
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import jvp
from torch.nn import functional
from trainers import BATCH, CLASSES, LAYERS, SHAPE, network, noise

from kdstudy.models import FeatureExtractor
from kdstudy.transfer.autodiff import Dual
from kdstudy.transfer.maps import directional_map

STUDENTS = ("resnet8", "resnet20")


class DualNorm(nn.Module):
    """A batch norm for `forward_ad`: an ordinary pass for the values, an affine function for their tangents."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        value, tangent = forward_ad.unpack_dual(x)
        norm = self.norm
        out, _, inverse = torch.native_batch_norm(
            value, norm.weight, norm.bias, norm.running_mean, norm.running_var, True, norm.momentum or 0.1, norm.eps
        )
        return forward_ad.make_dual(out, tangent * (inverse.detach() * norm.weight).view(-1, 1, 1))


class RecordedNorm(nn.Module):
    """A batch norm that records its statistics in the first of two passes and uses them in the second."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm, self.scale, self.mean = norm, torch.empty(0), torch.empty(0)
        self.second = False

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        if self.second:
            scale = (self.scale * norm.weight).view(-1, 1, 1)
            return x * scale + (norm.bias - self.mean * self.scale * norm.weight).view(-1, 1, 1)
        out, mean, inverse = torch.native_batch_norm(
            x, norm.weight, norm.bias, norm.running_mean, norm.running_var, True, norm.momentum or 0.1, norm.eps
        )
        self.mean, self.scale = mean.detach(), inverse.detach()
        return out


Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Images (B, C, H, W), labels (B,) and directions (q, C, H, W) to the loss."""


def loss_of(logits: Tensor, labels: Tensor, values: Sequence[Tensor], tangents: Sequence[Tensor]) -> Tensor:
    maps = [directional_map(value, tangent) for value, tangent in zip(values, tangents, strict=True)]
    return functional.cross_entropy(logits, labels) + torch.stack([each.square().mean() for each in maps]).sum()


def plain(module: nn.Module) -> Step:
    """Return the step without any derivative."""
    return lambda images, labels, _: functional.cross_entropy(module(images), labels)


def ours(module: nn.Module) -> Step:
    """Return the step with `Dual`."""
    extractor = FeatureExtractor(module, LAYERS)

    def step(images: Tensor, labels: Tensor, directions: Tensor) -> Tensor:
        output = extractor(Dual(images, (directions,)))
        values = [dual.first(dual.value) for dual in output.features]
        return loss_of(output.logits.value, labels, values, [dual.tangents[0] for dual in output.features])

    return step


def one_pass(module: nn.Module) -> Step:
    """Return the step with `torch.autograd.forward_ad`."""
    replace_norms(module, DualNorm)
    extractor = FeatureExtractor(module, LAYERS)

    def step(images: Tensor, labels: Tensor, directions: Tensor) -> Tensor:
        count = len(directions)
        if count < len(images):
            directions = torch.cat([directions, torch.zeros_like(images[count:])])
        with forward_ad.dual_level():
            output = extractor(forward_ad.make_dual(images, directions))
            logits, *features = (forward_ad.unpack_dual(each) for each in (output.logits, *output.features))
        values, tangents = ([pair[k][:count] for pair in features] for k in (0, 1))
        return loss_of(logits.primal, labels, values, tangents)

    return step


def two_passes(module: nn.Module) -> Step:
    """Return the step with an ordinary pass and `torch.func.jvp`."""
    norms = replace_norms(module, RecordedNorm)
    extractor = FeatureExtractor(module, LAYERS)

    def step(images: Tensor, labels: Tensor, directions: Tensor) -> Tensor:
        count = len(directions)
        output = extractor(images)
        for norm in norms:
            norm.second = True
        _, tangents = jvp(lambda x: extractor(x).features, (images[:count],), (directions,))
        for norm in norms:
            norm.second = False
        return loss_of(output.logits, labels, [each[:count] for each in output.features], tangents)

    return step


def replace_norms(module: nn.Module, kind: type) -> list:
    norms = [name for name, child in module.named_modules() if isinstance(child, nn.BatchNorm2d)]
    replaced = [kind(module.get_submodule(name)) for name in norms]
    for name, child in zip(norms, replaced, strict=True):
        module.set_submodule(name, child)
    return replaced


CONTENDERS = {"plain step": plain, "Dual": ours, "forward_ad": one_pass, "two passes": two_passes}


def main(rounds: int, steps: int) -> None:
    """Print one table."""
    print(where(), f"{rounds} rounds of {steps} steps", flush=True)
    rows = []
    for name in STUDENTS:
        for share in (1.0, 0.25):
            rows += measure(name, share, rounds, steps)
            print(*rows[-3:], sep="\n", flush=True)
    print(table(["student, share", "contender", "ms, CPU", "in plain steps", "in steps of `Dual`"], rows))


def measure(name: str, share: float, rounds: int, steps: int) -> list[list[str]]:
    """Return one line per contender."""
    module = network(name, noise(2)).train()
    exact = {kind: trained(make, copy.deepcopy(module).double(), share)() for kind, make in CONTENDERS.items()}
    for kind in ("forward_ad", "two passes"):
        torch.testing.assert_close(exact[kind], exact["Dual"], rtol=1e-9, atol=1e-9)
    runs = {kind: trained(make, copy.deepcopy(module), share) for kind, make in CONTENDERS.items()}
    seconds = alternate({kind: lambda run=run: [run() for _ in range(steps)] for kind, run in runs.items()}, rounds)
    return [
        [
            f"{name}, {share}",
            kind,
            f"{1000 * np.median(seconds[kind]) / steps:.0f}",
            ratio(seconds, kind, "plain step"),
            ratio(seconds, kind, "Dual"),
        ]
        for kind in CONTENDERS
        if kind != "plain step"
    ]


def trained(make: Callable[[nn.Module], Step], module: nn.Module, share: float) -> Callable[[], tuple[Tensor, Tensor]]:
    """Return what runs a step and gives its loss and the gradient of the first convolution."""
    random = torch.Generator().manual_seed(1)
    images = torch.rand(BATCH, *SHAPE, generator=random)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=random)
    directions = torch.randint(0, 2, (int(share * BATCH), *SHAPE), generator=random).mul(2).sub(1).float()
    first = next(module.parameters())
    images, directions = images.to(first), directions.to(first)
    step = make(module)

    def run() -> tuple[Tensor, Tensor]:
        module.zero_grad(set_to_none=True)
        loss = step(images, labels, directions)
        loss.backward()
        assert first.grad is not None
        return loss.detach(), first.grad

    return run


if __name__ == "__main__":
    numbers = [int(value) for value in sys.argv[1:]]
    main(*(numbers + [7, 2][len(numbers) :]))
