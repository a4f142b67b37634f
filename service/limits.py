"""Limits and headers that every request meets before any route does; pure ASGI, so that disconnects stay visible.

What it owns: the size of a request body, the security headers. What it must not know: dialects.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Swagger UI sets styles by script, which 'self' allows, and has icons as data: images. Nothing comes from elsewhere.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class BodyLimit:
    """Refuses a body of more than `max_bytes` with 413 as soon as a route reads it, holding none of it."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a `receive` that counts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        seen = 0

        async def count() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if max(seen, int(declared)) > self._max_bytes:
                # Throw a little more away: closing on unread bytes resets the connection before the client reads 413.
                while message.get("more_body") and seen < 2 * self._max_bytes:
                    message = await receive()
                    seen += len(message.get("body", b""))
                raise HTTPException(413, f"Invalid request: body exceeds {self._max_bytes} bytes")
            return message

        await self._app(scope, count, send)


class SecurityHeaders:
    """Adds the content security policy and `nosniff` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a `send` that adds headers."""

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = CONTENT_SECURITY_POLICY
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        await self._app(scope, receive, add)
