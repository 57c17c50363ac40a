"""Runs a network and gives the outputs of its crucial layers; lists the layers of a network with their shapes.

Shapes: B samples, C channels, H and W positions, K classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from kdstudy.errors import ModelError
from kdstudy.models.inspection import evaluating, watching


class Output(NamedTuple):
    """What one forward pass gives.

    Attributes:
        logits: Shape (B, K).
        features: The output of each crucial layer in order, each (B, C_j, H_j, W_j). When the input was a
            `kdstudy.transfer.autodiff.forward_mode.Dual`, both fields hold duals.
    """

    logits: Any
    features: tuple[Any, ...]


Memory = Callable[[Tensor, Hashable, Callable[[], Output]], Output]
"""Called with images, a name of what is made of them, and what makes it; may return what it made of them before."""


@final
class FeatureExtractor:
    """A module whose named layers are recorded during each call.

    Args:
        module: Maps images (B, C, H, W) in [0, 1] to logits (B, K); normalises inside.
        layers: Dotted module names of the crucial layers, in order of execution; may be empty.
        precision: Low precision in which its layers may compute (autocast); None for full precision.
        memory: Asked first where plain images are run without gradients; None to run the module each time.

    Raises:
        ModelError: A layer name does not exist in the module.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[str],
        precision: torch.dtype | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.module = module
        self.precision = precision
        self.layers = tuple(layers)
        self._memory = memory
        self._recorded: dict[str, Any] = {}
        self._hooks = contextlib.ExitStack()
        modules = dict(module.named_modules())
        for name in self.layers:
            if name not in modules:
                raise ModelError(
                    f"layers: the network has no layer '{name}'; it has {', '.join(filter(None, modules))}"
                )
        self._hooks.enter_context(watching({name: modules[name] for name in self.layers}, self._record))

    def _record(self, name: str, _inputs: Any, output: Any) -> None:
        self._recorded.setdefault(name, output)  # the first call, as in `trace`

    def __call__(self, images: Any, *, exact: bool = False) -> Output:
        """Run the network.

        Args:
            images: (B, C, H, W), a tensor or a dual.
            exact: Compute in full precision, as derivatives need it; always so for a dual.

        Returns:
            Logits and features, in the images' own type.
        """
        if self._memory is None or torch.is_grad_enabled() or not isinstance(images, Tensor):
            return self._run(images, exact)
        return self._memory(images, ("output", exact), lambda: self._run(images, exact))

    def _run(self, images: Any, exact: bool) -> Output:
        self._recorded.clear()
        if exact or self.precision is None or not isinstance(images, Tensor):
            logits = self.module(images)
        else:
            with torch.autocast(images.device.type, dtype=self.precision):
                logits = self.module(images)
        features = tuple(self._recorded[name] for name in self.layers)
        self._recorded.clear()
        return Output(_widened(logits, images), tuple(_widened(feature, images) for feature in features))

    def release(self) -> None:
        """Take the recording hooks off the module, which may live on in other extractors."""
        self._hooks.close()


def _widened(output: Any, images: Any) -> Any:
    return output.to(images.dtype) if isinstance(output, Tensor) and output.dtype != images.dtype else output


def trace(module: nn.Module, image_shape: tuple[int, int, int]) -> list[tuple[str, tuple[int, ...]]]:
    """Return every named submodule in order of first completion, with the shape of its tensor output (batch left out).

    Runs one forward pass of a zero image in eval mode and restores every module's mode; buffers do not change.

    Args:
        module: The network.
        image_shape: (C, H, W) of one image.
    """
    order: dict[str, tuple[int, ...]] = {}

    def record(name: str, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            order.setdefault(name, tuple(output.shape[1:]))

    layers = {name: child for name, child in module.named_modules() if name}
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with watching(layers, record), evaluating(module), torch.no_grad():
        module(torch.zeros(1, *image_shape, device=device))
    return list(order.items())
