"""Send a study to a Ray cluster as a Ray job: its driver then runs there, and this machine may go away."""

from __future__ import annotations

import shlex
import shutil
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdstudy.cluster.token import cluster_token
from kdstudy.errors import ClusterError, StudyError
from kdstudy.ledger import ship_git_state
from kdstudy.plugins import allowed_plugins
from kdstudy.settings import scoped_environment
from kdstudy.storage import is_bucket
from kdstudy.study import load_study, parse_study

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

POLL_SECONDS = 2.0
CPUS = 0.0
"""Reserved for the driver, which mostly waits."""


@dataclass(frozen=True)
class Places:
    """Where the study's record is kept, as the cluster reaches it.

    Args:
        store: Absolute path on a file system that all nodes share, or ``s3://``.
        ledger: SQLAlchemy URL without password; None for the cluster's ``KDSTUDY_LEDGER``, else SQLite in the store.
        tracking_uri: Likewise of MLflow.
    """

    store: str
    ledger: str | None
    tracking_uri: str | None

    def options(self) -> list[str]:
        """Return the command line's options.

        Raises:
            ClusterError: The cluster could not use them, or they hold a password, which Ray would show to everybody.
        """
        if not is_bucket(self.store) and not Path(self.store).is_absolute():
            raise ClusterError(
                f"--store: the cluster does not know this folder, got '{self.store}'; give an absolute path that all "
                "its nodes share, or s3://BUCKET/PREFIX"
            )
        found = ["--store", self.store]
        for option, value in (("--ledger", self.ledger), ("--tracking-uri", self.tracking_uri)):
            if value is None:
                continue
            if urllib.parse.urlsplit(value).password:
                raise ClusterError(
                    f"{option}: Ray shows a job's command to everybody who sees its dashboard, and this holds a "
                    "password; set KDSTUDY_LEDGER, PGPASSFILE or MLFLOW_TRACKING_PASSWORD on the cluster instead"
                )
            found += [option, value]
        return found


def submit(
    study: Path, address: str, places: Places, *, folder: Path | None = None, warm_start: str | None = None
) -> str:
    """Send a study file and return the job's ID.

    Args:
        study: The study file, which must be valid.
        address: ``http://HOST:8265`` of the cluster's dashboard.
        places: Where the record is kept.
        folder: Sent along: the study's own plug-ins; it must hold the study file. None: the file, and the modules that
            were allowed by their place, each by itself.
        warm_start: An earlier study in the ledger there: ID, unique prefix, or ``latest``; None for none.

    Raises:
        ClusterError: The cluster cannot be reached, refuses, or could not reach the store.
        StudyError: The study file is not in the folder, or a relative path of it leads nowhere.
    """
    options = [*places.options(), *_meant_from(study, folder)]
    allowed = [*_allowed_there(study, folder)]
    with (
        scoped_environment(cluster_token(), override=True),
        tempfile.TemporaryDirectory(prefix="kdstudy-submit-") as temporary,
    ):
        copy = Path(temporary) / "study"
        name = _copy(study, folder, copy)
        if folder is None:
            _copy_modules(copy)
        ship_git_state(folder or study.parent, copy)
        # RAY_ADDRESS: Ray tells a job which cluster it runs on; `auto` would look for any.
        options += [] if warm_start is None else ["--warm-start", warm_start]
        options += [word for package in allowed for word in ("--allow-plugin", package)]
        command = f'python -m kdstudy run {shlex.quote(name)} --leave --address "$RAY_ADDRESS" {shlex.join(options)}'
        client = _client(address)
        try:
            job: str = client.submit_job(
                entrypoint=command, entrypoint_num_cpus=CPUS, runtime_env={"working_dir": str(copy)}
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ClusterError(f"--address: {address} does not take the job ({_reason(error)})") from error
    return job


def follow(address: str, job: str, listen: Callable[[str], None]) -> int:
    """Pass on what a job prints until it ends, and return its exit code.

    Raises:
        ClusterError: The cluster does not answer any more; the job may still run.
    """
    with scoped_environment(cluster_token(), override=True):
        return _follow(_client(address), address, job, listen)


def _follow(client: JobSubmissionClient, address: str, job: str, listen: Callable[[str], None]) -> int:
    seen = 0
    while True:
        try:
            details: Any = client.get_job_info(job)
            log = client.get_job_logs(job)
        except (RuntimeError, OSError) as error:
            raise ClusterError(
                f"--address: {address} does not answer any more ({_reason(error)}); job {job} may still run there"
            ) from error
        if len(log) > seen:
            listen(log[seen:])
            seen = len(log)
        if details.status.is_terminal():
            code = details.driver_exit_code
            return int(code) if code is not None else int(str(details.status) != "SUCCEEDED")
        time.sleep(POLL_SECONDS)


def _client(address: str) -> JobSubmissionClient:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClusterError(f"--address: not the address of a Ray dashboard, got '{address}'; give http://HOST:8265")
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ImportError, OSError) as error:
        raise ClusterError(
            f"--address: no Ray dashboard answers at {address} ({_reason(error)}); check that its head runs with "
            "ray[default] installed, and the token"
        ) from error


def _copy(study: Path, folder: Path | None, target: Path) -> str:
    """Copy what is sent; return the study file's path inside."""
    if folder is None:
        target.mkdir()
        shutil.copy(study, target)
        return study.name
    try:
        name = study.resolve().relative_to(folder.resolve())
    except ValueError:
        raise StudyError(
            [f"{study}: is not in {folder}, which is sent to the cluster; give the folder it is in"]
        ) from None
    shutil.copytree(folder, target, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__"))
    return name.as_posix()


def _copy_modules(target: Path) -> None:
    """Copy the modules that were allowed by their place beside the study file: files, and packages' folders."""
    for place in filter(None, allowed_plugins().values()):
        if place.is_dir():
            shutil.copytree(place, target / place.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(place, target)


def _meant_from(study: Path, folder: Path | None) -> list[str]:
    """Return the option by which relative paths of a study file are meant from its folder here, as everywhere.

    A job's own folder vanishes. What lies in a folder that is sent along is meant there.

    Raises:
        StudyError: Nothing is at one of them.
    """
    if folder is not None:
        return []
    here = load_study(study)
    written = parse_study(here.text, str(study))
    paths = (
        ("data.root", written.data.root, here.data.root),
        ("teacher.path", written.teacher.path, here.teacher.path),
    )
    relative = [(key, path, Path(found)) for key, path, found in paths if path and found and _is_relative(path)]
    for key, path, found in relative:
        if not found.exists():
            told = (
                f"{key}: a relative path is meant from the study file's folder, and {found} is not there, got '{path}'"
            )
            raise StudyError([f"{study}: {told}; write the path that all nodes have"])
    return ["--meant-from", str(study.absolute().parent)] if relative else []


def _is_relative(path: str) -> bool:
    return "://" not in path and not path.startswith(("/", "~"))


def _allowed_there(study: Path, folder: Path | None) -> Iterator[str]:
    """Yield what the job must allow: modules that lie in the folder that is sent, by their place in it.

    Raises:
        StudyError: One lies elsewhere on this machine.
    """
    for name, place in allowed_plugins().items():
        if place is None:
            yield name
        elif folder is None:
            yield f"./{place.name}"
        elif place.resolve().is_relative_to(folder.resolve()):
            yield f"./{place.resolve().relative_to(folder.resolve()).as_posix()}"
        else:
            raise StudyError(
                [f"{study}: the cluster does not have {place}; send it along: --with {shlex.quote(str(place.parent))}"]
            )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."
