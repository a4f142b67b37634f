"""What a route handler is given.

What it owns: `Worker`, which ties a request to the translator: its client leaving, its refusal when there is too much.
What it must not know: dialects, engines.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from mtkd.errors import MtkdError
from service.batching import Batch, Busy
from service.engines.base import Engine
from service.models import Models, loader
from service.settings import Settings
from service.translation import Options, StreamedSegment, Translation
from service.translator import Translator

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Worker:
    """Translates for the requests of one app. `observe` is told of every batch, `spent` of a request's time in them."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        observe: Callable[[Batch], None] = lambda batch: None,
        spent: Callable[[float], None] = lambda decoding_s: None,
    ) -> None:
        self.settings = settings
        self.models = Models(engine, loader(engine.name, settings))
        self.translator = Translator(self.models, settings, observe=observe, spent=spent)
        self._gone: Callable[[], Awaitable[None]] | None = None

    @property
    def engine(self) -> Engine:
        """The engine that serves now."""
        return self.models.current

    @property
    def waiting(self) -> int:
        """Segments that wait for the engine."""
        return self.translator.batcher.waiting

    @property
    def is_full(self) -> bool:
        """Whether large requests are refused for now."""
        return self.translator.batcher.is_full

    def watching(self, gone: Callable[[], Awaitable[None]]) -> Worker:
        """The same worker for one request, whose work is given up as soon as `gone` returns."""
        bound = copy.copy(self)
        bound._gone = gone
        return bound

    async def translate(self, texts: Sequence[str]) -> list[str]:
        """One translation a text, in order; `translate_full` without the details."""
        return [translation.text for translation in await self.translate_full(texts)]

    async def translate_full(self, texts: Sequence[str], options: Options | None = None) -> list[Translation]:
        """One translation a text, in order.

        Raises:
            HTTPException: 429 with `Retry-After` when too much waits, 503 when the work took too long.
            ClientDisconnect: nobody waits for the answer; what had not reached the engine never does.
        """
        return await self._run(self.translator.translate(texts, options or Options()))

    async def stream(
        self, texts: Sequence[str], options: Options | None = None
    ) -> AsyncGenerator[list[StreamedSegment]]:
        """As `Translator.stream`; raises as `translate_full`."""
        async with aclosing(self.translator.stream(texts, options or Options())) as batches:
            while (batch := await self._run(anext(batches, None))) is not None:
                yield batch

    async def swap(self, bundle: Path) -> bool:
        """As `Models.swap`."""
        return await self.models.swap(bundle)

    async def try_swap(self, bundle: Path) -> None:
        """Swap and log; a bundle that cannot serve changes nothing."""
        try:
            if not await self.swap(bundle):
                logger.info("model not swapped: %s serves already", self.engine.digest)
        except MtkdError as error:
            logger.error("model not swapped: %s", error)

    async def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Work of a request, given up when nobody waits for it."""
        try:
            return await self._while_wanted(work)
        except Busy as busy:
            message = f"Too many requests: try again in {busy.retry_after_s} s"
            raise HTTPException(429, message, headers={"Retry-After": str(busy.retry_after_s)}) from None
        except TimeoutError:
            limit = f"{self.settings.deadline_s:g} s"
            raise HTTPException(503, f"The translation took longer than {limit}: send less text at a time") from None

    async def _while_wanted(self, work: Coroutine[Any, Any, Result]) -> Result:
        if self._gone is None:
            return await work
        # In the request's own task: a refusal must not wait for turns of the event loop, which overload makes long.
        wanted = asyncio.timeout(None)
        leaving = asyncio.ensure_future(_end(wanted, when=self._gone))
        try:
            async with wanted:
                return await work
        except TimeoutError:
            if wanted.expired():
                raise ClientDisconnect from None
            raise
        finally:
            leaving.cancel()


async def _end(timeout: asyncio.Timeout, *, when: Callable[[], Awaitable[None]]) -> None:
    await when()
    timeout.reschedule(asyncio.get_running_loop().time())


async def get_worker(request: Request) -> Worker:
    """The worker that `create_app` put into this app, for this request: its body must have been read.

    Asynchronous, because FastAPI calls a plain function in a thread.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    worker: Worker = request.app.state.worker
    return worker.watching(gone)


WorkerDep = Annotated[Worker, Depends(get_worker)]
