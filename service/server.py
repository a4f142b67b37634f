"""From a bundle to a listening server.

What it owns: the process: socket, log, signals, shutdown. What it must not know: routes, how an engine translates.
Why one process: the model is not fork-safe and already uses every CPU (`MTKD_THREADS`).
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from mtkd.bundle import ModelBundle
from mtkd.errors import UsageError
from service.app import create_app
from service.engines import ENGINES
from service.engines.base import Engine
from service.settings import Settings

logger = logging.getLogger(__name__)

SHUTDOWN_S = 25
"""Admitted requests get so long to finish after SIGTERM; Kubernetes kills after 30."""


def serve(bundle: Path, settings: Settings) -> None:
    """Verify and load the bundle, then serve it until SIGTERM or SIGINT.

    Raises:
        BundleError: the bundle is incomplete, altered or cannot be loaded; nothing was started.
        UsageError: the address is taken or not ours.
    """
    opened = ModelBundle.open(bundle)
    beam = opened.manifest.beam if settings.beam is None else settings.beam
    settings = settings.model_copy(update={"beam": beam})
    run(ENGINES["ctranslate2"](opened, settings), settings)


def run(engine: Engine, settings: Settings) -> None:
    """Serve a loaded engine until SIGTERM or SIGINT; admitted requests are finished first.

    Raises:
        UsageError: the address is taken or not ours.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    config = uvicorn.Config(
        create_app(engine, settings),
        # An access log would hold the query string, and with it the text.
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    with _listen(settings.host, settings.port) as listener:
        # uvicorn shuts down, then raises the signal again: after a graceful end the exit code is 0.
        signal.signal(signal.SIGTERM, _end)
        try:
            _Server(config, lambda: _log_start(engine, settings, listener)).run(sockets=[listener])
        except KeyboardInterrupt:
            logger.info("interrupted")


class _Server(uvicorn.Server):
    """Says where it listens only once signals are its own: one that came before would tear down a half-made loop."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self._on_start()


def _log_start(engine: Engine, settings: Settings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    values = " ".join(f"{name}={value}" for name, value in settings if name not in ("host", "port"))
    pair = f"{engine.source_lang}-{engine.target_lang}"
    logger.info("engine=%s digest=%s languages=%s %s", engine.name, engine.digest, pair, values)
    logger.info("listening on http://%s:%d (docs at /docs)", f"[{host}]" if ":" in host else host, port)


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
