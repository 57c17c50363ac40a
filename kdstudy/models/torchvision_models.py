"""torchvision's classification networks, under the names ``tv_...``, untrained.

Source: torchvision.models (BSD-3), each network with the paper named below. The more usual ones are
registered; any other of the families in `STEMS` is ``kdstudy.models.torchvision_models:NAME`` with the name
that torchvision gives it, e.g. ``kdstudy.models.torchvision_models:resnext50_32x4d``.

Deviations: the first convolution takes the images' channels; with ``stem: small`` the first convolution
is 3 x 3 with stride 1, and pooling right after it is left out, as is usual for images of 32 x 32 (He et al., arXiv
1512.03385, section 4.2). Features are taken by forward hooks on the named layers, as in every other network here:
`torchvision.models.feature_extraction` gives the same tensors, but from a copy of the network.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import nn

from kdstudy.data import import_torchvision
from kdstudy.errors import ModelError

Stem = Literal["imagenet", "small"]
Factory = Callable[..., nn.Module]


class StemNames(NamedTuple):
    """Where a family keeps its stem.

    Attributes:
        convolution: Dotted name of the first convolution.
        pool: Dotted name of the pooling right after it, or None.
    """

    convolution: str
    pool: str | None


STEMS = {
    "densenet": StemNames("features.conv0", "features.pool0"),
    "efficientnet": StemNames("features.0.0", None),
    "mnasnet": StemNames("layers.0", None),
    "mobilenet_v": StemNames("features.0.0", None),
    "regnet": StemNames("stem.0", None),
    "resne": StemNames("conv1", "maxpool"),  # ResNet, ResNeXt
    "shufflenet_v2": StemNames("conv1.0", "maxpool"),
    "vgg": StemNames("features.0", None),
    "wide_resnet": StemNames("conv1", "maxpool"),
}
"""First letters of a torchvision name, and that family's stem."""

PAPERS = {
    "resnet18": "ResNet-18, 11 M parameters, He et al., arXiv 1512.03385",
    "resnet34": "ResNet-34, 21 M parameters, He et al., arXiv 1512.03385",
    "resnet50": "ResNet-50, 24 M parameters, He et al., arXiv 1512.03385",
    "densenet121": "DenseNet-121, 7 M parameters, Huang et al., arXiv 1608.06993",
    "mobilenet_v2": "MobileNetV2, 2.2 M parameters, Sandler et al., arXiv 1801.04381",
    "mobilenet_v3_small": "MobileNetV3-Small, 1.5 M parameters, Howard et al., arXiv 1905.02244",
    "shufflenet_v2_x1_0": "ShuffleNetV2 1x, 1.3 M parameters, Ma et al., arXiv 1807.11164",
    "efficientnet_b0": "EfficientNet-B0, 4 M parameters, Tan and Le, arXiv 1905.11946",
}
"""The registered networks: what they are, their size for 10 classes and their source."""


def _factory(name: str) -> Factory:
    def build(num_classes: int, in_channels: int, *, stem: Stem = "imagenet") -> nn.Module:
        return _build(name, num_classes, in_channels, stem)

    about = PAPERS.get(name, f"{name}; the paper is named in torchvision's documentation")
    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""Build torchvision's {about}.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        stem: ``imagenet`` is the network as published; ``small`` does not reduce the image in the stem, for
            images of 32 x 32.

    Source: the paper above; torchvision.models.
    """
    return build


def _build(name: str, num_classes: int, in_channels: int, stem: Stem) -> nn.Module:
    """Return torchvision's network with its stem fitted to the images.

    Raises:
        ModelError: torchvision has no such network, or we do not know where its stem is.
    """
    family = next((names for start, names in STEMS.items() if name.startswith(start)), None)
    if family is None:
        raise ModelError(
            f"model: torchvision's '{name}' is of no family known here ({', '.join(STEMS)}); "
            "write a factory of your own and name it as package.module:name"
        )
    import_torchvision()
    models = importlib.import_module("torchvision.models")
    try:
        module: nn.Module = models.get_model(name, weights=None, num_classes=num_classes)
    except ValueError as error:
        raise ModelError(f"model: torchvision has no network '{name}'; see torchvision.models.list_models()") from error
    _fit_stem(module, family, in_channels, stem)
    return module


def _fit_stem(module: nn.Module, names: StemNames, in_channels: int, stem: Stem) -> None:
    old = module.get_submodule(names.convolution)
    assert isinstance(old, nn.Conv2d)
    small = stem == "small"
    if small and names.pool is not None:
        module.set_submodule(names.pool, nn.Identity())
    if in_channels == old.in_channels and not small:
        return
    kernel = 3 if small else old.kernel_size[0]
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        kernel,
        stride=1 if small else old.stride[0],
        padding=kernel // 2,
        bias=old.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    module.set_submodule(names.convolution, new)


def __getattr__(name: str) -> Factory:
    """Return the factory of torchvision's network ``name``; the registry looks names up here."""
    if name.startswith("_") or not name.startswith(tuple(STEMS)):
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}; it knows torchvision's {', '.join(STEMS)} networks"
        )
    return _factory(name)
