"""Limits and headers that every request meets before any route does; pure ASGI, so that disconnects stay visible.

What it owns: the size, nesting and sending time of a request body, the length of a path, the security headers.
What it must not know: dialects. (The size and sending time of headers are `service.protocol`'s: no ASGI
application sees a request before its headers are complete.)
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import error_body

# Swagger UI sets styles by script, which 'self' allows, and has icons as data: images. Nothing comes from elsewhere.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY = [
    (b"content-security-policy", _CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
"""Headers that no route sets."""
MAX_PATH_BYTES = 2_048
"""Of the path alone; no route of ours is near it."""
MAX_JSON_DEPTH = 32
"""Brackets in brackets; no dialect needs more than four."""


class RequestLimits:
    """Refuses what is too large, too deep or too slow, as soon as that is known, holding none of it.

    A path of more than `MAX_PATH_BYTES` is 414, a body of more than `max_bytes` 413, JSON of more than
    `MAX_JSON_DEPTH` levels 400, and a body that takes more than `timeout_s` seconds to arrive 408.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a `receive` that counts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if len(scope["path"].encode()) > MAX_PATH_BYTES:
            await self._refuse(414, f"path exceeds {MAX_PATH_BYTES} bytes", scope, receive, send)
            return
        headers = Headers(scope=scope)
        nesting = Nesting() if "json" in headers.get("content-type", "") else None
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        too_large = f"body exceeds {self._max_bytes} bytes"
        # Once an answer is on its way, a reader only waits for a disconnect, and nothing can be refused any more.
        unlimited, seen = False, 0

        async def count() -> Message:
            nonlocal unlimited, seen
            if unlimited:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
                    seen += len(message.get("body", b""))
                    if seen > self._max_bytes and not unlimited:
                        if message.get("more_body"):
                            await self._drain(receive)
                        raise HTTPException(413, f"Invalid request: {too_large}")
            except TimeoutError:
                if unlimited:
                    return await receive()
                text = f"Invalid request: body was not sent within {self._timeout_s:g} seconds"
                raise HTTPException(408, text, headers={"connection": "close"}) from None
            if nesting and not unlimited and nesting.feed(message.get("body", b"")) > MAX_JSON_DEPTH:
                raise HTTPException(400, "Invalid JSON format")
            unlimited = unlimited or not message.get("more_body")
            return message

        async def watch(message: Message) -> None:
            nonlocal unlimited
            unlimited = True
            await send(message)

        if int(headers.get("content-length", "0")) > self._max_bytes:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._drain(receive)
            await self._refuse(413, too_large, scope, receive, send)
            return
        await self._app(scope, count, watch)

    async def _drain(self, receive: Receive) -> None:
        """Throw some away: closing on unread bytes resets the connection before the client reads the refusal."""
        seen = 0
        while seen < 2 * self._max_bytes:
            message = await receive()
            seen += len(message.get("body", b""))
            if not message.get("more_body"):
                break

    async def _refuse(self, status: int, why: str, scope: Scope, receive: Receive, send: Send) -> None:
        body = error_body(get_route_path(scope), status, f"Invalid request: {why}")
        await JSONResponse(body, status)(scope, receive, send)


class Nesting:
    """How deep the brackets of JSON are nested, told while it arrives; brackets in strings do not count."""

    _TOKENS = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._rest = b""

    def feed(self, chunk: bytes) -> int:
        """The greatest depth in this chunk, the next part of the JSON."""
        data = self._rest + chunk
        # A backslash at the end of a chunk escapes what the next one begins with.
        self._rest = b"\\" if (len(data) - len(data.rstrip(b"\\"))) % 2 else b""
        greatest = self._depth
        for token in self._TOKENS.findall(data.removesuffix(self._rest)):
            if token == b'"':
                self._in_string = not self._in_string
            elif self._in_string:
                continue
            elif token in b"[{":
                self._depth += 1
                greatest = max(greatest, self._depth)
            elif token in b"]}":
                self._depth -= 1
        return greatest


class SecurityHeaders:
    """Adds the content security policy, `nosniff` and `no-referrer` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a `send` that adds headers."""

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_SECURITY]
            await send(message)

        await self._app(scope, receive, add)
