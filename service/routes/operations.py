"""What machines ask about the process: `/livez`, `/readyz`, `/metrics`.

What it owns: the three addresses and `Readiness`. What it must not know: dialects, models.
Why these names: under `/v2/health`, as model servers have it, they would stand in the middle of DeepL's dialect.
They ask for no key: an orchestrator has none. `/metrics` can have a token of its own.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from service.metrics import Metrics
from service.settings import Settings

router = APIRouter(include_in_schema=False)


@dataclass
class Readiness:
    """Whether new requests should be sent here; the server sets `leaving` when it is told to end."""

    is_full: Callable[[], bool]
    leaving: bool = False

    @property
    def status(self) -> str:
        """`ready`, or why not: `shutting down`, `busy`. (While a model is loaded, `service.server` says `loading`.)"""
        if self.leaving:
            return "shutting down"
        return "busy" if self.is_full() else "ready"


@router.get("/livez")
async def livez() -> JSONResponse:
    """The process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """The model is loaded, the queue is not full, and the process is not about to end; else 503."""
    readiness: Readiness = request.app.state.readiness
    return JSONResponse({"status": readiness.status}, 200 if readiness.status == "ready" else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus' text or OpenMetrics, as the scraper asks."""
    settings: Settings = request.app.state.worker.settings
    if settings.metrics_token is not None:
        wanted = f"Bearer {settings.metrics_token.get_secret_value()}"
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), wanted.encode()):
            raise HTTPException(401, "This address asks for a bearer token", headers={"www-authenticate": "Bearer"})
    measured: Metrics = request.app.state.metrics
    content, content_type = measured.exposition(request.headers.get("accept", ""))
    return Response(content, headers={"content-type": content_type})
