"""All numbers that matter of a machine with a GPU, within minutes, the most valuable first.

    python -m benchmarks.gpu [--minutes 9] [--device cuda] [--out DIR] [--data DIR]
    python -m benchmarks.gpu --tables DIR

Run it from a checkout; nothing needs to be installed but torch, torchvision, numpy, pydantic, pyyaml, safetensors,
filelock, sqlalchemy and typing-extensions. Each part is a process with a time limit of its own. Rows land in DIR
(``$OUT``, else gpu-results) as they are measured, one file a part; a second run goes on where the first one stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.tables import read, report

ROOT = Path(__file__).parents[2]
# Shares of the time; whatever a part leaves goes to those after it, and the last has no limit but the end.
SHARES = {"checks": 0.12, "twice": 0.12, "steps": 0.35, "packs": 0.25, "hours": 0.12, "seeds": 1.0}
DONE, FAILED, OUT_OF_TIME, SKIPPED = 0, 1, 3, 4
STATES = {DONE: "done", OUT_OF_TIME: "out of time", SKIPPED: "skipped"}


def main() -> int:
    """Run all parts, or one in this process, or print the tables."""
    asked = arguments()
    if asked.tables is not None:
        print(report(asked.tables))
        return 0
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.only is not None:
        return one(asked)
    (asked.out / "machine.json").write_text(json.dumps(machine(asked.device), indent=1))
    everything(asked)
    (asked.out / "tables.md").write_text(report(asked.out))
    print(f"{asked.out}/tables.md")
    return 0


def arguments() -> argparse.Namespace:
    """Return what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts together")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: everything small, a trial run")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "gpu-results"), metavar="DIR")
    parser.add_argument("--data", type=Path, metavar="DIR", help="holds cifar-100-python, for full recipes")
    parser.add_argument("--tables", type=Path, metavar="DIR", help="print the tables of a folder of results")
    parser.add_argument("--only", choices=list(SHARES), help="one part, in this process")
    return parser.parse_args()


def everything(asked: argparse.Namespace) -> None:
    """Run the parts that are not done, each within its share of the time."""
    end = time.monotonic() + 60 * asked.minutes
    for part, share in SHARES.items():
        told = read(asked.out / "parts.json")
        if told.get(part, {}).get("state") == "done":
            continue
        limit = min(60 * asked.minutes * share, end - time.monotonic())
        began = time.monotonic()
        print(f"{part}: at most {max(limit, 0):.0f} s", file=sys.stderr, flush=True)
        state, why = within(asked, part, limit) if limit > 1 else ("out of time", "")
        told[part] = {"state": state, "seconds": round(time.monotonic() - began, 1), "why": why}
        (asked.out / "parts.json").write_text(json.dumps(told, indent=1))


def within(asked: argparse.Namespace, part: str, limit: float) -> tuple[str, str]:
    """Run one part as a process and return how it ended, and why it did where that is to be told."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--only", part, "--minutes", str(limit / 60)]
    command += ["--device", asked.device, "--out", str(asked.out.resolve())]
    command += [] if asked.data is None else ["--data", str(asked.data.resolve())]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            told = process.communicate(timeout=limit)[1].strip().splitlines()
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it has started
            return "out of time", ""
    state = STATES.get(process.returncode, "failed")
    return state, told[-1] if told and state in {"failed", "skipped"} else ""


def one(asked: argparse.Namespace) -> int:
    """Run one part here."""
    import torch

    from benchmarks.gpu.job import Job, OutOfTimeError, SkipPartError

    if asked.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device is visible here; --device cpu tries the script out", file=sys.stderr)
        return SKIPPED
    part = importlib.import_module(f"benchmarks.gpu.{asked.only}")  # before the clock runs: it may take seconds
    job = Job(asked.only, torch.device(asked.device), asked.out, 60 * asked.minutes, asked.data)
    try:
        part.run(job)
    except OutOfTimeError:
        return OUT_OF_TIME
    except SkipPartError as error:
        print(error, file=sys.stderr)
        return SKIPPED
    return DONE


def machine(device: str) -> dict[str, Any]:
    """Return what the numbers were measured on."""
    import torch

    git = ["git", "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError):
        commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    told = {"commit": commit, "python": platform.python_version(), "torch": torch.__version__, "cpus": os.cpu_count()}
    if device == "cuda" and torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        told |= {"device": card.name, "memory GB": round(card.total_memory / 1e9, 1), "cuda": torch.version.cuda}
        return {**told, "processors": card.multi_processor_count, "cudnn": torch.backends.cudnn.version()}
    return {**told, "device": f"CPU ({platform.machine()})"}


if __name__ == "__main__":
    raise SystemExit(main())
