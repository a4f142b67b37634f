"""The process that computes, as `alternate.py` sees it: warm up, say so, then a round for every question.

What it owns: the clock, memory, what is said of the machine. What it must not know: what is computed.
Standard output belongs to the conversation: whatever else is printed there, fairseq's log for one, goes to standard
error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mtkd.bench.alternate import ROUND
from mtkd.processes import cpu_name

LEAST_S = 0.2
"""A round repeats work that is quicker, until it took so long, and answers with the mean."""


class Conversation:
    """This process's end of the pipe; to be made before anything else prints."""

    def __init__(self) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def ready(self, baseline_bytes: int) -> None:
        """All is set up and warm; `baseline_bytes` were in use before the work began."""
        name = torch.cuda.get_device_name() if self.device == "cuda" else cpu_name()
        self._say(
            device=name,
            cpu_capability=torch.backends.cpu.get_cpu_capability(),
            torch=torch.__version__,
            threads=torch.get_num_threads(),
            baseline_bytes=baseline_bytes,
        )

    def asked(self) -> bool:
        """Wait for the next question: whether it is for another round."""
        return sys.stdin.readline().strip() == ROUND

    def answer(self, seconds: float, tokens: float) -> None:
        """One round took so long for so many target tokens."""
        self._say(seconds=seconds, tokens=tokens)

    def finish(self, **facts: Any) -> None:
        """The last word."""
        self._say(peak_bytes=peak_bytes(self.device), **facts)

    def clock(self) -> float:
        """Seconds, once the device has done all it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _say(self, **message: Any) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


def answer_rounds(conversation: Conversation, work: Callable[[], int]) -> None:
    """Do `work`, which returns how many target tokens it did, once unmeasured and then once a question."""
    baseline_bytes = bytes_in_use(conversation.device)
    work()
    conversation.ready(baseline_bytes)
    while conversation.asked():
        started, repeats, seconds = conversation.clock(), 0, 0.0
        while seconds < LEAST_S:
            tokens = work()
            repeats += 1
            seconds = conversation.clock() - started
        conversation.answer(seconds / repeats, tokens)


def bytes_in_use(device: str) -> int:
    """Memory held now: the process's on the CPU, tensors' on a GPU."""
    return int(torch.cuda.memory_allocated()) if device == "cuda" else _status("VmRSS")


def peak_bytes(device: str) -> int:
    """The most memory ever held: the process's on the CPU, tensors' on a GPU."""
    # Not ru_maxrss: that one starts at what the parent held when it forked.
    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else _status("VmHWM")


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {key} in /proc/self/status")
