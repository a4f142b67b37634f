"""The application: an engine, the settings, and every row of `ROUTERS`.

What it owns: how the parts are put together. What it must not know: dialects, models, ports.
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from service.deps import Worker
from service.engines.base import Engine
from service.errors import UnexpectedErrors, add_error_handlers
from service.limits import BodyLimit, SecurityHeaders
from service.routes import ROUTERS
from service.routes.docs import WEB
from service.settings import Settings


def create_app(engine: Engine, settings: Settings) -> FastAPI:
    """The service for one engine; as many as wanted in one process, since nothing is global."""
    app = FastAPI(
        title="mtkd",
        summary=f"Translates {engine.source_lang} to {engine.target_lang}, in LibreTranslate's dialect",
        version=engine.digest,
        docs_url=None,
        redoc_url=None,
    )
    app.state.worker = Worker(engine, settings)
    for router in ROUTERS.values():
        app.include_router(router)
    app.mount("/web", StaticFiles(directory=WEB), name="web")
    add_error_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(UnexpectedErrors)
    app.add_middleware(SecurityHeaders)
    return app
