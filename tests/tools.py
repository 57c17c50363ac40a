"""Programs that pip cannot install: a test that needs one is skipped without it, or fails where it is demanded.

``KDSTUDY_REQUIRE=postgres,chromium`` names the tools whose absence is a failure: continuous integration installs them
and says so, a laptop need not. The variable is read when this module is first imported, before a fixture clears it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REQUIRED = frozenset(filter(None, os.environ.get("KDSTUDY_REQUIRE", "").replace(" ", "").split(",")))


def _postgres() -> str | None:
    """The folder of PostgreSQL's programs, the newest first; Debian keeps them off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return str(folders[-1].parent) if folders else _on_path("initdb", folder=True)


def _on_path(program: str, *, folder: bool = False) -> str | None:
    found = shutil.which(program)
    return str(Path(found).parent) if found and folder else found


def _netns() -> str | None:
    """``ip``, where this process may make network namespaces with it."""
    program = _on_path("ip")
    if program is None or os.geteuid() != 0:
        return None
    name = f"kdstudy-probe-{os.getpid()}"
    made = subprocess.run([program, "netns", "add", name], capture_output=True, check=False)
    if made.returncode != 0:
        return None
    subprocess.run([program, "netns", "del", name], capture_output=True, check=True)
    return program


def _unshare() -> str | None:
    """``unshare``, where this process may mount in a namespace of its own with it."""
    program = _on_path("unshare")
    if program is None:
        return None
    tried = [program, "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    done = subprocess.run(tried, capture_output=True, check=False)
    return program if done.returncode == 0 else None


# Tool to what finds it (a path for the test to use, or None) and where it comes from.
TOOLS = {
    "postgres": (_postgres, "apt-get install postgresql"),
    "chromium": (lambda: _on_path("chromium"), "apt-get install chromium"),
    "prometheus": (lambda: _on_path("prometheus"), "apt-get install prometheus"),
    "netns": (_netns, "apt-get install iproute2, as root"),
    "unshare": (_unshare, "Linux, as root"),
    "redis": (lambda: _on_path("redis-server"), "apt-get install redis-server"),
    "node": (lambda: _on_path("npm", folder=True), "apt-get install npm"),
    "buildah": (lambda: _on_path("buildah"), "apt-get install buildah debootstrap, as root"),
}


def need(tool: str) -> str:
    """Return where ``tool`` is; without it skip the test, or fail it where ``KDSTUDY_REQUIRE`` names the tool."""
    find, remedy = TOOLS[tool]
    found = find()
    if found is None:
        reason = f"needs {tool} ({remedy})"
        if tool in REQUIRED:
            pytest.fail(f"{reason}, which KDSTUDY_REQUIRE demands", pytrace=False)
        pytest.skip(reason)
    return found
