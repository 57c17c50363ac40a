"""``doctor``: check versions, disk, credentials, servers and nodes before a study."""

from __future__ import annotations

import click

from kdstudy.cli.options import address_option, json_option, plugin_option, print_json, store_options
from kdstudy.storage import Store


@click.command("doctor")
@address_option
@plugin_option
@store_options
@json_option
def doctor_command(address: str | None, store: Store, as_json: bool) -> int:
    """Check versions, processors, storage, record, tracking, tokens and, with --address, every node of the cluster.

    One line each; exits 1 if anything would stand in a study's way or is open to strangers.
    """
    from kdstudy.runner import examine

    findings = []
    for finding in examine(store, address):
        findings.append(finding)
        if not as_json:
            click.echo(f"{'ok  ' if finding.good else 'FAIL'}  {finding.question}: {finding.said}")
    if as_json:
        print_json([finding.to_json() for finding in findings])
    return 0 if all(finding.good for finding in findings) else 1
