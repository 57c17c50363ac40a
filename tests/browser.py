"""Chromium for tests: every page is watched, and a request to elsewhere or an error on the console fails the test."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.tools import need

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

HERE = {"127.0.0.1", "localhost", ""}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the machine's own Chromium; without it the test is skipped."""
    program = need("chromium")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-first-run", "--disable-gpu", "--disable-background-networking"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses to run as root otherwise
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched(browser: Browser, *, known: tuple[str, ...] = (), **options: Any) -> Iterator[Page]:
    """Open a page of its own; afterwards nothing may have gone wrong on it, nor left this machine.

    Args:
        browser: Whose.
        known: What a page that is not ours may complain of on its console: parts of a message or its address.
        options: Of the browser's context.
    """
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(60_000)
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))

    def listen(message: ConsoleMessage) -> None:
        text = f"{message.text} ({message.location['url']})"
        if message.type == "error" and not any(part in text for part in known):
            trouble.append(text)

    page.on("console", listen)
    page.on("request", lambda request: trouble.append(request.url) if _leaves(request.url) else None)
    try:
        yield page
        assert trouble == []
    finally:
        context.close()


def _leaves(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in HERE
