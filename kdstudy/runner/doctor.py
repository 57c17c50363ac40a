"""What an operator wants to know before a study: one finding a question, each with what to do about trouble."""

from __future__ import annotations

import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kdstudy.cluster import check_address, connected, on_each_node
from kdstudy.errors import ClusterError, KdstudyError, StoreError
from kdstudy.ledger import Ledger, capture_environment
from kdstudy.plugins import allowed_words
from kdstudy.settings import foreign
from kdstudy.storage import Folder, Store
from kdstudy.tracking import check_access

ROOM_GB = 2.0
"""Free space, in 1e9 bytes, below which a study is likely to end on a full disk."""
SKEW_SECONDS = 5.0
"""Difference of two clocks above which times in record and MLflow mislead."""
SHARED = Path("/dev/shm")  # noqa: S108 - not a temporary file: where Linux keeps shared memory
LITTLE_SHARED_MB = 512
"""Below this, images decoded on the fly may have to be decoded by fewer processes than asked for."""
MOUNTED = Path("/run/secrets")
"""Where containers find the secrets that they are handed; their owner and mode are the host's."""
SHOWN = ("kdstudy", "torch", "ray", "optuna", "mlflow")


@dataclass(frozen=True)
class Finding:
    """One answer.

    Args:
        question: What was looked at.
        good: Whether a study can rely on it.
        said: What was found; if it is not good, with what to do.
    """

    question: str
    good: bool
    said: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def examine(store: Store, address: str | None) -> Iterator[Finding]:
    """Yield every finding, the quick ones first; a store that is missing is made, as a study would.

    Args:
        store: As for a study.
        address: Ray cluster; None: Ray would start here.
    """
    questions: list[tuple[str, Callable[[], str]]] = [
        ("versions", _versions),
        ("processors", _processors),
        ("shared memory", _shared_memory),
        ("plug-ins", _plugins),
        ("weights", _weights),
        ("storage", lambda: _storage(store)),
        ("record", lambda: _record(store)),
        ("tracking", lambda: _tracking(store)),
        ("token", lambda: _token(store, address)),
    ]
    for question, answer in questions:
        yield _ask(question, answer)
    if address is None:
        return
    reachable = _ask("address", lambda: _reach(address))
    yield reachable
    if reachable.good:
        yield from _nodes(store, address)


def _ask(question: str, answer: Callable[[], str]) -> Finding:
    try:
        return Finding(question, good=True, said=answer())
    except KdstudyError as error:
        return Finding(question, good=False, said=" ".join(str(error).split()))


def _versions() -> str:
    here = capture_environment()
    return ", ".join(
        [f"python {here['python']}", *(f"{name} {here['versions'].get(name, 'missing')}" for name in SHOWN)]
    )


def _processors() -> str:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    threads = foreign("OMP_NUM_THREADS") or "not set"
    return f"{cores} cores, OMP_NUM_THREADS {threads}; GPUs: {', '.join(gpus) or 'none'}"


def _shared_memory() -> str:
    """Say how much there is for what decoding processes hand over; with little, kdstudy uses fewer of them, or none."""
    try:
        usage = shutil.disk_usage(SHARED)
    except OSError:
        return f"no {SHARED} here: it is not limited"
    said = f"{usage.free / 1e6:,.0f} of {usage.total / 1e6:,.0f} MB free at {SHARED}"
    little = "; little for images that are decoded on the fly (docker run --shm-size=1g gives more)"
    return said + (little if usage.free < LITTLE_SHARED_MB * 1e6 else "")


def _plugins() -> str:
    return f"code of {', '.join(allowed_words()) or 'no package'} may be named by files and records"


def _weights() -> str:
    """Say which published weights are here, and are used without asking the network."""
    from kdstudy.models import kept_files, weights_folders

    kept = [f"{name} (sha256 {sha256[:12]})" for name, sha256 in kept_files()]
    return f"{', '.join(kept) or 'none'} at {' and '.join(map(str, weights_folders()))}"


def _storage(store: Store) -> str:
    store.create()
    probe_storage(store.folder)
    free = shutil.disk_usage(store.local).free / 1e9
    if free < ROOM_GB:
        raise StoreError(f"{store.local}: only {free:.1f} GB are free; make room, {ROOM_GB:.0f} GB at least")
    return f"{store.folder} can be written; {free:.0f} GB free at {store.local}"


def probe_storage(folder: Folder) -> None:
    """Write a file in the store, read it back and remove it.

    Raises:
        StoreError: One of them fails.
    """
    name, content = f"probe-{uuid.uuid4().hex}", os.urandom(16)
    folder.write(name, content)
    same = folder.read(name) == content
    folder.remove(name)
    if not same:
        raise StoreError(f"{folder}: a file reads back otherwise than it was written; do not keep a store there")


def _record(store: Store) -> str:
    with Ledger.open(store.ledger_url, patience=0.0) as ledger:
        return f"{ledger.place} holds {len(ledger.summaries())} studies"


def _tracking(store: Store) -> str:
    found = check_access(store.tracking_uri)
    if found.clock is not None and abs(found.clock) > SKEW_SECONDS:
        raise StoreError(f"{found.place}: its clock differs by {found.clock:.0f} s; set both by the same time server")
    return f"{found.place}: {found.login}"


def _token(store: Store, address: str | None) -> str:
    """Say how clients of Ray prove who they are. Ray alone would leave its token readable by everyone."""
    mode = foreign("RAY_AUTH_MODE")
    if address is None and mode is None:
        file = store.local / "ray-token"
        return f"Ray starts here, with token authentication; {_private(file) if file.exists() else 'its token is made'}"
    if mode != "token":
        raise StoreError(
            f"RAY_AUTH_MODE is {mode or 'not set'}: anyone who reaches the cluster can run code on it; start it with "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH, and set both here"
        )
    if foreign("RAY_AUTH_TOKEN"):
        return "token authentication; the token is in RAY_AUTH_TOKEN, better in a file that RAY_AUTH_TOKEN_PATH names"
    file = Path(foreign("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not file.is_file():
        raise StoreError(f"{file}: the token is not there; copy the cluster's there, readable by you alone")
    return f"token authentication; {_private(file)}"


def _private(file: Path) -> str:
    """Say that only its owner can read a file.

    Raises:
        StoreError: Others can.
    """
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077 and not file.is_relative_to(MOUNTED):  # there are no others in a container
        raise StoreError(f"{file}: others may read it (mode {mode:04o}); run chmod 600 on it")
    return f"{file} is private"


def _reach(address: str) -> str:
    check_address(address)
    return f"{address} listens"


def _nodes(store: Store, address: str) -> Iterator[Finding]:
    """Look from each node of the cluster: what it has, whether it can write the store, what time it is there."""
    try:
        with connected(address, store.local):
            yield from _ask_nodes(store)
    except KdstudyError as error:
        yield Finding("cluster", good=False, said=" ".join(str(error).split()))


def _ask_nodes(store: Store) -> Iterator[Finding]:
    here, asked = capture_environment(), time.time()
    for node, found in on_each_node(look_around, store.folder):
        name = f"node {node['NodeManagerAddress']}"
        if isinstance(found, ClusterError):
            yield Finding(name, good=False, said=str(found))
        else:
            yield _judge_node(name, found, here, (asked, time.time()), node["Resources"])
        asked = time.time()


def look_around(folder: Folder) -> dict[str, Any]:
    """Return what a process on this machine finds: versions, the time, why the store cannot be written."""
    trouble = None
    try:
        probe_storage(folder)
    except StoreError as error:
        trouble = str(error)
    here = capture_environment()
    return {"python": here["python"], "versions": here["versions"], "time": time.time(), "trouble": trouble}


def _judge_node(
    name: str, found: dict[str, Any], here: dict[str, Any], asked: tuple[float, float], resources: dict[str, float]
) -> Finding:
    troubles = [found["trouble"]] if found["trouble"] else []
    other = [each for each in SHOWN if found["versions"].get(each) != here["versions"].get(each)]
    troubles += [f"{each} {found['versions'].get(each)} there, {here['versions'].get(each)} here" for each in other]
    if found["python"].rpartition(".")[0] != here["python"].rpartition(".")[0]:
        troubles.append(f"Python {found['python']} there, {here['python']} here")
    # Its clock may show any time between question and answer.
    skew = max(asked[0] - found["time"], found["time"] - asked[1], 0.0)
    if skew > SKEW_SECONDS:
        troubles.append(f"its clock differs by {skew:.0f} s")
    if troubles:
        return Finding(
            name,
            good=False,
            said=f"{'; '.join(troubles)}; make versions, store and clocks of the nodes match the driver",
        )
    has = f"{resources.get('CPU', 0):.0f} CPUs, {resources.get('GPU', 0):.0f} GPUs"
    return Finding(name, good=True, said=f"{has}; same versions, writes the store, clock agrees")
