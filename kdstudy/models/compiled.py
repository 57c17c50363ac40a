"""A network's training pass as one compiled program, which a GPU replays as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdstudy.errors import ModelError

Program = Callable[[Tensor], Tensor]
"""Maps images (B, C, H, W) to logits (B, K), as the module does whose program it is."""
THEIRS = ("torch._dynamo", "torch._inductor")


def compiled(module: nn.Module) -> Program:
    """Return a module's pass, compiled when it first runs, for each size of batch anew: that takes minutes.

    By torch.compile in the mode ``reduce-overhead``: on a GPU the kernels of a pass, and those of its gradient, are
    launched at once. It rounds differently.

    Args:
        module: Its weights, mode and buffers are those of each call. Gradients of gradients cannot be taken.

    Raises:
        ModelError: By a call: torch cannot compile it here.
    """
    program = torch.compile(module, mode="reduce-overhead", dynamic=False)

    def run(images: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        try:
            logits: Tensor = program(images)
        except Exception as error:
            if not type(error).__module__.startswith(THEIRS):
                raise
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise ModelError(
                f"numerics.graph: torch cannot compile the student here ({reason}); write graph: off"
            ) from error
        return logits

    return run
