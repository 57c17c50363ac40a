"""Starts the ranks of a trial and has them meet: here as processes of this machine; a cluster has its own `RankHost`.

The first rank is the caller. The others end with it, however it ends, and a rank that ends before is noticed at once:
nobody waits for one that has gone.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final

import torch
from torch import distributed, nn
from torch._C._distributed_c10d import FileStore, Store

from kdstudy import errors
from kdstudy.errors import ClusterError, KdstudyError
from kdstudy.plugins import MODELS, allow_plugins, allowed_words
from kdstudy.settings import child_environment, scoped_environment
from kdstudy.study import TrialConfig
from kdstudy.training import ALONE, RankLostError, Ranks, choose_device, joined

POLL_SECONDS = 0.02
LAST_WORDS_SECONDS = 5.0
"""How long the first rank waits to hear why another one ended."""


@final
@dataclass(frozen=True)
class RankJob:
    """What every rank of a trial is given; see `kdstudy.trial.run.run_trial`.

    Args:
        config: The trial.
        teacher: Its teacher.
        cache: Where, on each node, trials share the teacher's outputs.
        with_test: Whether the test split is scored.
        head_only: Whether the last layer alone learns.
    """

    config: TrialConfig
    teacher: nn.Module | None
    cache: Path | None
    with_test: bool
    head_only: bool


class RankHost(Protocol):
    """Starts the other ranks of a trial, and ends them."""

    interface: str | None
    """The network interface that ranks talk over; None for torch's choice."""

    def start(self, job: RankJob) -> Store:
        """Start all ranks but the first; return, once they are about to meet, where the first finds them."""

    def lost(self) -> Exception | None:
        """Return why a rank has ended of itself; None where none has."""

    def stop(self) -> None:
        """End them all, at once."""


@contextlib.contextmanager
def together(job: RankJob, host: RankHost | None = None) -> Iterator[Ranks]:
    """Hold the ranks of a trial, seen from the first, until the end of the block.

    Args:
        job: The trial.
        host: Starts the others; None for processes of this machine.

    Raises:
        RankLostError: One has gone.
        Exception: What another one raised.
    """
    size = job.config.resources.ranks
    if size == 1:
        yield ALONE
        return
    if distributed.is_initialized():
        raise ClusterError("resources.ranks: this process has joined a process group already; leave it first")
    host = LocalRanks() if host is None else host
    try:
        device = choose_device(job.config.resources.gpus)
        store = host.start(job)
        with networked(host.interface), joined(store, 0, size, device) as ranks:
            yield ranks
    except RankLostError as error:
        raise _cause(host) or error from error
    finally:
        host.stop()


def _cause(host: RankHost) -> Exception | None:
    """Return why another rank has ended, as soon as it is known."""
    end = time.monotonic() + LAST_WORDS_SECONDS
    while (found := host.lost()) is None and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return found


@contextlib.contextmanager
def networked(interface: str | None) -> Iterator[None]:
    """Have gloo and nccl use a network interface, unless the user has named one."""
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if interface else ()
    with scoped_environment(dict.fromkeys(names, interface or "")):
        yield


def serve_rank(job: RankJob, rank: int, store: Store, interface: str | None) -> None:
    """Be a rank other than the first, from the meeting to the end of the trial."""
    from kdstudy.trial.run import train_trial

    resources = job.config.resources
    with networked(interface), joined(store, rank, resources.ranks, choose_device(resources.gpus)) as ranks:
        train_trial(job, lambda _record, _result: None, ranks)


@final
class LocalRanks:
    """Ranks as processes of this machine, each with a GPU of its own where there are any."""

    interface: str | None = "lo0" if sys.platform == "darwin" else "lo"

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kdstudy-ranks-"))
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, job: RankJob) -> Store:
        """Start them, each ready to meet the others."""
        written = pickle.dumps(allowed_words()), pickle.dumps(job.config.to_json()), pickle.dumps(job)
        (self._folder / "job").write_bytes(b"".join(written))
        size = job.config.resources.ranks
        # Not by multiprocessing, which runs the caller's script again in each process.
        command = [sys.executable, "-c", f"from {__name__} import main; main()", str(self._folder)]
        environment = child_environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
        for rank in range(1, size):
            process = subprocess.Popen([*command, str(rank)], stdin=subprocess.PIPE, env=environment)  # noqa: S603
            self._processes.append(process)
        while not all((self._folder / f"ready-{rank}").exists() for rank in range(1, size)):
            if (gone := self.lost()) is not None:
                raise gone
            time.sleep(POLL_SECONDS)
        return _store(self._folder, size)

    def lost(self) -> Exception | None:
        """Return why a rank has ended: what it raised, else its exit status."""
        for rank, process in enumerate(self._processes, start=1):
            status = process.poll()
            if status:
                said = self._folder / f"error-{rank}"
                if said.exists():
                    kind, _, message = said.read_text(encoding="utf-8").partition("\n")
                    return raised_elsewhere(kind, message, rank)
                return RankLostError(f"rank {rank} of the trial was lost (exit status {status})")
        return None

    def stop(self) -> None:
        """End them all, and remove what they met by."""
        for process in self._processes:
            process.kill()
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
        for file in self._folder.iterdir():
            file.unlink()
        self._folder.rmdir()


def main() -> None:
    """Be a rank that `LocalRanks` has started."""
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        job = _read_job(folder / "job")
        if job.config.resources.gpus:
            torch.cuda.set_device(rank)
        store = _store(folder, job.config.resources.ranks)
        (folder / f"ready-{rank}").touch()
        serve_rank(job, rank, store, LocalRanks.interface)
    except RankLostError:
        os._exit(0)  # the first rank has gone, or knows which other one has
    except Exception as error:  # noqa: BLE001 -- whatever it is, the first rank raises it
        (folder / f"error-{rank}").write_text("\n".join(said_elsewhere(error)), encoding="utf-8")
        os._exit(1)


def _read_job(path: Path) -> RankJob:
    """Read what every rank is given, from a folder of the first rank's alone."""
    with path.open("rb") as file:
        allow_plugins(*pickle.load(file))  # noqa: S301
        config = TrialConfig.from_json(pickle.load(file))  # noqa: S301
        for model in (config.teacher.model, config.student.model):
            MODELS.load(model.name)  # a module that lies where Python does not look is there from now on
        job: RankJob = pickle.load(file)  # noqa: S301
        return job


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _store(folder: Path, size: int) -> Store:
    return FileStore(str(folder / "store"), size)


def said_elsewhere(error: Exception) -> tuple[str, str]:
    """Return the kind of an error and what it says, as text for the first rank."""
    if isinstance(error, KdstudyError):
        kind = next(each.__name__ for each in type(error).__mro__ if each.__module__ == errors.__name__)
        return kind, str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError | torch.AcceleratorError):
        return RankLostError.__name__, f"{type(error).__name__}: {error}"
    return "", "".join(traceback.format_exception(error))


def raised_elsewhere(kind: str, message: str, rank: int) -> Exception:
    """Return, on the first rank, what another one has raised: see `said_elsewhere`."""
    if kind == RankLostError.__name__:
        return RankLostError(f"rank {rank} of the trial was lost ({message})")
    known = getattr(errors, kind, None) if kind else None
    if known is errors.StudyError:
        return errors.StudyError(message.splitlines())
    if known is not None:
        raised: Exception = known(message)
        return raised
    return RuntimeError(f"rank {rank} raised:\n{message}")
