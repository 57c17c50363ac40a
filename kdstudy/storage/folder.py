"""`Folder`: files that are written and read whole, on a disk or in a bucket.

Not fsspec or pyarrow.fs. With pyarrow, on a disk and in a bucket, a writer that fails half-way leaves half a file in
the place of the old one, and only the prose of an error tells whether a server is away or refuses. fsspec keeps the old
file inside its transactions, but flushes nothing to the disk, and its s3fs wants a botocore below 1.43.118, where
constraints.txt has 1.44.5. With either, `Folder` and its marker would stay.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path


class Folder(ABC):
    """A folder; naming one creates nothing. It can be sent to another process."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of where it is."""

    @abstractmethod
    def __truediv__(self, name: str) -> Folder:
        """Return the folder of that name inside this one."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a file: it holds either its old bytes or all the new ones, whatever dies.

        Raises:
            StoreError: It cannot be written: no right, no space, no answer.
        """

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Return a file's content; None if there is no such file.

        Raises:
            StoreError: It cannot be read.
        """

    @abstractmethod
    def files(self) -> list[str]:
        """Return the files in this folder and below, as relative paths, in order; none if it does not exist.

        Raises:
            StoreError: It cannot be listed.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it is there and can be removed."""

    @abstractmethod
    def clear(self) -> None:
        """Remove the folder with everything in it, as far as that can be done."""

    @abstractmethod
    def on_disk(self, cache: Path) -> Path:
        """Return a path on this machine at which the folder's files lie.

        Args:
            cache: Where a bucket's files are put, once for all processes of this machine.

        Raises:
            StoreError: They cannot be fetched.
        """
