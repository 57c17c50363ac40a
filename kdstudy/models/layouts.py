"""How a layer lays out its output, and the map (B, C, H, W) that it stands for.

Convolutional layers give maps. Transformers give tokens (B, N, C), one for each cell of a grid and before them some
that stand for no place (class, distillation, register tokens), or maps whose channels come last, (B, H, W, C). What
compares layers sees maps alone: `Layout.fold` makes one of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final


@final
@dataclass(frozen=True)
class Layout:
    """How a layer lays out its output.

    Args:
        kind: ``map`` (B, C, H, W), ``channels last`` (B, H, W, C), ``tokens`` (B, prefix + H W, C) row by row, or
            ``vector`` (B, C), a map of one position.
        grid: (H, W) of tokens.
        prefix: Number of tokens before those of the grid; they are left out.
        in_order: Whether positions run through the image row by row; where not, there is no map to be had.
    """

    kind: Literal["map", "channels last", "tokens", "vector"] = "map"
    grid: tuple[int, int] = (1, 1)
    prefix: int = 0
    in_order: bool = True

    def fold(self, output: Any) -> Any:
        """Return the layer's output, a tensor or a dual, as a map (B, C, H, W): a view of it, or itself."""
        if self.kind == "channels last":
            return output.permute(0, 3, 1, 2)
        if self.kind == "tokens":
            return output[:, self.prefix :].transpose(1, 2).unflatten(2, self.grid)
        return output.unflatten(1, (-1, 1, 1)) if self.kind == "vector" else output

    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        """Return (C, H, W) of the map, from the output's shape without the batch."""
        if self.kind == "map":
            return given
        return (given[-1], *given[:2]) if self.kind == "channels last" else (given[-1], *self.grid)

    def __str__(self) -> str:
        if self.kind != "tokens":
            return self.kind
        height, width = self.grid
        return f"tokens {self.prefix} + {height}x{width}" if self.prefix else f"tokens {height}x{width}"


MAP = Layout()
