"""Images in files, or squares cut out of them.

Shapes: N images, S the side of an image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor
from typing_extensions import override

from kdstudy.data.decode import Fit, Window, decode, decode_windows, unreadable
from kdstudy.data.stored import FINGERPRINT_BYTES, StoredImages, usable
from kdstudy.errors import DataError

if TYPE_CHECKING:
    from hashlib import _Hash

White = Annotated[int, Ge(256), Lt(2**31)] | None

CHANNELS = 3
BEGINNING = 4096
"""Bytes of each file that a fingerprint covers where it cannot cover all."""


@dataclass(frozen=True, eq=False)
class ImageFiles(StoredImages):
    """Image files, or squares cut out of them, as (N, 3, S, S); each file is decoded once for all that is asked of it.

    Args:
        paths: The file of each image, of any format Pillow reads; grey ones become RGB. See `kdstudy.data.decode`.
        size: S, in pixels.
        fit: How an image becomes square: ``stretch`` keeps all of it, ``crop`` keeps the middle undistorted.
        memory: As for `StoredImages`.
        workers: Likewise.
        white: Level that is white in grey of more than eight bits; None for what the file says, which is 65535 in most.
        windows: What is cut out of the file for each image; empty where images are whole.
        exif: Whether images are turned as the camera noted.
    """

    paths: tuple[str, ...]
    size: int
    fit: Fit
    memory: float
    workers: int
    white: int | None = None
    windows: tuple[Window, ...] = ()
    exif: bool = False

    @property
    @override
    def shape(self) -> torch.Size:
        return torch.Size((len(self.paths), CHANNELS, self.size, self.size))

    @override
    def take(self, indices: Tensor) -> ImageFiles:
        places = indices.tolist()
        windows = tuple(self.windows[i] for i in places) if self.windows else ()
        return replace(self, paths=tuple(self.paths[i] for i in places), windows=windows)

    @override
    def add_to(self, digest: _Hash) -> None:
        digest.update(self.digest().encode())

    def digest(self) -> str:
        """Return a SHA-256, in hex, of the files' contents, order and preparation; never of their names.

        Of more than `FINGERPRINT_BYTES` together, lengths and beginnings are covered.
        """
        told = ("" if self.white is None else f" {self.white}") + (" exif" if self.exif else "")
        found = hashlib.sha256(f"{self.fit} {self.size} {len(self.paths)}{told}".encode())
        files = self.paths
        if self.windows:
            places = self._places()
            files = tuple(places)
            found.update(json.dumps([list(places.values()), self.windows]).encode())
        try:
            lengths = [Path(path).stat().st_size for path in files]
            whole = sum(lengths) <= FINGERPRINT_BYTES
            for path, length in zip(files, lengths, strict=True):
                found.update(length.to_bytes(8, "big"))
                with Path(path).open("rb") as file:
                    found.update(file.read() if whole else file.read(BEGINNING))
        except OSError as error:
            raise DataError(unreadable(error.filename, error)) from error
        return found.hexdigest()

    @override
    def _places(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for place, path in enumerate(self.paths):
            places.setdefault(path, []).append(place)
        return places

    @override
    def _read(self, what: str, places: list[int]) -> Tensor:
        if self.windows:
            return decode_windows(what, [self.windows[place] for place in places], self.size, self.white)
        return decode(what, self.size, self.fit, self.white, self.exif)[None]

    @override
    def _read_all(self) -> Iterator[tuple[list[int], Tensor]]:
        """Yield all images; of those that cannot be read, all are named in one error."""
        faults: dict[str, DataError] = {}
        for path, places, found in self._tried():
            if isinstance(found, DataError):
                faults[path] = found
            elif not faults:
                yield places, found
        if faults:
            first, *others = faults
            raise DataError(f"{faults[first]}{_also(others)}") from faults[first].__cause__

    def unreadable(self) -> dict[str, str]:
        """Return why files cannot be read, by path; every file is decoded for it."""
        return {path: str(found) for path, _, found in self._tried() if isinstance(found, DataError)}

    def _tried(self) -> Iterator[tuple[str, list[int], Tensor | DataError]]:
        """Decode every file once: its path, the places of its images, and these or why there are none."""
        files = self._places()

        def read(path: str) -> Tensor | DataError:
            try:
                return self._read(path, files[path])
            except DataError as error:
                return error

        with ThreadPoolExecutor(max(usable(self.workers), 1)) as pool:  # Pillow decodes without the interpreter's lock
            yield from zip(files.keys(), files.values(), pool.map(read, files), strict=True)


def _also(others: list[str]) -> str:
    """Return what to add to the line about a file for others of its kind."""
    if not others:
        return ""
    named = ", ".join(others[:3])
    return f" (and {len(others)} more that cannot be used: {named}{', ...' * (len(others) > 3)})"
