"""Every error in the shape of the dialect that was spoken, and never a traceback or a user's text.

What it owns: how refusals and failures look on the wire and in the log. What it must not know: what caused them.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette._utils import get_route_path
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

Shape = Callable[[int, str], dict[str, Any]]
"""From status and message to the body of an error."""


def _libretranslate(status: int, message: str) -> dict[str, Any]:
    return {"error": message}


def _deepl(status: int, message: str) -> dict[str, Any]:
    return {"message": message}


def _google(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "errors": [{"message": message, "domain": "global"}]}}


SHAPES: dict[str, Shape] = {"/v2/": _deepl, "/v3/": _deepl, "/language/": _google, "/": _libretranslate}
"""By the beginning of a path, the longest first."""


def error_body(path: str, status: int, message: str) -> dict[str, Any]:
    """The body of an error in the dialect that a path belongs to: the one that is routed, without any `root_path`."""
    return next(shape for start, shape in SHAPES.items() if path.startswith(start))(status, message)


def add_error_handlers(app: FastAPI) -> None:
    """Make `app` answer refusals (400, 404, 405, 413) in the dialect's shape."""

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(sorted(_methods(app, request.scope)))
        body = error_body(get_route_path(request.scope), error.status_code, error.detail)
        return JSONResponse(body, error.status_code, headers=headers)


def _methods(app: FastAPI, scope: Scope) -> set[str]:
    """What all routes of this path together allow; Starlette names those of the first one only."""
    routes = (context.original_route for context in iter_route_contexts(app.routes))
    matching = (route for route in routes if route.matches(scope)[0] is not Match.NONE)
    return {method for route in matching for method in getattr(route, "methods", None) or ()}


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
                response = JSONResponse(error_body(get_route_path(scope), 500, "Internal server error"), 500)
                await response(scope, receive, send)
