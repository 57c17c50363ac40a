"""The command line in processes whose arithmetic does not depend on how new the CPU is, and what they say of it.

Digits depend on the instructions that the libraries choose. Here all of them are held to AVX2, which every x86 machine
of the last ten years has; what is left is told by `machine`.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.command_line import until

PINS = {
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # its convolutions
    "MKL_CBWR": "COMPATIBLE",  # its matrix products: one path for CPUs of all makers
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4",
    "OPENBLAS_CORETYPE": "Haswell",  # numpy's and scipy's matrix products: proposals depend on them
}
MEASURE = """
import json, importlib.metadata, torch
print(json.dumps({
    "torch": torch.__version__,
    "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    "versions": {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "scikit-learn", "optuna")},
}))
"""


def environment(store: Path, **more: str) -> dict[str, str]:
    """What every process of a pinned study gets; the processes of a local Ray inherit it."""
    return {**os.environ, **PINS, "KDSTUDY_STORE": str(store), **more}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "kdstudy", *arguments]


def kdstudy(store: Path, *arguments: str, code: int = 0, **more: str) -> str:
    """Run a command beside the store and return its standard output."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=900,
        env=environment(store, **more),
        cwd=store.parent,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def kdstudy_json(store: Path, *arguments: str, code: int = 0, **more: str) -> Any:
    """Run with --json and return the document."""
    return json.loads(kdstudy(store, *arguments, "--json", code=code, **more))


def killed(
    store: Path, study: Path, mark: str, wait: Callable[[], None] = lambda: None, *arguments: str, **more: str
) -> None:
    """Run a study and kill its driver with SIGKILL once it has said a line that begins with ``mark``, and a wait."""
    process = subprocess.Popen(
        command("run", str(study), *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(store, **more),
        cwd=store.parent,
    )
    with process:
        until(process, mark)
        wait()
        os.kill(process.pid, signal.SIGKILL)


@functools.cache
def machine() -> tuple[dict[str, str], dict[str, Any]]:
    """What digits are known to depend on, measured in a pinned process; and what else may help to explain a change."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, env=environment(Path()), check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    key = {"torch": found["torch"], "cpu_capability": found["cpu_capability"], "cpu_vendor": _cpu("vendor_id")}
    return key, {"cpu": _cpu("model name"), "versions": found["versions"]}


def _cpu(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "unknown")
