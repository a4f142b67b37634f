"""Children end with their parent, and threads are no more than there are cores."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtkd import processes
from mtkd.processes import available_cores, end_group, thread_environment

SLEEP = "import time; time.sleep(60)"


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text(encoding="ascii").rsplit(") ", 1)[1][0] != "Z"


def ends(pid: int) -> bool:
    """Whether a process ends within five seconds."""
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_child_dies_with_a_killed_parent() -> None:
    program = (
        "import subprocess, sys\nfrom mtkd.processes import die_with_parent\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], preexec_fn=die_with_parent)\n"
        "print(child.pid, flush=True)\nchild.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    assert ends(child)


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_group_ends_with_all_its_children(stubborn: bool) -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if stubborn else ""
    program = (
        f"import subprocess, sys; {ignore}"
        f"child = subprocess.Popen([sys.executable, '-c', {(ignore + SLEEP)!r}]); "
        "print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        child = int(leader.stdout.readline())
        time.sleep(0.1)
        end_group(leader, grace_s=0.3 if stubborn else 5)
        assert leader.poll() is not None
    assert ends(child)


def test_a_quota_counts_as_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = len(os.sched_getaffinity(0))
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(processes, "_CPU_QUOTA", quota)
    assert available_cores() == allowed
    quota.write_text("max 100000\n", encoding="ascii")
    assert available_cores() == allowed
    quota.write_text("50000 100000\n", encoding="ascii")
    assert available_cores() == 1


def test_every_numeric_library_is_held_to_its_threads() -> None:
    assert set(thread_environment(3).values()) == {"3"}
    assert "OMP_NUM_THREADS" in thread_environment(3)


def test_dying_with_the_parent_can_be_asked_for_twice() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from mtkd.processes import die_with_parent as d; d(); d(); print('alive')"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "alive\n"
