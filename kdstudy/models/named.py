"""Networks of torchvision and timm by their names, with published weights, a file's, or none.

Source: torchvision.models (BSD-3) and timm (Apache-2.0), each network with the paper that its documentation names.
Weights are theirs, under the licences that they publish them under. Features are taken by forward hooks, as in every
other network here.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Annotated, Any

from annotated_types import Ge, MinLen
from torch import nn

from kdstudy.data import import_torchvision
from kdstudy.errors import ModelError, did_you_mean
from kdstudy.models.checkpoint_files import read_weights
from kdstudy.models.normalised import SIZE
from kdstudy.models.pretrained import (
    NONE,
    PRETRAINED,
    Pretrained,
    head_of,
    pretrained_of,
    remember,
    sha256_of,
    with_weights,
)
from kdstudy.models.weight_files import WeightsFile, from_hub, from_url, own_file
from kdstudy.study import is_file_name

Name = Annotated[str, MinLen(1)]
Side = Annotated[int, Ge(8)]

_AUXILIARY = ("googlenet", "inception_v3")
_MAXVIT_SIDE = 224
_REASON = 200
"""Characters of what timm says that a message repeats."""


def torchvision(
    num_classes: int, in_channels: int, *, name: Name, weights: Name, size: Side | None = None
) -> nn.Module:
    """Build a network of torchvision's by its name, with published weights, a file's, or none.

    Args:
        num_classes: Number of logits; where the weights tell other classes apart, the last layer is new.
        in_channels: Must be 3.
        name: As torchvision calls it: ``resnet50``, ``vit_b_16``.
        weights: ``none``; ``pretrained`` for torchvision's best; a name such as ``IMAGENET1K_V2``; or the path of a
            state dict, from the study file's own folder.
        size: Side in pixels to which the network scales its images; null for the images as they come, unless it takes
            one size alone.

    Source: torchvision.models, whose documentation names each network's paper; ResNet's is arXiv 1512.03385.
    """
    import_torchvision()
    models = importlib.import_module("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        raise ModelError(f"model: torchvision has no network '{name}'; {did_you_mean(name, known)}")
    if name in _AUXILIARY:
        raise ModelError(f"model: torchvision's '{name}' gives more than logits; write a factory of your own")
    if in_channels != 3:
        raise ModelError(f"model: torchvision's '{name}' takes images of 3 channels, got {in_channels}; see timm")
    published = None if weights == NONE or is_file_name(weights) else _published(models, name, weights)
    options = {"image_size": published.meta["min_size"][0]} if published and name.startswith("vit_") else {}
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **options)
    _resize(network, name, size, _MAXVIT_SIDE if name.startswith("maxvit") else getattr(network, "image_size", None))
    if weights == NONE:
        return network
    if published is None:
        return with_weights(network, weights, num_classes=num_classes)
    label = f"torchvision {name} {published.name}"
    file, view = from_url(published.url, label), published.transforms()
    known_of: dict[str, Any] = {"mean": tuple(view.mean), "std": tuple(view.std), "size": view.crop_size[0]}
    if not file.present:
        return _awaiting(network, file, label, len(published.meta["categories"]), num_classes, **known_of)
    return _noting(with_weights(network, file.path, num_classes=num_classes, name=label, **known_of), file)


def timm(num_classes: int, in_channels: int, *, name: Name, weights: Name, size: Side | None = None) -> nn.Module:
    """Build a network of timm's by its name, with published weights, a file's, or none.

    Args:
        num_classes: Number of logits; where the weights tell other classes apart, the last layer is new.
        in_channels: Channels of the images; with weights, theirs.
        name: As timm calls it, with the weights' tag or without: ``convnext_tiny.fb_in22k_ft_in1k``.
        weights: ``none``; ``pretrained`` for those of the tag, or timm's default; a tag; or the path of a state dict,
            from the study file's own folder.
        size: Side in pixels to which the network scales its images, which of a transformer is also its own; null for
            the images as they come, unless it takes one size alone.

    Source: timm (Wightman), whose documentation names each network's paper; ResNet's recipes are arXiv 2110.00476.
    """
    library = _timm()
    architecture = name.partition(".")[0]
    if not library.is_model(architecture):
        raise ModelError(
            f"model: timm has no network '{architecture}'; {did_you_mean(architecture, library.list_models())}"
        )
    tagged = name if weights in (NONE, PRETRAINED) or is_file_name(weights) else f"{architecture}.{weights}"
    _require_tag(library, tagged)
    network = _timm_network(library, tagged, num_classes, in_channels, size)
    if weights == NONE:
        return network
    view = library.data.resolve_data_config(pretrained_cfg=network.pretrained_cfg, model=network)
    label = f"timm {tagged}"
    known_of: dict[str, Any] = {"mean": tuple(view["mean"]), "std": tuple(view["std"]), "size": view["input_size"][-1]}
    cfg: Any = network.pretrained_cfg
    if is_file_name(weights):
        file, label, known_of = own_file(weights), weights.rpartition("/")[2], {}
    elif cfg.get("hf_hub_id"):
        file = from_hub(cfg["hf_hub_id"], cfg.get("hf_hub_filename"), label)
    elif cfg.get("url"):
        file = from_url(cfg["url"], label)
    else:
        raise ModelError(f"model: timm has no weights for '{tagged}'; write weights: none, or name a file")
    if not file.present:
        return _awaiting(network, file, label, cfg["num_classes"], num_classes, **known_of)
    return _fill_timm(library, network, file, label, (tagged, num_classes, in_channels, size), known_of)


def _published(models: Any, name: str, weights: str) -> Any:
    """Return torchvision's entry of some published weights."""
    known = models.get_model_weights(name)
    if weights == PRETRAINED:
        return known.DEFAULT
    if weights not in known.__members__:
        told = f"{did_you_mean(weights, known.__members__)} (or none, pretrained, the path of a file)"
        raise ModelError(f"model: torchvision has no weights '{weights}' of {name}; {told}")
    return known[weights]


def _resize(network: nn.Module, name: str, size: int | None, fixed: int | None) -> None:
    """Note the side to which a network scales its images, if any.

    Raises:
        ModelError: It takes another size alone.
    """
    if None not in (size, fixed) and size != fixed:
        raise ModelError(f"model: '{name}' takes images of {fixed}x{fixed} alone, got size {size}; leave size out")
    setattr(network, SIZE, fixed or size)


def _awaiting(
    network: nn.Module, file: WeightsFile, label: str, classes: int, num_classes: int, **known_of: Any
) -> nn.Module:
    """Return a network that would have weights if their file were here."""
    head, other = head_of(network, num_classes), classes != num_classes
    return remember(network, Pretrained(label, str(file.path), None, classes, head, other, **known_of))


def _noting(network: nn.Module, file: WeightsFile) -> nn.Module:
    """Return a network with weights, what is to be said of their file kept beside it."""
    known = pretrained_of(network)
    assert known is not None
    return remember(network, replace(known, notes=file.notes))


def _timm() -> Any:
    """Return timm; it imports torchvision, which is imported in one place only.

    Raises:
        ModelError: It is not installed.
    """
    import_torchvision()
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise ModelError("model: timm is not installed; run 'pip install kdstudy[timm]'") from error


def _require_tag(library: Any, tagged: str) -> None:
    architecture, _, tag = tagged.partition(".")
    tags = [each.partition(".")[2] for each in library.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise ModelError(f"model: timm has no weights '{tag}' of {architecture}; {did_you_mean(tag, tags)}")


def _timm_network(
    library: Any, tagged: str, num_classes: int, in_channels: int, size: int | None, **more: Any
) -> nn.Module:
    """Return timm's network; what `more` says of its weights takes the place of what timm knows."""
    cfg = library.get_pretrained_cfg(tagged)
    fixed = cfg is not None and bool(cfg.fixed_input_size)
    options: dict[str, Any] = {"img_size": size} if fixed and size else {}
    try:
        network: nn.Module = library.create_model(
            tagged, num_classes=num_classes, in_chans=in_channels, **options, **more
        )
    except (TypeError, RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:_REASON]
        raise ModelError(f"model: timm's '{tagged}' cannot be built so ({reason}); check size and weights") from error
    setattr(network, SIZE, (size or cfg.input_size[-1]) if fixed else size)
    return network


def _fill_timm(
    library: Any,
    network: nn.Module,
    file: WeightsFile,
    label: str,
    again: tuple[str, int, int, int | None],
    known_of: dict[str, Any],
) -> nn.Module:
    """Return a network like `network` that timm has given the weights of a file, by its own rules, all but the head.

    timm lets anything be missing where the classes differ. So it is handed the initial head of ``network`` as if it
    stood in the file, and told that the classes agree: then all must be there.
    """
    cfg: Any = network.pretrained_cfg
    classifier = cfg.get("classifier") or ()
    head = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    tensors = dict(read_weights(file.path, "weights").tensors)
    offset = int(cfg.get("label_offset") or 0)
    rows = {len(tensors[f"{name}.weight"]) - offset for name in head if f"{name}.weight" in tensors}
    num_classes, classes = again[1], max(rows, default=0)
    overlay: dict[str, Any] = {"num_classes": num_classes}
    if classes != num_classes:
        own = network.state_dict()
        tensors = {name: value for name, value in tensors.items() if name.rpartition(".")[0] not in head}
        tensors |= {name: value for name, value in own.items() if name.rpartition(".")[0] in head}
        overlay["label_offset"] = 0
    filled = _timm_network(library, *again, pretrained=True, pretrained_cfg_overlay={**overlay, "state_dict": tensors})
    filled.pretrained_cfg["state_dict"] = None  # type: ignore[operator,index,assignment]  # else kept
    known = Pretrained(
        label, str(file.path), sha256_of(file.path), classes, head, classes != num_classes, notes=file.notes, **known_of
    )
    return remember(filled, known)
