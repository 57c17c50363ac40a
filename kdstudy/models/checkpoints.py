"""Fits weights that were trained elsewhere into a network, under the names that people save them by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from kdstudy.errors import ModelError
from kdstudy.models.checkpoint_files import FileWeights
from kdstudy.models.normalised import NORMALISE

WRAPPERS = ("module.", "model.", "_orig_mod.")
"""Prefixes that wrappers put before every name: data-parallel training, Lightning, `torch.compile`."""
COUNTERS = ("total_ops", "total_params")
"""Buffers that thop leaves in a network it has counted the operations of."""

_SHOWN = 3


def fit_weights(
    module: nn.Module, weights: FileWeights, key_map: Mapping[str, str], *, where: str, num_classes: int
) -> str:
    """Load weights into ``module``, after renaming.

    Prefixes of wrappers go by themselves, before ``key_map`` or after it, where the names fit without them.

    Args:
        module: Its own normalisation buffers are kept where the weights have none.
        weights: What `read_weights` gives.
        key_map: Prefix in the file to prefix in the module, whole parts of a dotted name: ``{linear: fc}``; nothing
            removes a prefix, ``{"backbone.": ""}``, or puts one before every name, ``{"": "net."}``.
        where: The file's name, for messages.
        num_classes: That the module tells apart.

    Returns:
        One line on what was made of the file; empty where it was taken as it is.

    Raises:
        ModelError: Names or shapes differ; says which.
    """
    own = module.state_dict()
    counted = [name for name in weights.tensors if name.rpartition(".")[2] in COUNTERS and name not in own]
    tensors = {name: value for name, value in weights.tensors.items() if name not in counted}
    needed = {name for name in own if not name.startswith(f"{NORMALISE}.") and not name.endswith("num_batches_tracked")}
    namings = list(_namings(list(tensors), key_map))
    names, removed = min(namings, key=lambda naming: len(needed - {*naming[0]}) + len({*naming[0]} - own.keys()))
    renamed = dict(zip(names, tensors.values(), strict=True))
    if len(renamed) < len(tensors):
        twice = next(name for name in names if names.count(name) > 1)
        raise ModelError(f"teacher.key_map: makes '{twice}' of more than one tensor of {where}; map fewer prefixes")
    _require_fit(own, renamed, needed, _named(where, weights), num_classes)
    module.load_state_dict({**own, **renamed})
    made = [f"took '{weights.container}'"] if weights.container else []
    made += [f"removed the prefix '{''.join(removed)}' of every name"] if removed else []
    made += [f"left out {len(counted)} counters of thop's"] if counted else []
    return f"teacher.path: {where}: {', '.join(made)}" if made else ""


def fit_body(module: nn.Module, weights: FileWeights, *, where: str, num_classes: int) -> tuple[int, tuple[str, ...]]:
    """Load weights into ``module``, all but the last layer where they tell other classes apart.

    Args:
        module: A network for the classes of the data.
        weights: What `read_weights` gives; prefixes of wrappers go by themselves.
        where: The file's name, for messages.
        num_classes: Of the data.

    Returns:
        How many classes the weights tell apart, and the names of the modules that kept their own values: none where
        the classes are as many.

    Raises:
        ModelError: Names or shapes differ otherwise; says which.
    """
    own = module.state_dict()
    tensors = {name: value for name, value in weights.tensors.items() if name.rpartition(".")[2] not in COUNTERS}
    needed = {name for name in own if not name.endswith("num_batches_tracked")}
    names, _ = min(_stripped(list(tensors)), key=lambda naming: len(needed - {*naming[0]}))
    given = dict(zip(names, tensors.values(), strict=True))
    other = [
        name for name, value in given.items() if name in own and _differs_in_classes(value, own[name], num_classes)
    ]
    classes = {given[name].shape[0] for name in other}
    body = {name: value for name, value in given.items() if len(classes) != 1 or name not in other}
    missing, surplus, wrong = _misfits(own, body, needed - ({*other} if len(classes) == 1 else set()))
    if missing or surplus or wrong:
        raise ModelError(
            f"weights: {_named(where, weights)} does not fit the network: missing {missing}, not in it {surplus}, "
            f"other shape {wrong}; name a file of this network"
        )
    module.load_state_dict({**own, **body})
    heads = tuple(dict.fromkeys(name.rpartition(".")[0] for name in other))
    return (classes.pop() if classes else num_classes), heads


def _differs_in_classes(given: Tensor, own: Tensor, num_classes: int) -> bool:
    """Say whether two tensors differ in how many rows they have, where the network's has one for each class."""
    rows = given.ndim == own.ndim > 0 and own.shape[0] == num_classes
    return rows and given.shape[0] != num_classes and given.shape[1:] == own.shape[1:]


def _misfits(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], needed: set[str]
) -> tuple[list[str], list[str], list[str]]:
    """Return the first few of the tensors that are missing, not in the network, and of another shape."""
    missing = [name for name in own if name in needed and name not in given]
    surplus = [name for name in given if name not in own]
    wrong = [
        f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
        for name, value in given.items()
        if name in own and value.shape != own[name].shape
    ]
    return missing[:_SHOWN], surplus[:_SHOWN], wrong[:_SHOWN]


def _namings(names: list[str], key_map: Mapping[str, str]) -> Iterator[tuple[list[str], tuple[str, ...]]]:
    """Yield the names that the tensors may be meant to have, and the wrappers' prefixes that were removed for it."""
    for outer, first in _stripped(names):
        for inner, then in _stripped([_rename(name, key_map) for name in outer]):
            yield inner, (*first, *then)


def _stripped(names: list[str]) -> Iterator[tuple[list[str], tuple[str, ...]]]:
    """Yield the names, then without the outermost wrapper, and so on."""
    removed: tuple[str, ...] = ()
    yield names, removed
    while prefix := next((wrapper for wrapper in WRAPPERS if all(name.startswith(wrapper) for name in names)), None):
        names, removed = [name.removeprefix(prefix) for name in names], (*removed, prefix)
        yield names, removed
        if not names:
            return


def _rename(name: str, key_map: Mapping[str, str]) -> str:
    for old, new in sorted(key_map.items(), key=lambda item: not item[0]):  # the empty prefix is every name's: last
        prefix = old.rstrip(".")
        if not prefix or f"{name}.".startswith(f"{prefix}."):
            rest = name[len(prefix) :].lstrip(".")
            return ".".join(filter(None, (new.rstrip("."), rest)))
    return name


def _named(where: str, weights: FileWeights) -> str:
    return f"{where} (its '{weights.container}')" if weights.container else where


def _require_fit(
    own: Mapping[str, Tensor], renamed: Mapping[str, Tensor], needed: set[str], where: str, num_classes: int
) -> None:
    missing, surplus, wrong = _misfits(own, renamed, needed)
    if (theirs := _other_classes(own, renamed, num_classes)) is not None:
        raise ModelError(
            f"teacher.path: {where} tells {theirs} classes apart, the data have {num_classes}; name a file trained on "
            "these classes (replace the last layer and fine-tune it first), or leave path out to train one here"
        )
    if missing or surplus or wrong:
        raise ModelError(
            f"teacher.path: {where} does not fit the network: missing {missing}, not in it "
            f"{surplus}, other shape {wrong}; check teacher.model and map names with teacher.key_map"
        )


def _other_classes(own: Mapping[str, Tensor], given: Mapping[str, Tensor], num_classes: int) -> int | None:
    """Return how many classes the given tensors tell apart if they differ in nothing else, whatever they are called."""
    theirs, ours = _shapes(given), _shapes(own)
    surplus, missing = list((theirs - ours).elements()), list((ours - theirs).elements())
    counts = {shape[0] for shape in surplus if shape}
    heads = missing and all(shape and shape[0] == num_classes for shape in missing)
    alike = sorted(shape[1:] for shape in surplus) == sorted(shape[1:] for shape in missing)
    return counts.pop() if heads and len(counts) == 1 and alike else None


def _shapes(tensors: Mapping[str, Tensor]) -> Counter[tuple[int, ...]]:
    kept = (name for name in tensors if not name.startswith(f"{NORMALISE}.") and not name.endswith("_tracked"))
    return Counter(tuple(tensors[name].shape) for name in kept)
