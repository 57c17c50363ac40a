"""Contrastive representation distillation: tell a sample's own partner from those of other classes.

Shapes: B samples, N training images, K negatives, D entries of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn import functional

from kdstudy.data import Batch
from kdstudy.errors import MapError
from kdstudy.models import FeatureExtractor
from kdstudy.transfer.base import Observation, Temperature, TransferContext, Weight, beside, in_turn
from kdstudy.transfer.features import FeatureTransfer, pooled, unit

_UNKNOWN = -1


class ContrastiveTransfer(FeatureTransfer):
    """Noise-contrastive estimation between the networks' embeddings of the last crucial layer.

    u = unit(linear(pooled feature)), (B, D), for each network. A memory keeps a running mean of every
    training image's u, of each network: after a step ``m <- unit(momentum m + (1 - momentum) u)``. A sample's
    own entry in the *other* network's memory is its positive, K entries of images of other classes are its
    negatives. With scores ``s = exp(u.m / tau) / Z`` and K_i the number of a sample's negatives, the loss is
    ``-log(s+ / (s+ + K_i / N)) - sum_k log((K_i / N) / (s_k + K_i / N))``, the mean over samples, the sum
    over both networks as anchor. Z is the mean of exp(u.m / tau)
    over the first batch times N, fixed from then on.

    Memories, Z and the labels seen are buffers: a checkpoint holds 8 N D bytes of them (51 MB for 50,000
    images).

    Args:
        context: Networks and shapes; the number of training images is the size of the memories.
        weight: Factor on the loss; 0 measures without teaching.
        dim: D, length of the embeddings.
        negatives: K drawn per batch, uniformly with replacement.
        tau: > 0; small values see only the most similar negatives.
        momentum: Of the memories, in [0, 1); 0 keeps the newest embedding.
        kd_weight: Factor on soft targets; 0 leaves them out.
        temperature: Of the soft targets, > 0.

    Source: Tian, Krishnan, Isola 2020, arXiv 1910.10699, equations 18 and 19, and the authors' code
        (RepDistiller), whose D 128, K 16384, tau 0.07, momentum 0.5 and weight 0.8 are the defaults. It draws
        K negatives for each sample; here all samples of a batch share one draw, which turns 2 B K D gathered
        numbers into two matrix products, and those of a sample's own class are left out of that sample's sum,
        so K_i <= K. It knows every label beforehand; here an image's label is known once the image was in a
        batch, and entries of images not yet seen, which are noise, count as another class. For multi-label
        data only the sample itself is left out. It adds 1e-7 to denominators; here logarithms are taken of
        sums directly.
    """

    name: ClassVar[str] = "crd"
    splits_batches: ClassVar[bool] = True
    needs: ClassVar[Literal["layers", "embedding", "nothing"]] = "embedding"
    student_memory: Tensor
    teacher_memory: Tensor
    classes: Tensor
    log_scales: Tensor

    def __init__(  # noqa: PLR0913 - a method's options
        self,
        context: TransferContext,
        *,
        weight: Weight = 0.8,
        dim: Annotated[int, Ge(1)] = 128,
        negatives: Annotated[int, Ge(1)] = 16384,
        tau: Annotated[float, Gt(0)] = 0.07,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.5,
        kd_weight: Weight = 0.0,
        temperature: Temperature = 4.0,
    ) -> None:
        super().__init__(context, weight=weight, at="last", kd_weight=kd_weight, temperature=temperature)
        if context.num_train < 1:
            raise MapError("crd: remembers every training image, and is not told how many there are; pass num_train")
        self.negatives, self.tau, self.momentum = negatives, tau, momentum
        self.student_embedding = nn.Linear(self.student_shapes[0][0], dim)
        self.teacher_embedding = nn.Linear(self.teacher_shapes[0][0], dim)
        bound = (3 / dim) ** 0.5  # rows of length 1 on average
        for owner in ("student", "teacher"):
            noise = torch.rand(context.num_train, dim) * 2 * bound - bound
            self.register_buffer(f"{owner}_memory", noise)
        self.register_buffer("classes", torch.full((context.num_train,), _UNKNOWN, dtype=torch.int64))
        self.register_buffer("log_scales", torch.full((2,), -torch.inf))  # log Z; log 0 until the first batch

    def draw(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the indices (K,) of this batch's negatives."""
        return beside(torch.randint(len(self.classes), (self.negatives,), generator=generator), images)

    def observe(self, network: FeatureExtractor, images: Tensor, draws: Any) -> Observation:
        """Run ``network`` once and keep the pooled last feature (B, C), and the drawn indices beside it."""
        output = network(images)
        return Observation(output.logits, (pooled(output.features[-1]), draws))

    def part_of(self, draws: Any, rank: int, ranks: int) -> Any:
        """Return the batch's negatives, which all its samples share."""
        return draws

    def whole(self, parts: Observation) -> Observation:
        """Return the features of all samples, and the drawn indices once."""
        features_W, drawn_W = parts.maps
        return Observation(in_turn(parts.logits), (in_turn(features_W), drawn_W[0]))

    def losses(self, student: Sequence[Tensor], teacher: Sequence[Tensor], batch: Batch) -> Sequence[Tensor]:
        """Return the sum of both anchors' losses; in train mode, move the memories afterwards."""
        drawn = student[1]
        own = unit(self.student_embedding(student[0]))
        other = unit(self.teacher_embedding(teacher[0]))
        usable = self._usable(drawn, batch)
        loss = self._contrast(own, self.teacher_memory, drawn, usable, batch, anchor=0) + self._contrast(
            other, self.student_memory, drawn, usable, batch, anchor=1
        )
        if self.training:
            self._remember("student", own, batch.indices)
            self._remember("teacher", other, batch.indices)
            if not batch.labels.is_floating_point():
                self.classes[batch.indices] = batch.labels
        return [loss]

    def _usable(self, drawn: Tensor, batch: Batch) -> Tensor:
        """Return (B, K), whether a drawn entry may be a sample's negative."""
        usable = drawn.unsqueeze(0) != batch.indices.unsqueeze(1)
        if batch.labels.is_floating_point():
            return usable
        return usable & (self.classes[drawn].unsqueeze(0) != batch.labels.unsqueeze(1))

    def _contrast(
        self,
        anchors_BD: Tensor,
        memory_ND: Tensor,
        drawn: Tensor,
        usable_BK: Tensor,
        batch: Batch,
        *,
        anchor: Literal[0, 1],
    ) -> Tensor:
        positive = (anchors_BD * memory_ND[batch.indices]).sum(dim=1) / self.tau
        negative = anchors_BD @ memory_ND[drawn].T / self.tau
        count = usable_BK.sum(dim=1)
        log_scale = self._log_scale(positive.detach(), negative.detach(), usable_BK, anchor)
        shift = log_scale + (count.clamp_min(1).to(positive.dtype) / len(memory_ND)).log()
        # log(s / (s + c)) = logsigmoid(log s - log c), and log(c / (s + c)) of the opposite sign.
        found = functional.logsigmoid(positive - shift)
        rejected = functional.logsigmoid(shift.unsqueeze(1) - negative)
        return -(found + torch.where(usable_BK, rejected, 0.0).sum(dim=1)).mean()

    def _log_scale(self, positive: Tensor, negative: Tensor, usable: Tensor, anchor: int) -> Tensor:
        """Return log Z: of this batch if it is the first, without waiting for the device."""
        kept = torch.where(usable, negative, -torch.inf).logsumexp(dim=1)
        total = torch.logaddexp(positive, kept).logsumexp(dim=0)
        entries = (len(positive) + usable.sum()).to(total.dtype)
        fresh = total - (entries / len(self.classes)).log()
        scale = torch.where(self.log_scales[anchor].isfinite(), self.log_scales[anchor], fresh)
        if self.training:
            self.log_scales[anchor] = scale
        return scale

    @torch.no_grad()
    def _remember(self, owner: Literal["student", "teacher"], vectors_BD: Tensor, indices: Tensor) -> None:
        memory = self.student_memory if owner == "student" else self.teacher_memory
        memory[indices] = unit(self.momentum * memory[indices] + (1 - self.momentum) * vectors_BD)
