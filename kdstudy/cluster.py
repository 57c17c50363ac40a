"""Connect to Ray, and ask what it has. Always explicit: a local instance of our own, or an address the user gave."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdstudy.errors import ClusterError
from kdstudy.trust import SETTING, allowed_plugins

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths in a study file are relative to where the user stands
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # they write a file a trial and hold every result in memory
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: the ledger must hear of it
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}

CONNECT_SECONDS = 10.0


@contextmanager
def connected(address: str | None, store: Path) -> Iterator[None]:
    """Hold a connection to Ray.

    Args:
        address: ``HOST:PORT`` or ``ray://HOST:PORT`` of a running cluster; None starts one on this machine, with
            token authentication and without dashboard, and ends it afterwards.
        store: Where the token of a local instance is kept (mode 0600).

    Raises:
        ClusterError: No cluster answers at the address, or it refuses us.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if address is None:
        _set_local_token(store)
    import ray

    try:
        ray.init(
            address=address or "local",
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            runtime_env=_plugin_environment() if address else None,
        )
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ClusterError(
            f"--address: no Ray cluster answers at {address or 'this machine'} ({reason}); "
            "check that its head runs and that both use the same Ray version and token"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _plugin_environment() -> dict[str, Any] | None:
    """Return what tells a cluster's workers which plug-ins the user allowed; a local instance inherits it."""
    allowed = ",".join(allowed_plugins())
    return {"env_vars": {SETTING: allowed}} if allowed else None


def check_address(address: str | None) -> None:
    """Refuse an address at which nothing listens: Ray itself would knock for minutes.

    Args:
        address: ``HOST:PORT`` or ``ray://HOST:PORT``; None is always fine.

    Raises:
        ClusterError: It is no such address, or nothing listens there.
    """
    if address is None:
        return
    if address == "auto":
        raise ClusterError("--address: 'auto' may join a stranger's cluster; give HOST:PORT")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"--address: not an address, got '{address}'; give HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"--address: nothing listens at {address} ({error.strerror or error}); "
            "check that the head runs and that its port can be reached from here"
        ) from error


def _set_local_token(store: Path) -> None:
    """Set token authentication explicitly for our own instance: Ray alone would leave a world-readable token behind."""
    if "RAY_AUTH_MODE" in os.environ:
        return
    path = store / "ray-token"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)


def slots(cpus: int, gpus: float) -> int:
    """Return how many trials the cluster can hold at once now.

    Args:
        cpus: CPUs of one trial.
        gpus: GPUs of one trial, a fraction allowed.

    Raises:
        ClusterError: No node can hold even one: the study would wait for ever.
    """
    import ray

    total = 0
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        resources = node["Resources"]
        by_cpu = int(resources.get("CPU", 0) // cpus)
        by_gpu = int(resources.get("GPU", 0) / gpus + 1e-9) if gpus > 0 else by_cpu
        total += min(by_cpu, by_gpu)
    if total == 0:
        raise ClusterError(
            f"resources: no node of the cluster has {cpus} CPUs and {gpus} GPUs for one trial; "
            "lower resources.cpus or resources.gpus"
        )
    return total


def fetch(reference: Any) -> Any:
    """Wait for a task's result.

    Raises:
        ClusterError: The node or process that worked on it was lost.
    """
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ClusterError(
            f"ray: a task was lost ({reason}); see that the cluster is well, and resume the study"
        ) from error
