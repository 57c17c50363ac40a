"""One step that several ranks take together: each runs the networks on its part of the batch, all see the whole loss.

The passes, which are the work, are split. What the method observed is then put together again, so that every rank
computes the loss of the whole batch: that of one process, whatever the method, be it a mean over samples or not
(relations between samples, norms over the batch, memories). A rank's gradient is that of its own part; the student's is
their sum. torch's `DistributedDataParallel` instead means the ranks' own losses, which is another objective for such
methods, and cannot run derivative streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from kdstudy.data import Batch
from kdstudy.models import FeatureExtractor
from kdstudy.training.ranks import Ranks
from kdstudy.transfer import Observation, Transfer


@final
class BatchShare:
    """This rank's share of every batch.

    Args:
        ranks: All that train the trial, at least 2.
        transfer: Its method.
    """

    def __init__(self, ranks: Ranks, transfer: Transfer) -> None:
        self._ranks, self._transfer = ranks, transfer

    def observe(self, network: FeatureExtractor, images: Tensor, draws: Any) -> Observation:
        """Run a network on this rank's images and return what is observed of the whole batch.

        Args:
            network: Student or teacher.
            images: This rank's.
            draws: For the whole batch.
        """
        part = self._transfer.part_of(draws, self._ranks.rank, self._ranks.size)
        own = self._transfer.observe(network, images, part)
        parts = Observation(self._gather(own.logits), tuple(self._gather(each) for each in own.maps))
        return self._transfer.whole(parts)

    def _gather(self, tensor: Tensor) -> Tensor:
        gathered: Tensor = _Gather.apply(tensor, self._ranks)  # type: ignore[no-untyped-call]
        return gathered

    def gather_gradients(self, student: nn.Module) -> None:
        """Sum the gradients of the student's parameters over the ranks; take the first rank's of the method's own."""
        self._replace([p.grad for p in student.parameters() if p.grad is not None], self._ranks.sum)
        self._replace([p.grad for p in self._transfer.parameters() if p.grad is not None], self._ranks.first_of)

    def begin_alike(self, *modules: nn.Module) -> None:
        """Give every rank the first one's weights and buffers."""
        tensors = [each for module in modules for each in module.state_dict().values()]
        self._replace(tensors, self._ranks.first_of)

    def mean_buffers(self, student: nn.Module) -> None:
        """Give every rank the mean of the student's buffers: of running statistics that each took of its own part."""
        buffers = [each for each in student.buffers() if each.is_floating_point()]
        self._replace(buffers, lambda flat: self._ranks.sum(flat) / self._ranks.size)

    @staticmethod
    @torch.no_grad()
    def _replace(tensors: Sequence[Tensor], exchange: Any) -> None:
        """Replace the contents of tensors by what an exchange of all of one type at once gives."""
        for dtype in dict.fromkeys(each.dtype for each in tensors):
            same = [each for each in tensors if each.dtype == dtype]
            flat = exchange(torch.cat([each.reshape(-1) for each in same]))
            for each, new in zip(same, flat.split([each.numel() for each in same]), strict=True):
                each.copy_(new.view(each.shape))


def whole_images(batch: Batch) -> Tensor:
    """Return images as many as the batch has labels: its own, or where they are a rank's, some in their place.

    They are for drawing, which looks at shape, type and device.
    """
    images = batch.images
    return images if len(images) == len(batch.indices) else images[:1].expand(len(batch.indices), *images.shape[1:])


class _Gather(torch.autograd.Function):
    """Every rank's tensor, (W, ...). All ranks compute the same from it, so each takes back its own part's gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        ctx.rank = ranks.rank
        return ranks.gather(tensor)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return slope[ctx.rank], None
