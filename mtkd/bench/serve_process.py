"""A server as a process of its own: started on a free port, ready, watched, ended.

What it owns: the life of the process, and what Linux tells of it. What it must not know: what it is asked.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from mtkd.bench.serve_load import HOST
from mtkd.errors import MtkdError
from mtkd.processes import die_with_parent

_POLL_S = 0.01
_START_S = 300.0
_END_S = 30.0
_RESIDENT = re.compile(r"VmRSS:\s+(\d+) kB")


class Server(NamedTuple):
    """A server that is ready."""

    pid: int
    port: int
    ready_s: float
    """From the start of the process until it said so."""

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of an address."""
        return _get(self.port, path)

    def resident_mb(self) -> float:
        """Memory that the process has in use, in 10^6 bytes."""
        found = _RESIDENT.search(Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace"))
        if found is None:
            raise MtkdError("benchmark: the server has ended")
        return int(found[1]) * 1024 / 1e6


@contextlib.contextmanager
def serving(argv: Sequence[str], *, ready: str, environment: Mapping[str, str]) -> Iterator[Server]:
    """Start `argv --port PORT`, wait until the address `ready` answers 200, and end it on the way out.

    Raises:
        MtkdError: it ended or was not ready in time; the message has its last words.
    """
    port = _free_port()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            [*argv, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=environment,
            preexec_fn=die_with_parent,  # noqa: PLW1509  this process has no threads
        )
        try:
            while not _is_ready(port, ready):
                if process.poll() is not None or time.perf_counter() > began + _START_S:
                    raise MtkdError(f"benchmark: the server did not start: {_last_words(log)}")
                time.sleep(_POLL_S)
            yield Server(process.pid, port, time.perf_counter() - began)
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _is_ready(port: int, path: str) -> bool:
    try:
        return _get(port, path)[0] == 200
    except OSError:
        return False


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=_END_S)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def _last_words(log: IO[str]) -> str:
    log.seek(0)
    said = [line.strip() for line in log if line.strip()]
    return said[-1] if said else "it said nothing"
