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


def search_data_seed(study_seed: int) -> int:
    """Return the data seed shared by all search trials of a study (common random numbers)."""
    return derive(study_seed, "search", "data")


def search_init_seed(study_seed: int, number: int) -> int:
    """Return the initialisation seed of search trial ``number``."""
    return derive(study_seed, "search", "init", number)


def confirm_seed(study_seed: int, index: int) -> int:
    """Return the seed of confirmation ``index``, the same for every arm (paired), for data and initialisation."""
    return derive(study_seed, "confirm", index)


def teacher_seed(study_seed: int) -> int:
    """Return the seed of the teacher trained by the study."""
    return derive(study_seed, "teacher")
