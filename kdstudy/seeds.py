"""Seeds: every random stream of a study is derived from one number, by name.

Adding a stream never shifts another, and nothing depends on the study's random ID.
"""

from __future__ import annotations

import hashlib


def derive(seed: int, *path: str | int) -> int:
    """Return a seed in [0, 2**53) for the stream named by ``path``; exact as a JSON number.

    Args:
        seed: The parent seed.
        path: What the stream is for, e.g. ``"init", 7``.
    """
    digest = hashlib.sha256("/".join(map(str, (seed, *path))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11


def search_seed(study_seed: int, search: int) -> int:
    """Return the seed of a study's search ``search``, from 0: the first has the study's own."""
    return derive(study_seed, "search", search) if search else study_seed


def data_seed(search_seed: int) -> int:
    """Return the data seed that all trials of one search share (common random numbers)."""
    return derive(search_seed, "search", "data")


def init_seed(search_seed: int, index: int) -> int:
    """Return the seed of the initial weights of trial ``index`` of a search, the same in every arm."""
    return derive(search_seed, "search", "init", index)


def confirm_seed(search_seed: int, index: int) -> int:
    """Return the seed of confirmation ``index``, the same for every arm (paired), for data and initialisation."""
    return derive(search_seed, "confirm", index)


def teacher_seed(study_seed: int) -> int:
    """Return the seed of the teacher trained by the study."""
    return derive(study_seed, "teacher")
