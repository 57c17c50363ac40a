"""Where studies are kept, as a caller in Python names it."""

from __future__ import annotations

import os

from kdstudy.storage import Store

Place = str | os.PathLike[str] | Store | None
"""A store: its folder or ``s3://`` location; a `kdstudy.Store`, whose databases may lie elsewhere; None for
``KDSTUDY_STORE``, else ``./kdstudy-data``."""


def store_at(place: Place) -> Store:
    """Return the store that is meant. Nothing is created.

    Raises:
        StoreError: As `Store.at`.
    """
    if isinstance(place, Store):
        return place
    return Store.at(None if place is None else os.fspath(place))
