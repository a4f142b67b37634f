"""A light HTTP client that keeps a server under load: prepared bytes out, only status and length read.

What it owns: connections, who asks when, the time of every answer. What it must not know: what is asked, what a
server answers in words. Why own code: client and server share the machine's cores, and a general client takes several
times as long for a request as this one, from the very thing that is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

HOST = "127.0.0.1"
NO_ANSWER = 0
"""Status of a request whose connection ended, or that waited too long."""
PATIENCE_S = 300.0
_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")
_TICK_S = 0.002
"""How late a request of `open_loop` may be sent."""


class Request(NamedTuple):
    """A whole request as bytes, and the kind under which its answer is counted."""

    kind: str
    content: bytes


class Answer(NamedTuple):
    """What came of a request."""

    kind: str
    status: int
    sent: float
    """When, by this process's clock."""
    seconds: float
    """From sending until the last byte."""
    says_when: bool
    """It has a `Retry-After`."""


@dataclass(frozen=True)
class Load:
    """All answers to a load, in the order they came."""

    answers: list[Answer]
    seconds: float
    cpu_s: float
    """What this process itself computed meanwhile."""

    @property
    def errors(self) -> int:
        """Answers that are not 200."""
        return sum(answer.status != 200 for answer in self.answers)


def post(path: str, body: bytes, *, kind: str = "") -> Request:
    """A request with a JSON body, for a connection that stays open."""
    head = f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return Request(kind, head.encode() + _HEAD_END + body)


def for_seconds(requests: Sequence[Request], seconds: float) -> Iterator[Request]:
    """The requests again and again until the time is over."""
    until = time.perf_counter() + seconds
    return itertools.takewhile(lambda _: time.perf_counter() < until, itertools.cycle(requests))


async def closed_loop(port: int, requests: Iterable[Request], *, connections: int) -> Load:
    """Ask on so many connections, on each as soon as its last answer has come, until all was asked and answered."""
    shared, answers = iter(requests), list[Answer]()
    opened = [_Connection(port) for _ in range(connections)]
    await asyncio.gather(*(connection.open() for connection in opened))

    async def ask(connection: _Connection) -> None:
        for request in shared:
            answers.append(await connection.ask(request))

    began, cpu_began = time.perf_counter(), time.process_time()
    try:
        await asyncio.gather(*map(ask, opened))
        return Load(answers, time.perf_counter() - began, time.process_time() - cpu_began)
    finally:
        for connection in opened:
            connection.close()


async def open_loop(port: int, requests: Iterable[Request], *, per_second: float, connections: int) -> Load:
    """Send at a steady rate, whether or not earlier ones are answered; `connections` are open before it begins.

    A request takes a connection that nobody waits on, or else a new one.
    """
    answers, asking = list[Answer](), set[asyncio.Task[None]]()
    idle = [_Connection(port) for _ in range(connections)]
    opened = list(idle)
    await asyncio.gather(*(connection.open() for connection in opened))

    async def ask(request: Request) -> None:
        if not idle:
            opened.append(_Connection(port))
            idle.append(opened[-1])
        connection = idle.pop()
        answers.append(await connection.ask(request))
        idle.append(connection)

    began, cpu_began = time.perf_counter(), time.process_time()
    try:
        for number, request in enumerate(requests):
            while time.perf_counter() < began + number / per_second:
                await asyncio.sleep(_TICK_S)
            task = asyncio.create_task(ask(request))
            asking.add(task)
            task.add_done_callback(asking.discard)
        await asyncio.gather(*asking)
        return Load(answers, time.perf_counter() - began, time.process_time() - cpu_began)
    finally:
        for connection in opened:
            connection.close()


class _Connection(asyncio.Protocol):
    """One request at a time; opened again where the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answered: asyncio.Future[tuple[int, bool]] | None = None

    async def open(self) -> None:
        """Connect."""
        self._transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, HOST, self._port)

    def close(self) -> None:
        """Let go."""
        if self._transport is not None:
            self._transport.close()

    async def ask(self, request: Request) -> Answer:
        """Send, and wait for the answer."""
        began = time.perf_counter()
        status, says_when = NO_ANSWER, False
        try:
            async with asyncio.timeout(PATIENCE_S):
                if self._transport is None or self._transport.is_closing():
                    await self.open()
                assert self._transport is not None
                self._received.clear()
                self._answered = asyncio.get_running_loop().create_future()
                self._transport.write(request.content)
                status, says_when = await self._answered
        except (OSError, TimeoutError):
            self.close()
        return Answer(request.kind, status, began, time.perf_counter() - began, says_when)

    def data_received(self, data: bytes) -> None:
        """Collect until head and body are there."""
        self._received += data
        end = self._received.find(_HEAD_END)
        if end < 0 or self._answered is None or self._answered.done():
            return
        head = bytes(self._received[:end]).lower()
        length = _LENGTH.search(head)
        if length is None:
            self._answered.set_exception(ConnectionError("an answer without a content-length"))
        elif len(self._received) >= end + len(_HEAD_END) + int(length[1]):
            self._answered.set_result((int(head[9:12]), b"\r\nretry-after:" in head))

    def connection_lost(self, exc: Exception | None) -> None:
        """Who waits, waits in vain."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError("closed before the answer"))
