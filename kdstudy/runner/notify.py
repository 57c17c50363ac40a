"""Run a command of the user's when a driver leaves a study: to send a message, say. Its failure is a line, no more."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile

from kdstudy.analysis import compare
from kdstudy.errors import KdstudyError
from kdstudy.ledger import Ledger
from kdstudy.report import headline
from kdstudy.settings import Settings, child_environment

log = logging.getLogger(__name__)

SECONDS = 30.0
"""What the command may take: as long as a scheduler mostly gives before it kills."""


def notify(ledger: Ledger, study_id: str, *, seconds: float = SECONDS) -> None:
    """Run the command of ``KDSTUDY_NOTIFY``, if any, in a shell; what fails there changes nothing here.

    Its environment has ``KDSTUDY_ID``, ``KDSTUDY_STATUS`` (finished, interrupted, failed; unknown where the record
    cannot be read) and ``KDSTUDY_VERDICT`` (the answer in a few words; empty where the study did not finish). What it
    prints goes to stderr.

    Args:
        ledger: The record, with what was written last.
        study_id: The study.
        seconds: What the command may take, above 0.
    """
    command = Settings.read().notify
    if command is None:
        return
    status, verdict = _ended(ledger, study_id)
    values = child_environment(KDSTUDY_ID=study_id, KDSTUDY_STATUS=status, KDSTUDY_VERDICT=verdict)
    try:
        trouble = _run(command, values, seconds)
    except (OSError, ValueError) as error:
        trouble = f"cannot be run ({error})"
    if trouble:
        log.warning(f"--notify: the command {trouble}; the study is {status} all the same")


def _ended(ledger: Ledger, study_id: str) -> tuple[str, str]:
    """Return a study's status, and its verdict in a few words."""
    try:
        status = ledger.study(study_id).status
        return status, headline(compare(ledger, [study_id])) if status == "finished" else ""
    except KdstudyError:
        return "unknown", ""


def _run(command: str, values: dict[str, str], seconds: float) -> str:
    """Run a command line, pass on what it prints, and return what went wrong, if anything did."""
    with tempfile.TemporaryFile() as said:  # not a pipe, which a process that it leaves behind would keep open
        process = subprocess.Popen(  # noqa: S602  a user's own command line: pipes and variables are meant
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=values,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
            return f"ended with {code}" if code else ""
        except subprocess.TimeoutExpired:
            return f"was ended after {seconds:g} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            said.seek(0)
            sys.stderr.write(said.read().decode(errors="replace"))
