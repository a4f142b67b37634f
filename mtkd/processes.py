"""Processes that do not outlive the one that started them, and the cores there are.

What it owns: dying with the parent, ending a process group, counting and naming cores, thread settings.
What it must not know: recipes, steps, Snakemake.
Why: `kill -9` on `mtkd run` must not leave a training behind that writes where the next run writes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends; Linux only, elsewhere nothing.

    For `preexec_fn` of a child, or for a process itself. SIGKILL, as every step survives it by design and Snakemake
    answers any gentler signal by waiting for its jobs.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_group(process: subprocess.Popen[str], grace_s: float) -> None:
    """End a process that leads its own group, and all its children: SIGTERM, and SIGKILL after `grace_s` seconds."""
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)


def available_cores() -> int:
    """Cores this process may use: its affinity and, in a container, its quota."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = _CPU_QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def cpu_name() -> str:
    """The processor as Linux names it, or its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def thread_environment(threads: int) -> dict[str, str]:
    """Environment variables that hold numeric libraries to so many threads; set before they are imported."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))
