"""Where a study ran: what another machine would have to match, and where two environments differ.

Nothing here reads environment variables, host names, user names or remote addresses: none may reach a shared
record.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from kdstudy.results import DifferenceDocument

# The packages whose version can change a number or a record, in the order a reader looks for them.
MATTER = (
    "kdstudy",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "optuna",
    "cmaes",
    "ray",
    "mlflow",
    "sqlalchemy",
    "safetensors",
)
# A diff above this is cut: it travels in the ledger and to the tracking server.
MAX_DIFF_BYTES = 1_000_000
# The git state of a folder that was copied to where the study runs.
SHIPPED = ".kdstudy-git.json"
_GIT_SECONDS = 20.0
# A diff has a hash, by which two cut ones can still be told apart; the store is no part of the machine.
# Of users' plug-ins: where they lay, and what their code was, which only a process that has them can tell.
_ELSEWHERE = ("plugins.", "plugin_sources.")
_NOT_COMPARED = ("git.kdstudy.diff", "git.directory.diff", "store")


def capture_environment(directory: Path | None = None) -> dict[str, Any]:
    """Return the environment as plain values: Python, platform, CPU, packages, git state.

    Args:
        directory: Whose git checkout is recorded beside kdstudy's own; None: the current directory.
    """
    packages = _packages()
    directory = directory or Path.cwd()
    here = _git(directory) or _shipped(directory)
    own = _git(Path(__file__).parent) if _tracked(Path(__file__)) else None
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "versions": {name: packages[name] for name in MATTER if name in packages},
        "packages": packages,
        "git": {"kdstudy": own, "directory": None if here == own else here},
    }


def environment_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[DifferenceDocument]:
    """Return the fields in which two environments differ, those that matter most first.

    Args:
        old: What was recorded.
        new: What is here.

    Returns:
        One per difference; the field is a dotted path, and a side that has none is None.
    """
    recorded, present = _flat(old), _flat(new)
    matter = {f"packages.{name}" for name in MATTER}
    found: list[DifferenceDocument] = []
    for name in dict.fromkeys([*recorded, *present]):
        # The packages that matter are listed under "versions" already.
        if name in _NOT_COMPARED or name in matter or name.startswith(_ELSEWHERE):
            continue
        if recorded.get(name) != present.get(name):
            found.append({"field": name, "recorded": recorded.get(name), "here": present.get(name)})
    return sorted(found, key=lambda row: row["field"].startswith("packages."))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _packages() -> dict[str, str]:
    """Return every installed distribution, names normalised as package indexes do."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a half-removed package has none
            found.setdefault(name.lower().replace("_", "-").replace(".", "-"), distribution.version)
    return dict(sorted(found.items()))


def _cpu() -> dict[str, Any]:
    """Return the CPU's model, usable cores and a hash of its instruction-set flags, which decide rounding."""
    model, flags = platform.processor(), ""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() in {"flags", "Features"}:
                flags = " ".join(sorted(value.split()))
    except OSError:  # not Linux: the model alone must do
        pass
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    digest = hashlib.sha256(flags.encode()).hexdigest()[:16] if flags else None
    return {"model": model or None, "cores": cores, "flags_sha256": digest}


def git_state(environment: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the git part of a recorded environment: of kdstudy's own checkout, else of the user's directory."""
    found = environment.get("git") or {}
    return found.get("kdstudy") or found.get("directory")


def ship_git_state(directory: Path, target: Path) -> None:
    """Send the git state of ``directory`` along with what is copied to ``target``, which has none of its own.

    Args:
        directory: The user's; nothing is written where it is no checkout.
        target: A folder in which a study will run elsewhere: `capture_environment` finds the state there.
    """
    state = _git(directory)
    if state is not None:
        (target / SHIPPED).write_text(json.dumps(state), encoding="utf-8")


def _shipped(directory: Path) -> dict[str, Any] | None:
    """Return the git state that came along with a copy of the user's folder; None if there is none."""
    try:
        state = json.loads((directory / SHIPPED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def _tracked(path: Path) -> bool:
    """Return whether git tracks the file: an installed copy may lie inside the checkout of something else."""
    return _run_git(path.parent, "ls-files", "--error-unmatch", path.name) is not None


def _git(directory: Path) -> dict[str, Any] | None:
    """Return commit and uncommitted changes of the checkout around ``directory``; None if there is none."""
    commit = _run_git(directory, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    # No external diff or text conversion: a repository must not choose programs for us to run.
    diff = _run_git(directory, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", "--", ":/") or ""
    untracked = _run_git(directory, "ls-files", "--others", "--exclude-standard", "--full-name", ":/") or ""
    cut = diff.encode()[:MAX_DIFF_BYTES].decode(errors="ignore")
    return {
        "commit": commit.strip(),
        "dirty": bool(diff),
        "diff": cut,
        "diff_truncated": len(cut) < len(diff),
        "diff_sha256": hashlib.sha256(diff.encode()).hexdigest() if diff else None,
        "untracked": len(untracked.splitlines()),
    }


def _run_git(directory: Path, *arguments: str) -> str | None:
    """Return git's standard output; None where git is missing, fails or takes too long."""
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
