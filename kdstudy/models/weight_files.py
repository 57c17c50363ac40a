"""Files of published weights: where the libraries that publish them keep theirs, and their own code to fetch them.

torchvision's are below ``TORCH_HOME``, Hugging Face's below ``HF_HOME``, both in the user's cache folder where these
are not set. What is there is used without asking the network.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

import torch

from kdstudy.errors import ModelError
from kdstudy.models.pretrained import may_download, sha256_of

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""What a repository of weights on Hugging Face calls its file, in order of preference."""
_FILES = (".safetensors", ".pth", ".pt", ".bin")


class WeightsFile(NamedTuple):
    """A file that weights are in.

    Attributes:
        path: Where it is, or will be.
        present: Whether it is there.
        notes: Lines that a user should read.
    """

    path: Path
    present: bool
    notes: tuple[str, ...] = ()


def own_file(weights: str) -> WeightsFile:
    """Return the user's own file."""
    return WeightsFile(Path(weights), present=True)  # whoever reads it says where it is not


def hub_checkpoints() -> Path:
    """Return the folder in which torch keeps files that it has fetched."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def from_url(url: str, name: str) -> WeightsFile:
    """Return the file of weights that torchvision or timm publish under an address, fetching it if that is allowed.

    Args:
        url: Its last part is the file's name, which holds the first digits of its sha256.
        name: Of the weights, for messages.

    Raises:
        ModelError: It is not there and cannot be fetched.
    """
    path = hub_checkpoints() / Path(urlparse(url).path).name
    if not path.is_file():
        if not may_download():
            return WeightsFile(path, present=False)
        try:
            torch.hub.load_state_dict_from_url(
                url, map_location="cpu", check_hash=True, weights_only=True, progress=False
            )
        except Exception as error:
            raise _unfetched(name, error, f"put {path.name} into {path.parent} (it is {url})") from error
    return WeightsFile(path, present=True, notes=_unpublished(path))


def from_hub(repository: str, file: str | None, name: str) -> WeightsFile:
    """Return the file of weights in a repository on Hugging Face, fetching it if that is allowed.

    Args:
        repository: ``owner/name``.
        file: Its name; None for the usual ones.
        name: Of the weights, for messages.

    Raises:
        ModelError: It is not there and cannot be fetched, or the library that would is not installed.
    """
    names = HUB_FILES if file is None else (file,)
    try:
        hub = importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise _unfetched(name, error, f"run 'pip install kdstudy[timm]', or name {names[0]} by its path") from error
    for each in names:
        if isinstance(found := hub.try_to_load_from_cache(repository, each), str):
            return WeightsFile(Path(found), present=True)
    place = Path(importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE)
    if not may_download():
        return WeightsFile(place / f"models--{repository.replace('/', '--')}" / names[0], present=False)
    return WeightsFile(Path(_first(hub, repository, names, name, place)), present=True)


def _first(hub: object, repository: str, names: tuple[str, ...], name: str, place: Path) -> str:
    fetch: Callable[..., str] = hub.hf_hub_download  # type: ignore[attr-defined]  # imported by its name
    missing: type[Exception] = importlib.import_module("huggingface_hub.errors").EntryNotFoundError
    offline: type[Exception] = importlib.import_module("huggingface_hub.errors").LocalEntryNotFoundError
    for each in names:
        try:
            return fetch(repository, each)
        except Exception as error:
            if isinstance(error, missing) and not isinstance(error, offline) and each != names[-1]:
                continue  # the repository has it under its other name
            advice = f"fill {place} with `hf download {repository}` where there is a network"
            raise _unfetched(name, error, f"{advice}, or name {names[0]} of {repository} by its path") from error
    raise AssertionError("there is at least one name")


def weights_folders() -> tuple[Path, ...]:
    """Return the folders in which torch and, if it is installed, Hugging Face's library keep what they have fetched."""
    try:
        return hub_checkpoints(), Path(importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE)
    except ModuleNotFoundError:
        return (hub_checkpoints(),)


def kept_files() -> Iterator[tuple[str, str]]:
    """Yield name and sha256 of every file of weights in `weights_folders`."""
    checkpoints, *hub = weights_folders()
    for path in sorted(checkpoints.glob("*")):
        if path.is_file() and path.suffix in _FILES:
            yield path.name, sha256_of(path)
    for path in sorted(path for place in hub for path in place.glob("models--*/snapshots/*/*")):
        if path.name in HUB_FILES:
            yield f"{path.parts[-4].removeprefix('models--').replace('--', '/')}/{path.name}", sha256_of(path)


def _unfetched(name: str, error: Exception, advice: str) -> ModelError:
    reason = " ".join(str(error).split()).partition(". ")[0]
    return ModelError(
        f"model: the weights '{name}' are not on this machine and cannot be fetched ({type(error).__name__}: {reason})"
        f"; {advice}"
    )


def _unpublished(path: Path) -> tuple[str, ...]:
    """Return a line where a file is not the one that was published: its name tells how the sha256 begins."""
    told = torch.hub.HASH_REGEX.search(path.name)
    if told is None or sha256_of(path).startswith(told[1]):
        return ()
    return (
        f"{path} is not the published file: its sha256 begins with {sha256_of(path)[: len(told[1])]}, not {told[1]}; "
        "delete it to fetch it again, unless you put it there",
    )
