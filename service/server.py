"""From a bundle to a listening server.

What it owns: the process: socket, log, signals, shutdown. What it must not know: routes, how an engine translates.
Why one process: the model is not fork-safe and already uses every CPU (`MTKD_THREADS`).
Why it listens before the model is loaded: `/livez` and a 503 tell an orchestrator more than a refused connection.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mtkd.errors import UsageError
from service import logs
from service.app import create_app
from service.deps import Worker
from service.engines.base import Engine
from service.errors import error_body
from service.models import check, loader
from service.protocol import bounded
from service.settings import Settings, shown

logger = logging.getLogger(__name__)

SHUTDOWN_S = 25
"""Admitted requests get so long to finish after SIGTERM (and `MTKD_SHUTDOWN_DELAY_S`); Kubernetes kills after 30."""
_YOUNG_OBJECTS = 20_000
"""New objects that the garbage collector waits for: a few MB at most that would have been free earlier."""


def serve(bundle: Path, settings: Settings) -> None:
    """Verify and load the bundle, then serve it until SIGTERM or SIGINT; SIGHUP serves what is at its path by then.

    Raises:
        BundleError: the bundle is incomplete, altered or cannot be loaded; nothing was translated.
        UsageError: the address is taken or not ours.
    """

    def load() -> Engine:
        engine = loader("ctranslate2", settings)(bundle)
        check(engine)
        return engine

    run_when_loaded(load, settings, bundle=bundle)


def run(engine: Engine, settings: Settings) -> None:
    """Serve a loaded engine until SIGTERM or SIGINT; admitted requests are finished first.

    Raises:
        UsageError: the address is taken or not ours.
    """
    run_when_loaded(lambda: engine, settings)


def run_when_loaded(load: Callable[[], Engine], settings: Settings, *, bundle: Path | None = None) -> None:
    """Listen, call `load` in a thread, then serve what it returns until SIGTERM or SIGINT; raises what it raises.

    `bundle` is what SIGHUP loads anew: a folder, or a link that points to another one by then.
    """
    logs.configure(settings.log_format)
    gate = _Gate()
    with _listen(settings.host, settings.port) as listener:
        server = _Server(uvicorn_config(gate, settings), gate, load, settings, bundle, listener)
        # uvicorn shuts down, then raises the signal again: after a graceful end the exit code is 0.
        signal.signal(signal.SIGTERM, _end)
        # Until the model is loaded: it is being read already.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            logger.info("interrupted")
    if server.failure is not None:
        raise server.failure


def uvicorn_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves an app of ours: one process, httptools within limits, no log of its own."""
    return uvicorn.Config(
        app,
        http=bounded(max_header_bytes=settings.max_header_bytes, timeout_s=settings.request_timeout_s),
        ws="none",
        lifespan="off",
        # An access log would hold the query string, and with it the text.
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


class _Gate:
    """Stands where the app will be, until the model is loaded: alive, not ready."""

    app: FastAPI | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 503."""
        if self.app is not None:
            await self.app(scope, receive, send)
        elif scope["path"] == "/livez":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        else:
            body = error_body(scope["path"], 503, "The model is being loaded")
            body = {"status": "loading"} if scope["path"] == "/readyz" else body
            await JSONResponse(body, 503, headers={"retry-after": "1"})(scope, receive, send)


class _Server(uvicorn.Server):
    """Listens, then loads and opens the gate; at the end closes it only when what was admitted is answered."""

    def __init__(
        self,
        config: uvicorn.Config,
        gate: _Gate,
        load: Callable[[], Engine],
        settings: Settings,
        bundle: Path | None,
        listener: socket.socket,
    ) -> None:
        super().__init__(config)
        self.failure: Exception | None = None
        self._gate = gate
        self._load = load
        self._settings = settings
        self._bundle = bundle
        self._listener = listener
        self._swaps: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and begin to load."""
        await super().startup(sockets)
        logger.info("loading; /livez answers on %s", _url(self._listener))
        self._holding = asyncio.create_task(self._hold_app())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take requests for `MTKD_SHUTDOWN_DELAY_S` more, finish them, then let the app go."""
        until = time.monotonic() + (self._settings.shutdown_delay_s if self._gate.app else 0)
        while time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)
        self._ended.set()
        await self._holding

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Be unready at once."""
        if self._gate.app is not None:
            self._gate.app.state.readiness.leaving = True
        super().handle_exit(sig, frame)

    async def _hold_app(self) -> None:
        """Load, then keep the app's lifespan open until the end: in one task, as its context managers want."""
        try:
            engine = await asyncio.to_thread(self._load)
            app = create_app(engine, self._settings)
            async with app.router.lifespan_context(app):
                # What is there by now stays: a full collection would walk it, with every request waiting meanwhile.
                gc.collect()
                gc.freeze()
                # Requests leave few cycles. Every 700 objects, as by default, the search for them takes a tenth of the
                # event loop's time.
                gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
                self._gate.app = app
                _log_start(engine, self._settings, self._listener)
                if self._bundle is not None:
                    swap = partial(self._swap, app.state.worker, self._bundle)
                    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, swap)
                await self._ended.wait()
        except Exception as error:
            self.failure = error
            self.should_exit = True

    def _swap(self, worker: Worker, bundle: Path) -> None:
        """Load what is at the path by now, beside the requests."""
        task = asyncio.create_task(worker.try_swap(bundle))
        self._swaps.add(task)
        task.add_done_callback(self._swaps.discard)


def _log_start(engine: Engine, settings: Settings, listener: socket.socket) -> None:
    pair = f"{engine.source_lang}-{engine.target_lang}"
    model = {"engine": engine.name, "digest": engine.digest, "languages": pair}
    logger.info("loaded", extra={"fields": model})
    logger.info("settings", extra={"fields": shown(settings) | {"beam": str(engine.decoding.beam)}})
    logger.info("listening on %s (docs at /docs)", _url(listener))


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; set another MTKD_HOST or MTKD_PORT"
        ) from None


def _end(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
