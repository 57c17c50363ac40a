"""What reading a large record costs: list, show, compare and report of studies with thousands of trials.

    python benchmarks/records.py [COPIES]

The record is synthetic: four arms, 83 search trials and 10 confirmation seeds each, five epochs, made through the
ledger as a study makes it (`benchmarks/report_page.py`), the search then copied to 30 times its length: 10,000 trials.
A hundred empty studies stand beside it. Each command runs in a process of its own, as a user runs it; printed are its
CPU and wall seconds.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kdstudy.ledger import Ledger, StudyRecord

sys.path.insert(0, str(Path(__file__).parent))

from report_page import make_record
from timing import table, where

EPOCHS = 5
SEEDS = 10
SEARCH = 83
COMMANDS = {
    "list": ["list"],
    "show ID": ["show", "synthetic"],
    "show ID --json": ["show", "synthetic", "--json"],
    "show ID --trial N": ["show", "synthetic", "--trial", "200082"],
    "compare ID": ["compare", "synthetic"],
    "report ID": ["report", "synthetic"],
}


def timed(arguments: list[str], store: Path) -> tuple[float, float, int]:
    """Return CPU seconds, wall seconds and resident bytes at most of a command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "kdstudy", *arguments, "--store", str(store)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - began, after.ru_maxrss * 1024


def lengthen(ledger: Path, copies: int) -> int:
    """Copy the search trials and their epochs under numbers of their own; return how many trials there are."""
    with contextlib.closing(sqlite3.connect(ledger)) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(kdstudy_trials)")]
        for copy in range(1, copies):
            number, index = copy * 100_000, copy * SEARCH
            placed = {
                "number": f"number + {number}",
                "index": f'"index" + {index}',
                "init_seed": f"init_seed + {number}",
            }
            chosen = ", ".join(placed.get(name, f'"{name}"') for name in columns)
            where = f"phase = 'search' AND number < {4 * SEARCH}"
            database.execute(f"INSERT INTO kdstudy_trials SELECT {chosen} FROM kdstudy_trials WHERE {where}")
            moved = f"study_id, number + {number}, epoch, val, record"
            source = f"kdstudy_epochs WHERE number < {4 * SEARCH}"
            database.execute(f"INSERT INTO kdstudy_epochs SELECT {moved} FROM {source}")
        return int(database.execute("SELECT count(*) FROM kdstudy_trials").fetchone()[0])


def main(copies: int) -> None:
    """Make the record, time each command and print."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        with Ledger.open(f"sqlite:///{store / 'ledger.db'}", create=True) as ledger:
            for number in range(100):
                name = f"other-{number:08x}"
                ledger.create_study(StudyRecord(name, "other", 0, "name: other\n", "finished"))
            make_record(ledger, trials=SEARCH, seeds=SEEDS, epochs=EPOCHS)
        trials = lengthen(store / "ledger.db", copies)
        size = (store / "ledger.db").stat().st_size
        print(where(), f"{trials} trials of {EPOCHS} epochs, ledger of {size / 1e6:.0f} MB", flush=True)
        rows = []
        for name, arguments in COMMANDS.items():
            cpu, wall, resident = timed(arguments, store)
            rows.append([f"`kdstudy {name}`", f"{cpu:.1f}", f"{wall:.1f}"])
            print(rows[-1], f"largest so far {resident / 1e6:.0f} MB", flush=True)
        page = store / "studies" / "synthetic-00000200" / "report.html"
        print(table(["command", "CPU s", "wall s"], rows), f"\nreport of {page.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
