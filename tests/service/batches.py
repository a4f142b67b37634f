"""A queue, an engine that tells what it was asked, and requests, for the tests of batching."""

from __future__ import annotations

import asyncio
import threading
import time

from service.batching import Batcher
from service.engines.base import Decoding, Hypothesis
from service.engines.echo import EchoEngine

GREEDY, WIDE = Decoding(beam=1), Decoding(beam=4)


class Recording(EchoEngine):
    """An echo in capitals that keeps its calls, fails at `bad` segments, takes its time, and can be held."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.calls: list[list[str]] = []
        self.open = threading.Event()
        self.open.set()

    def translate(self, segments, decoding):
        self.calls.append(list(segments))
        assert self.open.wait(10)
        time.sleep(self.seconds)
        if any(segment.startswith("bad") for segment in segments):
            raise RuntimeError("bad segment")
        return [[Hypothesis(f"{segment.upper()} {decoding.beam}", 0.0, truncated=False)] for segment in segments]


def batcher(*, batch=20, queue=10_000, workers=1, observe=lambda batch: None) -> Batcher:
    return Batcher(max_batch_tokens=batch, max_queue_tokens=queue, workers=workers, observe=observe)


async def ask(queue: Batcher, engine: Recording, segments, decoding=GREEDY):
    """What a request does; exceptions come back as values."""
    with queue.admit(engine, segments) as job:
        answers = await asyncio.gather(*(job.decode(segment, decoding) for segment in segments), return_exceptions=True)
    return [answer if isinstance(answer, BaseException) else answer[0].text for answer in answers]


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)
