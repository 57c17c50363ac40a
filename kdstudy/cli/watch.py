"""``show --watch``: a study as it runs."""

from __future__ import annotations

import time

import click

from kdstudy.ledger import Ledger, StudyRecord

WATCH_SECONDS = 1.0


def watch_study(ledger: Ledger, record: StudyRecord) -> None:
    """Show a study until nobody drives it: a live table on a terminal, else a line whenever it has moved."""
    from rich.console import Console
    from rich.live import Live

    from kdstudy.report import progress_table, snapshot

    study = record.study()
    now, console = snapshot(ledger, study, record.id), Console()
    if not console.is_terminal:
        click.echo(now.line())
        shown = now.ended
        while now.status == "running":
            time.sleep(WATCH_SECONDS)
            now = snapshot(ledger, study, record.id)
            if now.ended != shown:
                click.echo(now.line())
                shown = now.ended
        click.echo(f"{record.id}: {now.status}")
        return
    with Live(progress_table(now), console=console, auto_refresh=False) as live:
        while now.status == "running":
            time.sleep(WATCH_SECONDS)
            now = snapshot(ledger, study, record.id)
            live.update(progress_table(now), refresh=True)
