"""Runs a network and gives the outputs of its crucial layers; lists the layers of a network with their shapes.

Shapes: B samples, C channels, H and W positions, K classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from kdstudy.errors import ModelError
from kdstudy.models.compiled import Program
from kdstudy.models.inspection import evaluating, watching
from kdstudy.models.layouts import MAP, Layout
from kdstudy.models.randomness import preserved_generators


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

    What is recorded is the map that a layer gave: tokens are folded to their grid, channels that come last turned, if
    ``layouts`` says so. Of a layer whose output the network goes on to write into (`relu_`, `+=`), a
    copy. The first pass of each kind copies every layer and sees which those are.

    Args:
        module: Maps images (B, C, H, W) in [0, 1] to logits (B, K); normalises inside.
        layers: Dotted module names of the crucial layers, in order of execution; may be empty.
        precision: Low precision in which its layers may compute (autocast); None for full precision.
        memory: Asked first where plain images are run without gradients; None to run the module each time.
        layouts: By layer, how its output is laid out; (B, C, H, W) where nothing is said. `trace_maps` finds it.
        program: Runs the module in its stead where plain images are run for training: see `compiled`. What it records
            are copies.

    Raises:
        ModelError: A layer name does not exist in the module.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[str],
        precision: torch.dtype | None = None,
        memory: Memory | None = None,
        layouts: Mapping[str, Layout] | None = None,
        program: Program | None = None,
    ) -> None:
        self.module = module
        self.program = program
        self.precision = precision
        self.layers = tuple(layers)
        self.layouts = dict(layouts or {})
        self._memory = memory
        self._recorded: dict[str, _Recorded] | None = None  # between calls
        self._copies: dict[str, Tensor] = {}
        self._copied: frozenset[str] | None = None
        self._overwritten: dict[Hashable, frozenset[str]] = {}
        self._hooks = contextlib.ExitStack()
        modules = dict(module.named_modules())
        for name in self.layers:
            if name not in modules:
                raise ModelError(
                    f"layers: the network has no layer '{name}'; it has {', '.join(filter(None, modules))}"
                )
        self._hooks.enter_context(watching({name: modules[name] for name in self.layers}, self._record))

    def _record(self, name: str, _inputs: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            self._copies.setdefault(name, output.clone())
        elif self._recorded is not None and name not in self._recorded:  # the first call counts, as in `trace`
            self._recorded[name] = _Recorded(output, copied=self._copied is None or name in self._copied)

    def __call__(self, images: Any, *, exact: bool = False) -> Output:
        """Run the network.

        Args:
            images: (B, C, H, W), a tensor or a dual.
            exact: Compute in full precision, as derivatives need it; always so for a dual.

        Returns:
            Logits and features, in the images' own type.

        Raises:
            ModelError: A layer did not run, or its output was overwritten though in earlier passes it was not; or the
                module cannot be compiled.
        """
        if self.program is not None and self._trains(images, exact):
            return self._run_program(self.program, images)
        if self._memory is None or torch.is_grad_enabled() or not isinstance(images, Tensor):
            return self._run(images, exact)
        return self._memory(images, ("output", exact), lambda: self._run(images, exact))

    def _trains(self, images: Any, exact: bool) -> bool:
        plain = isinstance(images, Tensor) and not images.requires_grad and not exact
        return plain and torch.is_grad_enabled() and self.module.training

    def _run_program(self, program: Program, images: Tensor) -> Output:
        self._copies = {}
        with self._autocast(images):
            logits = program(images)
        copies, self._copies = self._copies, {}
        self._require(copies)
        return self._output(logits, [copies[name] for name in self.layers], images)

    def _run(self, images: Any, exact: bool) -> Output:
        kind = (self.module.training, type(images))
        self._recorded, self._copied = {}, self._overwritten.get(kind)
        with contextlib.nullcontext() if exact else self._autocast(images):
            logits = self.module(images)
        recorded, self._recorded = self._recorded, None
        self._require(recorded)
        if kind not in self._overwritten:
            self._overwritten[kind] = frozenset(name for name, each in recorded.items() if each.overwritten)
        return self._output(logits, [recorded[name].taken(name) for name in self.layers], images)

    def _autocast(self, images: Any) -> contextlib.AbstractContextManager[Any]:
        if self.precision is None or not isinstance(images, Tensor):
            return contextlib.nullcontext()
        return torch.autocast(images.device.type, dtype=self.precision)

    def _require(self, recorded: Mapping[str, Any]) -> None:
        for name in self.layers:
            if name not in recorded:
                raise ModelError(f"layers: '{name}' did not run in this pass; choose a layer that always runs")

    def _output(self, logits: Any, outputs: Sequence[Any], images: Any) -> Output:
        named = zip(self.layers, outputs, strict=True)
        features = (self.layouts.get(name, MAP).fold(output) for name, output in named)
        return Output(_widened(logits, images), tuple(_widened(feature, images) for feature in features))

    def release(self) -> None:
        """Take the recording hooks off the module, which may live on in other extractors."""
        self._hooks.close()


def _widened(output: Any, images: Any) -> Any:
    return output.to(images.dtype) if isinstance(output, Tensor) and output.dtype != images.dtype else output


class _Recorded:
    """The output of a layer: a tensor, or a dual, whose main tensor is its ``value``.

    Args:
        output: What the layer gave.
        copied: Whether to keep a copy; it has no part in any gradient unless it is taken.
    """

    def __init__(self, output: Any, *, copied: bool) -> None:
        self._output, self._copy = output, output.clone() if copied and hasattr(output, "clone") else None
        self._main, self._version = _written(output)

    @property
    def overwritten(self) -> bool:
        """Whether something has written into the output since."""
        main, version = _written(self._output)
        return main is not self._main or version != self._version

    def taken(self, name: str) -> Any:
        """Return what the layer ``name`` gave.

        Raises:
            ModelError: It has been overwritten, and there is no copy.
        """
        if not self.overwritten:
            return self._output
        if self._copy is None:
            raise ModelError(
                f"layers: the output of '{name}' is overwritten after the layer, though it was not in earlier passes; "
                "write what follows it without inplace, += or a trailing underscore"
            )
        return self._copy


def _written(output: Any) -> tuple[Any, int]:
    """Return the main tensor of an output, and how often it has been written into in place, as far as that counts."""
    main = output if isinstance(output, Tensor) else getattr(output, "value", None)
    return main, main._version if isinstance(main, Tensor) and not main.is_inference() else 0


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
    with watching(layers, record), preserved_generators(), evaluating(module), torch.no_grad():
        module(torch.zeros(1, *image_shape, device=device))
    return list(order.items())
