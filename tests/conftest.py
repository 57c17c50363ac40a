"""Every test runs with one thread, so that numbers repeat, and without the settings of whoever runs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Before torch, numpy or a worker process starts its own pool.
os.environ["OMP_NUM_THREADS"] = "1"
# Ray gives way to whatever else a machine does; a test that waits for it must not.
os.environ.setdefault("RAY_worker_niceness", "0")
# How long an example takes says more about what else the machine does than about us; tests have a timeout.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


# Whole studies and whole trials: minutes in all, in few files.
LONGEST = ("end_to_end", "trial", "runner")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the longest files to the front: processes that run side by side then end at about the same time."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(LONGEST)))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """One thread and one seed; only where torch is in use already: some tests check that nothing loads it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's store or tracking server must never be touched, and what a test sets must not outlive it.

    Plug-ins that the tests themselves define may be named.
    """
    for name in list(os.environ):
        if name.startswith(("KDSTUDY_", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("KDSTUDY_ALLOW_PLUGINS", "tests")
    monkeypatch.setattr("kdstudy.plugins.trust._allowed", {})


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's Chromium, for the tests of one file."""
    from tests.browser import chromium

    with chromium() as started:
        yield started
