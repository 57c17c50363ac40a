"""Wall and CPU time of a command and everything it starts, daemons that outlive their parents included (Linux).

    python benchmarks/whole.py COMMAND [ARGUMENT ...]

Prints one line at the end. The CPU time hardly depends on what else the machine does, the wall time does.
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> int:
    """Run ``command``; return its exit code."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans become our children: their time counts
    began = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    wall = time.monotonic() - began
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"wall {wall:.0f} s, CPU {used.ru_utime + used.ru_stime:.0f} s, exit {code}, load {os.getloadavg()[0]:.1f}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
