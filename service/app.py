"""The application: an engine, the settings, and every row of `ROUTERS`.

What it owns: how the parts are put together. What it must not know: dialects, models, ports.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware

from mtkd import __version__
from service.access import Access, Accounting
from service.engines.base import Engine
from service.errors import UnexpectedErrors, add_error_handlers
from service.limits import RequestLimits, SecurityHeaders
from service.metrics import MeasuredWorker, Metrics
from service.observation import Observation
from service.routes import ROUTERS
from service.routes.docs import WEB
from service.routes.operations import Readiness
from service.settings import Settings


def create_app(engine: Engine, settings: Settings) -> FastAPI:
    """The service for one engine; as many as wanted in one process, since nothing is global."""
    access = Access(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await worker.translator.warm_up()
        try:
            yield
        finally:
            access.close()

    app = FastAPI(
        lifespan=lifespan,
        title="mtkd",
        summary=f"Translates {engine.source_lang} to {engine.target_lang}; native, DeepL, LibreTranslate, Google",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat the query string, and with it the text, in a header.
        redirect_slashes=False,
    )
    metrics = Metrics()
    app.state.metrics = metrics
    worker = MeasuredWorker(engine, settings, metrics)
    app.state.worker = worker
    app.state.access = access
    app.state.readiness = Readiness(is_full=lambda: worker.is_full)
    dialects = {}
    for name, router in ROUTERS.items():
        app.include_router(router)
        dialects.update({route.path: name for route in router.routes if hasattr(route, "path")})
    app.mount("/web", StaticFiles(directory=WEB), name="web")
    add_error_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(Accounting, access=access)
    app.add_middleware(RequestLimits, max_bytes=settings.max_body_bytes, timeout_s=settings.request_timeout_s)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "X-Request-ID"],
            expose_headers=["X-Request-ID", "X-Trace-ID", "Server-Timing", "Retry-After"],
            max_age=86_400,
        )
    app.add_middleware(UnexpectedErrors)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Observation, metrics=metrics, dialects=dialects)
    return app
