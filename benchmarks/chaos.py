"""What a study loses when clusters do to it what clusters do: nothing, or this says what.

    sudo .venv/bin/python -m benchmarks.chaos [FAULT ...] [--kills N] [--limit SECONDS] [--json PATH]

Builds three Ray hosts, PostgreSQL, an MLflow server and an S3 server in namespaces of its own (`benchmarks/lab.py`),
runs a study of eighteen trials undisturbed, then once for each fault and once through all of them, and prints what
ledger and MLflow hold against the undisturbed study. Leaves nothing behind. Exits 1 if anything was lost, doubled or
altered.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.audit import Verdict, compare
from benchmarks.lab import GCS, ROOT, Lab, until

STUDY = ROOT / "benchmarks" / "chaos.yaml"
DOWN_SECONDS = 60.0
SHORT_SECONDS = 15.0
"""Where more is to follow: a minute is as long as the study."""
STUDY_SECONDS = 900.0


class Driver:
    """A driver on the cluster's head, and what it says."""

    def __init__(self, lab: Lab, *arguments: str) -> None:
        command = (sys.executable, "-m", "kdstudy", *arguments, "--address", GCS)
        self.process = lab.hosts["head"].popen(*command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._lab, self.lines = lab, list[str]()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.lines.append(line.rstrip())

    @property
    def study_id(self) -> str:
        """The study's ID, once it is said."""

        def said() -> re.Match[str] | None:
            found = re.search(r"^study (\S+)$", "\n".join(self.lines), re.MULTILINE)
            if found is None and self.process.poll() is not None:
                raise RuntimeError("the driver ended early:\n" + "\n".join(self.lines[-20:]))
            return found

        found = until(said, "the study begins")
        return str(found.group(1))

    def ended(self, count: int) -> None:
        """Wait until so many trials have ended."""
        until(
            lambda: self.process.poll() is not None or any(line.startswith(f"[{count}/") for line in self.lines),
            f"{count} trials have ended",
            STUDY_SECONDS,
        )
        if self.process.poll() is not None and not any(line.startswith(f"[{count}/") for line in self.lines):
            raise RuntimeError("the driver ended early:\n" + "\n".join(self.lines[-20:]))

    def ends_within(self, seconds: float) -> bool:
        """Wait for so long, or until it has ended by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is not None

    def kill(self) -> None:
        """Kill it, and nothing else."""
        for pid in self._lab.hosts["head"].pids(f"kdstudy {'run' if 'run' in self.process.args else 'resume'}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        code = self.process.wait(STUDY_SECONDS)
        self._reader.join()
        return code


def kill_worker(lab: Lab, driver: Driver) -> Driver:
    """Kill a process that trains."""
    driver.ended(1)
    pids = until(lambda: [pid for host in lab.workers for pid in host.pids(".train")], "a trial runs")
    os.kill(pids[0], signal.SIGKILL)
    return driver


def kill_host(lab: Lab, driver: Driver) -> Driver:
    """Pull the plug of a host with a trial on it; bring it back once it has been missed."""
    driver.ended(2)
    lab.kill_worker(1)
    lab.restart(1)
    return driver


def cut_network(lab: Lab, driver: Driver) -> Driver:
    """Cut a host off until the cluster has given it up, then connect it again and restart its Ray."""
    driver.ended(4)
    lab.workers[0].cut()
    lab.await_loss()
    lab.workers[0].mend()
    lab.workers[0].kill()
    lab.restart(0)
    return driver


def restart_mlflow(lab: Lab, driver: Driver, seconds: float = DOWN_SECONDS) -> Driver:
    """Take the MLflow server away for a while."""
    driver.ended(5)
    lab.stop_mlflow()
    time.sleep(seconds)
    lab.start_mlflow()
    return driver


def restart_postgres(lab: Lab, driver: Driver, seconds: float = DOWN_SECONDS) -> Driver:
    """Crash PostgreSQL, on which ledger and MLflow stand, and start it again after a while."""
    driver.ended(6)
    lab.stop_postgres()
    time.sleep(seconds)
    lab.start_postgres()
    return driver


def kill_driver(lab: Lab, driver: Driver) -> Driver:
    """Kill the driver in the middle, and resume the study."""
    driver.ended(7)
    study_id = driver.study_id
    driver.kill()
    return Driver(lab, "resume", study_id)


def kill_driver_at_the_end(lab: Lab, driver: Driver) -> Driver:
    """Kill the driver once all trials have ended and MLflow is away, and resume the study when it is back."""
    driver.ended(16)
    lab.stop_mlflow()
    driver.ended(18)
    study_id = driver.study_id
    driver.kill()
    lab.start_mlflow()
    lab.await_mlflow()
    return Driver(lab, "resume", study_id)


def preempt(lab: Lab, driver: Driver) -> Driver:
    """Tell a host to go (SIGTERM), as a cloud does that wants its machine back; start another one."""
    driver.ended(2)
    lab.preempt_worker(1)
    lab.restart(1)
    return driver


def stop_driver(lab: Lab, driver: Driver) -> Driver:
    """Tell the driver to go (SIGTERM), and resume the study."""
    driver.ended(3)
    study_id = driver.study_id
    for pid in lab.hosts["head"].pids("kdstudy run"):
        os.kill(pid, signal.SIGTERM)
    if driver.wait() != 130:
        raise RuntimeError("the driver did not stop in good order:\n" + "\n".join(driver.lines[-20:]))
    return Driver(lab, "resume", study_id)


Fault = Callable[[Lab, Driver], Driver]
FAULTS: dict[str, Fault] = {
    "worker killed": kill_worker,
    "host killed": kill_host,
    "network cut": cut_network,
    "MLflow restarted": restart_mlflow,
    "PostgreSQL restarted": restart_postgres,
    "driver killed, resumed": kill_driver,
    "driver killed at the end, without MLflow, resumed": kill_driver_at_the_end,
    "host preempted": preempt,
    "driver stopped, resumed": stop_driver,
}
# In the order of the trials that they wait for.
THROUGH_ALL: tuple[Fault, ...] = (
    kill_worker,
    kill_host,
    cut_network,
    partial(restart_mlflow, seconds=SHORT_SECONDS),
    partial(restart_postgres, seconds=SHORT_SECONDS),
    kill_driver,
)


def audit(lab: Lab, study_id: str) -> dict[str, Any]:
    """Return what ledger and MLflow hold of a study."""
    text = lab.hosts["head"].call(sys.executable, "-m", "benchmarks.audit", study_id)
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def disturbed(lab: Lab, faults: Sequence[Fault]) -> tuple[dict[str, Any], float, list[str]]:
    """Run the study through faults; return what is held of it, seconds, and what the last driver said."""
    began = time.monotonic()
    driver = Driver(lab, "run", str(STUDY))
    study_id = driver.study_id
    for fault in faults:
        driver = fault(lab, driver)
    code = driver.wait()
    lab.await_mlflow()
    if code == 4:  # MLflow had not got everything when the driver left: that is what `sync` is for
        lab.hosts["head"].call(sys.executable, "-m", "kdstudy", "sync", study_id)
    elif code != 0:
        raise RuntimeError(f"study {study_id} ended with {code}:\n" + "\n".join(driver.lines))
    return audit(lab, study_id), time.monotonic() - began, [*driver.lines, f"exit code {code}"]


def random_kills(lab: Lab, count: int, seed: int = 0) -> tuple[dict[str, Any], int, float]:
    """Run the study, its driver killed at random moments; return what is held of it, how often, and seconds."""
    began, moments, kills = time.monotonic(), random.Random(seed), 0
    driver = Driver(lab, "run", str(STUDY))
    study_id = driver.study_id
    while kills < count and not driver.ends_within(moments.uniform(0, 25)):
        driver.kill()
        kills += 1
        driver = Driver(lab, "resume", study_id)
    driver.wait()
    return audit(lab, study_id), kills, time.monotonic() - began


def row(name: str, verdict: Verdict, seconds: float) -> str:
    """Return one line of the table."""
    cells = [name, *map(str, verdict.trials), *map(str, verdict.points), str(verdict.unfinished)]
    return "| " + " | ".join([*cells, "yes" if verdict.equal else "NO", f"{seconds:.0f} s"]) + " |"


HEADER = (
    "| fault | trials expected | present | duplicated | lost | points expected | present | duplicated | lost "
    "| unfinished | bitwise equal | wall time |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> int:
    """Run the faults asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", choices=[[], *FAULTS, "all in one study"], help="By default all.")
    parser.add_argument("--kills", type=int, default=20, help="Random driver kills; 0 for none.")
    parser.add_argument("--limit", type=int, default=7200, help="Seconds after which it stops, cleaning up.")
    parser.add_argument("--json", type=Path, help="Also write the verdicts to this file.")
    options = parser.parse_args()
    wanted = options.faults or [*FAULTS, "all in one study"]
    verdicts: dict[str, Verdict] = {}
    for number in (signal.SIGTERM, signal.SIGALRM):  # so that the lab is taken down
        signal.signal(number, lambda *_: sys.exit("stopped"))
    signal.alarm(options.limit)

    def tell(name: str, verdict: Verdict, seconds: float) -> None:
        verdicts[name] = verdict
        print(row(name, verdict, seconds), flush=True)

    with Lab() as lab:
        calm, seconds, _ = disturbed(lab, [])
        print(HEADER, flush=True)
        tell("none", compare(calm, calm), seconds)
        for name in wanted:
            found, seconds, said = disturbed(lab, THROUGH_ALL if name == "all in one study" else [FAULTS[name]])
            tell(name, compare(calm, found), seconds)
            if not verdicts[name].good:
                print("the driver said:\n" + "\n".join(said), file=sys.stderr, flush=True)
        if options.kills:
            found, kills, seconds = random_kills(lab, options.kills)
            tell(f"driver killed {kills} times", compare(calm, found), seconds)
    if options.json:
        options.json.write_text(json.dumps({name: vars(verdict) for name, verdict in verdicts.items()}, indent=1))
    return 0 if all(verdict.good for verdict in verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
