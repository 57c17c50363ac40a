"""Small networks that give tokens, or maps whose channels come last, shaped as the usual ones are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Self-attention of two heads; `plain` has its weights go through a dropout module, as older networks do."""

    def __init__(self, width: int, *, plain: bool) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.drop = nn.Dropout(0.0)
        self.plain = plain

    def forward(self, x: Tensor) -> Tensor:
        rows, count, width = x.shape
        q, k, v = self.qkv(x).reshape(rows, count, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        if self.plain:
            mixed = self.drop((q @ k.transpose(-2, -1) * (width // 2) ** -0.5).softmax(dim=-1)) @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(rows, count, width))


class Block(nn.Module):
    """A transformer's block on (B, N, C), or on (B, H, W, C)."""

    def __init__(self, width: int, *, plain: bool = False, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, plain=plain)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), activation(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x).flatten(1, -2)).reshape(x.shape)
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """A vision transformer: patches of four pixels, one class token, and registers after it."""

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        size: tuple[int, int] = (32, 32),
        width: int = 24,
        depth: int = 12,
        registers: int = 0,
        plain: bool = False,
        says: bool = False,
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Sequential()
        self.patch_embed.add_module("proj", nn.Conv2d(in_channels, width, 4, stride=4))
        self.prefix = nn.Parameter(torch.randn(1, 1 + registers, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, size[0] * size[1] // 16, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, plain=plain) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, num_classes)
        if says:
            self.num_prefix_tokens = 1 + registers

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed(images).flatten(2).transpose(1, 2) + self.places
        x = torch.cat([self.prefix.expand(x.shape[0], -1, -1), x], dim=1)
        return self.head(self.norm(self.blocks(x))[:, 0])


class Merge(nn.Module):
    """Halves the grid of (B, H, W, C) and doubles C, as Swin does."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduction(torch.cat(parts, dim=-1))


class Hierarchy(nn.Module):
    """Swin's shape: maps with channels last, whose grid halves from stage to stage."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3, *, width: int = 16, **_: Any) -> None:
        super().__init__()
        self.embed = nn.Conv2d(in_channels, width, 2, stride=2)
        self.stages = nn.Sequential(
            nn.Sequential(Block(width), Block(width)),
            nn.Sequential(Merge(width), Block(2 * width)),
            nn.Sequential(Merge(2 * width), Block(4 * width)),
        )
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stages(self.embed(images).permute(0, 2, 3, 1)).mean((1, 2)))
