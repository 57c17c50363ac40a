"""Context managers for looking at a network without changing it: eval mode for a while, hooks for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

Watcher = Callable[[str, tuple[Any, ...], Any], None]
"""Called with a layer's name, its positional inputs and its output, each time the layer has run."""


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Hold ``module`` in eval mode, then give every submodule the mode it had."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, training in modes:
            child.training = training


@contextlib.contextmanager
def watching(layers: Mapping[str, nn.Module], watcher: Watcher) -> Iterator[None]:
    """Call ``watcher`` after each run of one of ``layers``, by name, until the end of the block."""

    # A plain function: a module may be copied with its hooks, and the copy must not copy the watcher.
    def hook_of(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            watcher(name, inputs, output)

        return hook

    handles = [layer.register_forward_hook(hook_of(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
