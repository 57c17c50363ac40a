"""How the driver tells the process of a pack that one of its trials is over."""

from __future__ import annotations

from kdstudy.storage import Folder

STOP_FILE = "over"
"""The file in a trial's folder that names the pack in which the trial is over."""


def request_stop(folder: Folder, pack: str) -> None:
    """Let the process of a pack know that one of its trials is over.

    Tune has no way to tell a function anything. It does wait with a report until the driver has dealt with it, so what
    the driver writes meanwhile is there when the function goes on.

    Args:
        folder: The trial's.
        pack: Names this pack, and no other one in which the trial was or will be.
    """
    folder.write(STOP_FILE, pack.encode())


def stop_requested(folder: Folder, pack: str) -> bool:
    """Return whether a trial is over in this pack: see `request_stop`."""
    return folder.read(STOP_FILE) == pack.encode()
