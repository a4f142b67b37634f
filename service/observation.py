"""The outermost middleware: every request gets an id and its times in the answer, a line in the log, and is counted.

What it owns: the line of a request, the headers `X-Request-ID`, `X-Trace-ID` and `Server-Timing`.
What it must not know: what was asked. Paths are logged as templates and without the query string; a user's text, key
or address appears nowhere.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from starlette._utils import get_route_path
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.request_ids import RequestRecord, request_id_from, serving

logger = logging.getLogger("service.requests")

CLIENT_LEFT = 499
"""The status of a request that nobody waited for, as nginx writes it; it never goes over the wire."""
DEEPL_PATHS = ("/v2/", "/v3/")
"""Under these, official clients read `X-Trace-ID`."""
PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked every few seconds: in the log only if refused."""
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Observation:
    """Opens and closes a `RequestRecord` around every request; the outermost middleware, so that it sees all answers.

    `dialects` maps a route's template to the name of its row in `ROUTERS`.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, dialects: Mapping[str, str]) -> None:
        self._app = app
        self._metrics = metrics
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(request_id_from(Headers(scope=scope)))
        status = CLIENT_LEFT

        async def add(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = record.request_id
                headers["server-timing"] = _server_timing(record)
                if get_route_path(scope).startswith(DEEPL_PATHS):
                    headers["x-trace-id"] = record.trace_id
            await send(message)

        with serving(record):
            try:
                await self._app(scope, receive, add)
            finally:
                self._close(scope, record, status)

    def _close(self, scope: Scope, record: RequestRecord, status: int) -> None:
        template = route_template(scope)
        dialect = self._dialects.get(template, "none")
        self._metrics.request(record, dialect=dialect, status=status)
        fields = {
            "method": scope["method"] if scope["method"] in _METHODS else "other",
            "route": template,
            "dialect": dialect,
            "status": status,
            "ms": round(1000 * record.elapsed, 1),
            **{f"{stage}_ms": round(1000 * seconds, 1) for stage, seconds in record.stages.items()},
            "characters": record.characters,
        }
        if dialect == "deepl":
            fields["trace_id"] = record.trace_id
        quiet = template in PROBES and status < 400
        logger.log(logging.DEBUG if quiet else logging.INFO, "request", extra={"fields": fields})


def route_template(scope: Scope) -> str:
    """The path as its route writes it (`/v2/glossaries/{id}`); a path without a route is never told."""
    return getattr(scope.get("route"), "path", None) or "none"


def _server_timing(record: RequestRecord) -> str:
    times = {**record.stages, "total": record.elapsed}
    return ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in times.items())
