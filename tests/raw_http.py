"""HTTP as hostile and slow clients speak it: bytes on a socket."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit


class Answer(NamedTuple):
    """What came back until the server closed; status 0: nothing."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def connect(url: str, *, timeout_s: float = 20) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname
    return socket.create_connection((parts.hostname, parts.port or 80), timeout=timeout_s)


def talk(url: str, chunks: Iterable[bytes], *, pause_s: float = 0) -> Answer:
    """Send chunks until they end or the server closes, then read until it closes."""
    begun = time.monotonic()
    received = b""
    with connect(url) as connection:
        try:
            for chunk in chunks:
                connection.sendall(chunk)
                time.sleep(pause_s)
        except OSError:
            pass
        try:
            while data := connection.recv(65_536):
                received += data
        except ConnectionResetError:
            pass
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1]) if lines[0] else 0
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return Answer(status, headers, body, time.monotonic() - begun)


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A whole request that asks for the connection to be closed."""
    fields = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(fields).encode() + b"\r\n\r\n" + body


def drain(stream: IO[str]) -> tuple[threading.Thread, list[str]]:
    """Read a process's log while it runs: a pipe that is full would stop the process."""
    lines: list[str] = []

    def read() -> None:
        with stream:
            for line in stream:
                lines.append(line)

    thread = threading.Thread(target=read)
    thread.start()
    return thread, lines


def resident_mb(pid: int) -> float:
    """Memory that a process has in use."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) / 1024
