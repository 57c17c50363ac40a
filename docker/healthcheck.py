"""Health check of the image: exits 0 if everything that this container serves answers.

``KDSTUDY_HEALTH`` lists what: ``http://127.0.0.1:5000/health`` must answer 200, ``tcp://127.0.0.1:6379`` must accept a
connection. Without it the container serves nothing (a driver, say), and the installed package must be whole.
"""

from __future__ import annotations

import os
import socket
import sys
import urllib.parse
import urllib.request

SECONDS = 5.0


def answers(place: str) -> bool:
    """Return whether ``place`` answers within `SECONDS`."""
    parts = urllib.parse.urlsplit(place)
    try:
        if parts.scheme == "tcp":
            socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=SECONDS).close()
            return True
        with urllib.request.urlopen(place, timeout=SECONDS) as answer:  # noqa: S310  given by the container's owner
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def main() -> None:
    """Exit 0 if all places answer, else 1 and say which does not."""
    places = os.environ.get("KDSTUDY_HEALTH", "").split()
    silent = [place for place in places if not answers(place)]
    if not places:
        from kdstudy import __version__

        sys.exit(0 if __version__ else 1)
    if silent:
        sys.exit(f"no answer from {', '.join(silent)}")


if __name__ == "__main__":
    main()
