"""Which layers of two networks are compared, where a method compares any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from kdstudy.errors import ModelError
from kdstudy.layerwise import LayerPair, match_embeddings, match_layers
from kdstudy.models import trace_maps
from kdstudy.plugins import POLICIES, TRANSFERS
from kdstudy.study import PluginSpec
from kdstudy.transfer import TransferContext

Need = Literal["layers", "embedding", "nothing"]


def need_of(transfer: PluginSpec, policy: PluginSpec) -> Need:
    """Return what a method and a policy need of the networks: a policy over layers needs layers."""
    if getattr(POLICIES.load(policy.name), "needs_layers", True):  # a user's own may say nothing
        return "layers"
    need: Need = getattr(TRANSFERS.load(transfer.name), "needs", "layers")
    return need


def layer_pairs(
    student: nn.Module,
    teacher: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    layers: Literal["auto"] | Sequence[tuple[str, str]],
    need: Need,
) -> tuple[LayerPair, ...]:
    """Match two networks' crucial layers; where none match, what can be done without.

    What needs an embedding is given that of both networks; what needs nothing has no layer.

    Args:
        student: The network that learns.
        teacher: The network that is learnt from.
        image_shape: (C, H, W) of one image.
        layers: ``auto``, or pairs (student layer, teacher layer).
        need: Of the method and the policy.

    Raises:
        ModelError: No layers match and they are needed, or a named one does not exist.
    """
    traces = trace_maps(student, image_shape), trace_maps(teacher, image_shape)
    try:
        return match_layers(*traces, layers)
    except ModelError:
        if layers != "auto" or need == "layers":
            raise
        return () if need == "nothing" else (match_embeddings(*traces),)


def context_of(
    pairs: Sequence[LayerPair],
    student: nn.Module,
    teacher: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    num_classes: int,
    num_train: int,
) -> TransferContext:
    """Return what a transfer method may know of two networks whose crucial layers are matched.

    Args:
        pairs: Of `layer_pairs`.
        student: As there, like the next two.
        teacher: The network that is learnt from.
        image_shape: (C, H, W) of one image.
        num_classes: K.
        num_train: Number of training images; 0 where it is not known.
    """
    return TransferContext(
        layers=tuple(pair.student for pair in pairs),
        student_shapes=tuple(pair.student_shape for pair in pairs),
        teacher_shapes=tuple(pair.teacher_shape for pair in pairs),
        image_shape=image_shape,
        num_classes=num_classes,
        num_train=num_train,
        student=student,
        teacher=teacher,
        teacher_layers=tuple(pair.teacher for pair in pairs),
    )
