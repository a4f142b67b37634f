"""HTTP/1.1 connections with limits on what comes before a request: the size of its headers, and the time they take.

What it owns: `bounded`, uvicorn's httptools protocol with those limits. What it must not know: routes, models.
Why here: an application sees a request only when its headers are complete. httptools is several times faster than
h11 but, unlike it, has no limit of its own: a client could fill the memory, or hold connections open for nothing.
"""

from __future__ import annotations

import json
from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import error_body

_LINGER_S = 2.0
"""So long the rest of a refused request is read and thrown away, so that the client can read why."""


def bounded(*, max_header_bytes: int, timeout_s: float) -> type[HttpToolsProtocol]:
    """A protocol class for `uvicorn.Config(http=...)`.

    More than `max_header_bytes` of request line and headers are 431 (414 if the request line alone is too long);
    headers that are not complete within `timeout_s` seconds are 408, and a connection without a request is closed.
    """
    return type("BoundedProtocol", (_Bounded,), {"max_header_bytes": max_header_bytes, "timeout_s": timeout_s})


class _Bounded(HttpToolsProtocol):
    max_header_bytes: int
    timeout_s: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True
        self._in_body = False
        self._refused = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer(self.timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head and self._timer is None:
            self._start_timer(self.timeout_s)
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self.max_header_bytes and not self._refused:
            self._refuse_size()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.max_header_bytes:
            self._refuse_size()
        if self._refused:
            raise ValueError("refused")
        self._in_head, self._in_body, self._head_bytes = False, True, 0
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._in_body = True, False
        super().on_message_complete()
        if self.cycle.response_complete:
            self._stop_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body:
            self._start_timer(_LINGER_S)

    def send_400_response(self, msg: str) -> None:
        # uvicorn calls this for whatever it cannot parse, and when a callback above has refused.
        self._refuse(400, msg)

    def _refuse_size(self) -> None:
        too_long = len(getattr(self, "url", b"")) > self.max_header_bytes - 256
        what, status = ("URL", 414) if too_long else ("headers", 431)
        self._refuse(status, f"Invalid request: {what} exceed{'s' * too_long} {self.max_header_bytes} bytes")

    def _refuse(self, status: int, message: str) -> None:
        """Answer in the dialect's shape, then read on for a moment without keeping anything."""
        if self._refused:
            return
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            # An earlier request of this connection is being answered; its answer must not be torn apart.
            self.cycle.keep_alive = False
            return
        path = (getattr(self, "url", None) or b"/").decode("latin-1")
        body = json.dumps(error_body(path, status, message)).encode()
        head = [b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close"]
        self.transport.write(STATUS_LINE[status] + b"\r\n".join(head) + b"\r\n\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._start_timer(_LINGER_S)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._time_is_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_is_up(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy:
            self._start_timer(self.timeout_s)
        elif self._head_bytes and self._in_head and not self._refused:
            self._refuse(408, f"Invalid request: headers were not sent within {self.timeout_s:g} seconds")
        else:
            self.transport.close()
