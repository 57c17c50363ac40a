"""One driver a study: the second is refused, the dead are recognised, the dispossessed can do no harm."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from kdstudy.errors import RecordError, StoreError
from kdstudy.ledger import LEASE_SECONDS, Lease, LeaseOwner, Ledger, StudyRecord, TrialRecord, studies
from kdstudy.ledger.tables import LEASES
from kdstudy.results import EpochRecord, TrialResult
from kdstudy.study import ArmId

STUDY = StudyRecord("digits-00000001", "digits", 7, "name: digits\n")
ROOT = Path(__file__).parents[2]

DRIVER = """
import sys, time
from kdstudy.ledger import LeaseOwner, Ledger
ledger = Ledger(sys.argv[1])
ledger.acquire_lease("digits-00000001", LeaseOwner.here())
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        opened.create_study(STUDY)
        yield opened


@pytest.fixture
def driver(ledger: Ledger) -> Iterator[subprocess.Popen[str]]:
    """A real process that holds the study."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, f"sqlite:///{ledger.place}"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def lease_of(ledger: Ledger) -> Lease | None:
    """The lease of the study, stale or not, as the database has it."""
    return ledger._database.read(lambda connection: studies.read_lease(connection, STUDY.id))


def silence(ledger: Ledger, seconds: float) -> None:
    """Make every lease look as if it had last been renewed so long ago."""
    renewed = datetime.now(UTC) - timedelta(seconds=seconds)
    ledger._database.write(lambda connection: connection.execute(update(LEASES), {"renewed": renewed}))


def test_the_second_driver_is_refused_with_who_where_and_since_when(
    ledger: Ledger, driver: subprocess.Popen[str]
) -> None:
    lease = lease_of(ledger)
    assert lease is not None
    assert ledger.study(STUDY.id).status == "running"
    with pytest.raises(StoreError) as caught:
        ledger.acquire_lease(STUDY.id, LeaseOwner.here())
    since = lease.since.strftime("%Y-%m-%d %H:%M:%S UTC")
    assert str(caught.value) == (
        f"study 'digits-00000001': process {driver.pid} on host {os.uname().nodename} since "
        f"{since} is running it; wait until it ends, or stop it first"
    )


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_driver_is_recognised_at_once(ledger: Ledger, driver: subprocess.Popen[str], reaped: bool) -> None:
    driver.send_signal(signal.SIGKILL)
    if reaped:
        driver.wait()
    else:
        os.waitid(os.P_PID, driver.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the process table
    assert ledger.study(STUDY.id).status == "interrupted"
    assert ledger.summaries()[0].status == "interrupted"
    ledger.acquire_lease(STUDY.id, LeaseOwner.here())
    assert ledger.study(STUDY.id).status == "running"


def test_a_living_driver_that_is_silent_for_a_minute_has_lost_its_study(
    ledger: Ledger, driver: subprocess.Popen[str]
) -> None:
    silence(ledger, LEASE_SECONDS - 5)
    with pytest.raises(StoreError, match=f"process {driver.pid}"):
        ledger.acquire_lease(STUDY.id, LeaseOwner.here())
    silence(ledger, LEASE_SECONDS + 1)
    assert ledger.study(STUDY.id).status == "interrupted"
    ledger.acquire_lease(STUDY.id, LeaseOwner.here())


def test_a_later_process_with_the_same_pid_is_not_the_driver() -> None:
    me, now = LeaseOwner.here(), datetime.now(UTC)
    assert not Lease(me, now, now).stale(now)
    assert Lease(replace(me, started="1"), now, now).stale(now)


def test_a_pid_says_nothing_about_another_machine_boot_or_namespace() -> None:
    now = datetime.now(UTC)
    gone = replace(LeaseOwner.here(), pid=2**22 + 1)
    assert Lease(gone, now, now).stale(now)
    elsewhere = Lease(replace(gone, machine="another boot pid:[1]"), now, now)
    assert not elsewhere.stale(now + timedelta(seconds=LEASE_SECONDS))
    assert elsewhere.stale(now + timedelta(seconds=LEASE_SECONDS + 0.1))


def test_two_drivers_in_one_process_are_two(ledger: Ledger) -> None:
    first, second = LeaseOwner.here(), LeaseOwner.here()
    ledger.acquire_lease(STUDY.id, first)
    ledger.acquire_lease(STUDY.id, first)
    with pytest.raises(StoreError, match=f"process {os.getpid()} "):
        ledger.acquire_lease(STUDY.id, second)
    ledger.release_lease(STUDY.id, second)
    assert lease_of(ledger).owner == first  # type: ignore[union-attr]
    ledger.release_lease(STUDY.id, first)
    assert lease_of(ledger) is None
    ledger.acquire_lease(STUDY.id, second)


def test_renewing_keeps_since_and_moves_renewed(ledger: Ledger) -> None:
    me = LeaseOwner.here()
    ledger.acquire_lease(STUDY.id, me)
    before = lease_of(ledger)
    silence(ledger, LEASE_SECONDS + 60)
    assert ledger.study(STUDY.id).status == "interrupted"
    ledger.renew_lease(STUDY.id, me)  # it slept, but nobody took over
    after = lease_of(ledger)
    assert before is not None
    assert after is not None
    assert after.since == before.since
    assert after.renewed >= before.renewed
    assert ledger.study(STUDY.id).status == "running"


def test_a_driver_that_lost_its_study_can_change_nothing_of_it(ledger: Ledger) -> None:
    old, new = LeaseOwner.here(), LeaseOwner.here()
    ledger.acquire_lease(STUDY.id, old)
    ledger.add_trial(TrialRecord(STUDY.id, 0, "search", ArmId("none", "constant"), 0, 1, 2))
    silence(ledger, LEASE_SECONDS + 1)
    with Ledger(f"sqlite:///{ledger.place}") as other:
        other.acquire_lease(STUDY.id, new)
        other.start_trial(STUDY.id, 0)
        before = other.study(STUDY.id), other.trials(STUDY.id)
        for change in (
            lambda: ledger.renew_lease(STUDY.id, old),
            lambda: ledger.requeue(STUDY.id),
            lambda: ledger.update_study(STUDY.id, status="interrupted"),
            lambda: ledger.start_trial(STUDY.id, 0),
            lambda: ledger.record_epoch(STUDY.id, 0, EpochRecord(1, 1.0, {}, 0.5, 1.0, 0.1, {})),
            lambda: ledger.finish_trial(STUDY.id, 0, TrialResult("completed", 1, 0.5)),
            lambda: ledger.add_trial(TrialRecord(STUDY.id, 1, "search", ArmId("none", "constant"), 1, 1, 2)),
        ):
            with pytest.raises(
                StoreError, match=f"this process has lost its lease, process {new.pid} on host .* runs it now; see"
            ):
                change()
        assert (other.study(STUDY.id), other.trials(STUDY.id)) == before
        ledger.release_lease(STUDY.id, old)
        assert lease_of(other).owner == new  # type: ignore[union-attr]


def test_a_study_is_held_from_its_first_moment_and_unheld_ones_read_as_interrupted(ledger: Ledger) -> None:
    me = LeaseOwner.here()
    held = replace(STUDY, id="held-00000000")
    ledger.create_study(held, me)
    assert ledger.study(held.id).status == "running"
    assert ledger.study(STUDY.id).status == "interrupted"
    for status in ("finished", "failed"):
        ledger.update_study(STUDY.id, status=status)
        assert ledger.study(STUDY.id).status == status
    with pytest.raises(RecordError, match="not found"):
        ledger.acquire_lease("nobody", me)


def _take(url: str, barrier: Any, winners: Any) -> None:
    owner = LeaseOwner.here()
    with Ledger(url) as ledger:
        barrier.wait(60)
        try:
            ledger.acquire_lease(STUDY.id, owner)
            winners.put(owner.token)
        except StoreError:
            winners.put(None)
        barrier.wait(60)  # nobody leaves before all have tried


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_of_many_at_once_one_takes_hold(ledger: Ledger, kind: str) -> None:
    url, count = f"sqlite:///{ledger.place}", 3
    if kind == "processes":
        context = multiprocessing.get_context("spawn")
        barrier, winners = context.Barrier(count), context.Queue()
        runners: list[Any] = [context.Process(target=_take, args=(url, barrier, winners)) for _ in range(count)]
    else:
        import queue

        barrier, winners = threading.Barrier(count), queue.Queue()  # type: ignore[assignment]
        runners = [threading.Thread(target=_take, args=(url, barrier, winners)) for _ in range(count)]
    for runner in runners:
        runner.start()
    tokens = [token for token in (winners.get(timeout=60) for _ in range(count)) if token is not None]
    for runner in runners:
        runner.join()
    assert len(tokens) == 1
    assert lease_of(ledger).owner.token == tokens[0]  # type: ignore[union-attr]
