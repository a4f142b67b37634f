"""The model that serves now, and how another one takes its place.

What it owns: what a model must show before it may serve, and the swap. What it must not know: requests, signals.
Why nothing waits for a swap: a request keeps the model it began with, so the old one goes when its last request does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from anyio import to_thread

from mtkd.bundle import ModelBundle
from mtkd.errors import BundleError
from service.engines import ENGINES
from service.engines.base import Engine
from service.settings import Settings

logger = logging.getLogger(__name__)

CANARY = "Hello, this is a test."
"""Any model makes something of it."""


def check(engine: Engine) -> None:
    """Let the engine translate, since some models load and yet say nothing; its first call is also its slowest.

    Raises:
        BundleError: it translates a plain sentence to nothing.
    """
    ((best, *_),) = engine.translate([CANARY], engine.decoding)
    if not best.text.strip():
        raise BundleError(f"model {engine.digest} translates a test sentence to nothing; train or export it again")


class Models:
    """Holds the engine that serves; `load` makes another from a bundle's folder for `swap`."""

    def __init__(self, engine: Engine, load: Callable[[Path], Engine]) -> None:
        self.current = engine
        self._load = load
        self._swapping = asyncio.Lock()

    async def swap(self, bundle: Path) -> bool:
        """Verify, load, warm and check the bundle, then serve it from the next request on; False if it serves already.

        Raises:
            MtkdError: it cannot be loaded, translates nothing or another language pair; the old one goes on serving.
        """
        async with self._swapping:
            old = self.current
            engine = await to_thread.run_sync(self._load, bundle)
            if engine.digest == old.digest:
                return False
            pairs = [(engine.source_lang, engine.target_lang), (old.source_lang, old.target_lang)]
            if pairs[0] != pairs[1]:
                wanted, served = ("-".join(pair) for pair in pairs)
                raise BundleError(f"{bundle}: translates {wanted}, this server {served}; start another server for it")
            await to_thread.run_sync(check, engine)
            self.current = engine
        logger.info("model swapped digest=%s before=%s", engine.digest, old.digest)
        return True


def loader(engine: str, settings: Settings) -> Callable[[Path], Engine]:
    """How an engine of the same kind is made from another bundle."""
    # Resolved first: a link that changes meanwhile must not mix the files of two bundles.
    return lambda bundle: ENGINES[engine](ModelBundle.open(bundle.resolve()), settings)
