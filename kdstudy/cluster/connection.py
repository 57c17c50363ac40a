"""Connect to Ray. Always explicit: a local instance of our own, or an address the user gave."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

from kdstudy.cluster.instance import OWN, own_session, temporary_folder, watched
from kdstudy.cluster.token import cluster_token, local_token
from kdstudy.errors import ClusterError
from kdstudy.plugins import allowed_words
from kdstudy.settings import ALLOW_PLUGINS, scoped_environment

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths in a study file are relative to where the user stands
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # they write a file a trial and hold every result in memory
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the driver says it in a line, and the record keeps the traceback
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: the ledger must hear of it
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",  # Tune gives a trial up that is not at a safe point by then
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",  # workers load no model of MLflow's, and a plug-in no pickled one
}

CONNECT_SECONDS = 10.0

log = logging.getLogger(__name__)


@contextmanager
def connected(
    address: str | None, folder: Path, lost: Callable[[Exception], None] = lambda _error: None
) -> Iterator[None]:
    """Hold a connection to Ray.

    Args:
        address: ``HOST:PORT`` of the head of a running cluster, of which this machine is a node; None starts one
            on this machine, with token authentication and without dashboard, and ends it afterwards.
        folder: Where the token of a local instance is kept (mode 0600).
        lost: Called in the background, once, if a process of a local instance ends; this process follows soon.

    Raises:
        ClusterError: No cluster answers at the address, or it refuses us; an instance cannot start here.
    """
    token = local_token(folder) if address is None else cluster_token()
    place, priority = (temporary_folder(), OWN) if address is None else ({}, {})
    # An instance on this machine inherits all of it.
    with (
        scoped_environment({**QUIET, **priority}),
        scoped_environment({**token, **place, **_plugin_environment()}, override=True),
    ):
        processes = _start() if address is None else _join(address)
        gone = threading.Event()
        try:
            with watched(processes, gone, lost):
                yield
        finally:
            import ray

            if not gone.is_set():
                ray.shutdown()


def _start() -> Sequence[Popen[Any]]:
    """Start an instance here; once more if that fails, as on a machine that is busy with other work."""
    if os.name == "posix" and shutil.which("bash") is None:  # it would start, and wait for its workers for ever
        raise ClusterError("ray: starts its workers by bash, which is not on the PATH; install it, or put it there")
    for last in (False, True):
        try:
            with own_session() as processes:
                _init(None)
        except Exception as error:
            if not _refused(error):
                raise
            reason = _reason(error)
            if last or isinstance(error, ValueError):  # what is set is wrong, and will be
                raise ClusterError(
                    f"ray: cannot start on this machine ({reason}); look into the newest folder below /tmp/ray"
                ) from error
            log.warning(f"ray: did not start ({reason}); one more try")
        else:
            return processes
    raise AssertionError


def _join(address: str) -> Sequence[Popen[Any]]:
    try:
        _init(address)
        return ()
    except Exception as error:
        if not _refused(error):
            raise
        raise ClusterError(
            f"--address: cannot join the Ray cluster at {address} ({_reason(error)}); check that its head runs, that "
            "this machine is one of its nodes, and that both have the same Python, Ray and token"
        ) from error


def _refused(error: Exception) -> bool:
    """Return whether Ray says that it cannot: of a start that takes too long by an error of no kind at all."""
    import ray

    kinds = (OSError, ValueError, RuntimeError, ray.exceptions.RayError)
    return isinstance(error, kinds) or type(error) is Exception


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__


def _init(address: str | None) -> None:
    import ray
    from ray._raylet import Config  # type: ignore[attr-defined]  # compiled

    plugins = _plugin_environment()
    if not ray.is_initialized():
        Config.initialize("")  # whoever imported ray before us had it read an environment that says nothing of tokens
    ray.init(
        address=address or "local",
        include_dashboard=False if address is None else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=True,
        runtime_env={"env_vars": plugins} if address and plugins else None,
    )


def _plugin_environment() -> dict[str, str]:
    """Return what tells the processes of trials which plug-ins the user allowed."""
    allowed = shlex.join(allowed_words())
    return {ALLOW_PLUGINS: allowed} if allowed else {}


def check_address(address: str | None) -> None:
    """Refuse an address at which nothing listens: Ray itself would knock for minutes.

    Args:
        address: ``HOST:PORT``; None is always fine.

    Raises:
        ClusterError: It is no such address, or nothing listens there.
    """
    if address is None:
        return
    if address == "auto":
        raise ClusterError("--address: 'auto' may join a stranger's cluster; give HOST:PORT")
    if address.startswith("ray://"):
        # Over Ray Client, Tune would run in the cluster and take our searcher and callbacks along, ledger and all.
        raise ClusterError(
            "--address: ray:// leaves the driver outside the cluster, where it cannot schedule trials; run it on a "
            "node with HOST:PORT, or let `kdstudy submit STUDY --address http://HOST:8265` do so"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"--address: not an address, got '{address}'; give HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"--address: nothing listens at {address} ({error.strerror or error}); "
            "check that the head runs and that its port can be reached from here"
        ) from error


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
        raise ClusterError(f"ray: a task was lost ({reason}); check the cluster, and resume the study") from error
