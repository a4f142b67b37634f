"""Every error in LibreTranslate's shape, `{"error": "..."}`, and never a traceback or a user's text.

What it owns: how refusals and failures look on the wire and in the log. What it must not know: what caused them.
"""

from __future__ import annotations

import logging
import traceback

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    """Make `app` answer refusals (400, 404, 405, 413) in the dialect's shape."""

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


class UnexpectedErrors:
    """Answers 500 for what nobody foresaw, and logs where it happened but not the message, which may quote the text.

    Pure ASGI, because Starlette's own handler for `Exception` raises it again into the server's log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except ClientDisconnect:
            logger.info("client left before its request was complete")
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-6:]))
            logger.error("unexpected error=%s at %s", type(error).__name__, where)
            if not started:
                response = JSONResponse({"error": "Internal server error"}, 500)
                await response(scope, receive, send)
