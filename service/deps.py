"""What a route handler is given.

What it owns: `Worker`, the one bridge between the event loop and the engine. What it must not know: dialects.
Why one thread: the engine already uses every CPU for a call, so a second call beside it would only make both slow.
CTranslate2 releases the interpreter lock while it computes, so the loop answers other requests meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from service.engines.base import Engine
from service.segment import translate_texts
from service.settings import Settings


class Worker:
    """Runs the engine, one call at a time, in the order of arrival."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self._one_at_a_time = CapacityLimiter(1)

    async def translate(self, texts: Sequence[str]) -> list[str]:
        """One translation a text, in order, without blocking the event loop."""
        return await to_thread.run_sync(translate_texts, self.engine, texts, limiter=self._one_at_a_time)


def get_worker(request: Request) -> Worker:
    """The worker that `create_app` put into this app."""
    worker: Worker = request.app.state.worker
    return worker


WorkerDep = Annotated[Worker, Depends(get_worker)]
