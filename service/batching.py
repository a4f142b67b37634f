"""One queue in front of the engine: what several requests want becomes batches, and no request starves another.

What it owns: admission, the order of work, the threads that engines run in, what happens to abandoned work.
What it must not know: texts, placeholders, HTTP.
Why the threads take their batches themselves: the event loop is busy with the answers just when a core needs the next.
Why no delay: what queued while the engine was busy is the next batch, so batches grow with the load by themselves.
Why several batches at a time: a core that decodes a batch alone never waits for another core, as threads that share
a batch do at every layer of every word. What waits is shared out among the idle workers: few segments use them all.
Why fair queueing: each batch takes from the request that was given the fewest tokens so far, and a new one starts level
with the others; so a sentence does not wait for the document that came before it.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import NamedTuple

from service.engines.base import Decoding, Engine, Hypothesis

logger = logging.getLogger(__name__)

_SMOOTHING = 0.2
"""Weight of the last batch in the measured speed."""


class Busy(Exception):
    """Too much waits already; `retry_after_s` is when that should be done."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"busy for {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Batch(NamedTuple):
    """What an observer is told of a call of the engine."""

    segments: int
    tokens: int
    waited_s: float
    """How long its oldest segment had queued."""
    seconds: float


class _Unit(NamedTuple):
    """A segment that waits."""

    job: Job
    segment: str
    tokens: int
    decoding: Decoding
    since: float
    done: asyncio.Future[list[Hypothesis]]


class Job:
    """What one request has in the queue; `with batcher.admit(...) as job`, then `await job.decode(...)` as wanted."""

    def __init__(self, batcher: Batcher, engine: Engine, tokens: Mapping[str, int], expected: int) -> None:
        self.engine = engine
        self.waiting: deque[_Unit] = deque()
        self.expected = expected
        """Tokens that it is still believed to bring."""
        self.served = 0.0
        """Its place in the order: tokens given to it, from where the others stood when it came."""
        self.queued = False
        self.decoding_s = 0.0
        """How long segments of it were in the engine; the rest of its time it waited."""
        self._batches = 0
        self._began = 0.0
        self._tokens = tokens
        self._batcher = batcher

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever still waits never reaches the engine."""
        self._batcher.drop(self)

    async def decode(self, segment: str, decoding: Decoding) -> list[Hypothesis]:
        """The segment's hypotheses.

        Raises:
            Exception: what the engine raised at this segment; other segments of the batch do not suffer.
        """
        done: asyncio.Future[list[Hypothesis]] = asyncio.get_running_loop().create_future()
        tokens = self._tokens.get(segment) or self.engine.tokens(segment)
        unit = _Unit(self, segment, tokens, decoding, time.monotonic(), done)
        self._batcher.put(unit)
        return await done

    def enter_engine(self, now: float) -> None:
        """One more batch with segments of it begins."""
        if not self._batches:
            self._began = now
        self._batches += 1

    def leave_engine(self, now: float) -> None:
        """One of those batches ended."""
        self._batches -= 1
        if not self._batches:
            self.decoding_s += now - self._began


class Batcher:
    """Runs engines, `workers` batches at a time. All methods belong to one event loop; it needs no start or end.

    Up to `max_batch_tokens` go into a batch (a single longer segment goes alone). A request is admitted if at most
    `max_queue_tokens` would be served before it is done. `observe` is told of every batch.
    """

    def __init__(
        self,
        *,
        max_batch_tokens: int,
        max_queue_tokens: int,
        workers: int = 1,
        observe: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        self._workers = workers
        self._max_batch = max_batch_tokens
        self._max_queue = max_queue_tokens
        self._observe = observe
        self._jobs: set[Job] = set()
        self._lock = threading.Lock()
        """For what follows and the jobs' own queues: the event loop fills them, the workers empty them."""
        self._queue: list[tuple[float, int, Job]] = []
        self._order = count()
        self._level = 0.0
        self._waiting_tokens = 0
        self._decoding = 0
        """Batches in an engine now."""
        self._running = 0
        """Workers that will look for another batch."""
        self._starting = False
        self._tokens_per_s: float | None = None
        """Of a worker."""
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="engine")

    @property
    def waiting(self) -> int:
        """Segments in the queue."""
        return sum(len(job.waiting) for job in self._jobs)

    @property
    def is_full(self) -> bool:
        """Whether a request as large as all that are there together would be refused."""
        return sum(job.expected for job in self._jobs) > self._max_queue

    def admit(self, engine: Engine, segments: Sequence[str]) -> Job:
        """A place for a request that brings these segments; it may bring others too, as for a second attempt.

        Raises:
            Busy: too much would be served before it.
        """
        tokens = {segment: engine.tokens(segment) for segment in segments}
        wanted = sum(tokens[segment] for segment in segments)
        # While it is served, each other request gets as many tokens as it does, or fewer if it wants no more.
        before = sum(min(job.expected, wanted) for job in self._jobs)
        if before > self._max_queue:
            speed = self._workers * (self._tokens_per_s or math.inf)
            raise Busy(max(1, math.ceil(before / speed)))
        job = Job(self, engine, tokens, wanted)
        self._jobs.add(job)
        return job

    def put(self, unit: _Unit) -> None:
        """Queue a segment of an admitted request."""
        job = unit.job
        with self._lock:
            job.waiting.append(unit)
            self._waiting_tokens += unit.tokens
            if not job.queued:
                job.served = max(job.served, self._level)
                self._enqueue(job)
        if not self._starting and self._running < self._workers:
            self._starting = True
            loop = asyncio.get_running_loop()
            # In the turn after the next: whoever is awake gets to queue segments for the same batch.
            loop.call_soon(loop.call_soon, self._start, loop)

    def drop(self, job: Job) -> None:
        """Forget a request and what it has in the queue."""
        self._jobs.discard(job)
        with self._lock:
            while job.waiting:
                self._taken_from(job).done.cancel()

    def _taken_from(self, job: Job) -> _Unit:
        unit = job.waiting.popleft()
        self._waiting_tokens -= unit.tokens
        return unit

    def _enqueue(self, job: Job) -> None:
        job.queued = True
        heapq.heappush(self._queue, (job.served, next(self._order), job))

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake as many idle workers as there are segments for."""
        self._starting = False
        with self._lock:
            wanted = min(self._workers - self._running, self.waiting)
            self._running += wanted
        for _ in range(wanted):
            self._threads.submit(self._work, loop)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """One worker, in its thread: serve until nothing waits."""
        while True:
            with self._lock:
                engine, units = self._next_batch()
                if engine is None:
                    self._running -= 1
                    return
                jobs, started = {unit.job for unit in units}, time.monotonic()
                for job in jobs:
                    job.enter_engine(started)
                self._decoding += 1
            answers = _translate(engine, units)
            with self._lock:
                ended = time.monotonic()
                for job in jobs:
                    job.leave_engine(ended)
                self._decoding -= 1
            try:
                loop.call_soon_threadsafe(self._answer, units, answers, started, ended - started)
            except RuntimeError:  # the loop has ended, and with it all who wait
                return

    def _answer(
        self, units: list[_Unit], answers: list[list[Hypothesis] | Exception], started: float, seconds: float
    ) -> None:
        """Tell who waits for a batch, and the observer."""
        for unit, answer in zip(units, answers, strict=True):
            unit.job.expected = max(0, unit.job.expected - unit.tokens)
            if unit.done.done():
                continue
            if isinstance(answer, Exception):
                unit.done.set_exception(answer)
            else:
                unit.done.set_result(answer)
        tokens = sum(unit.tokens for unit in units)
        speed = tokens / max(seconds, 1e-6)
        before = speed if self._tokens_per_s is None else self._tokens_per_s
        self._tokens_per_s = before + _SMOOTHING * (speed - before)
        self._observe(Batch(len(units), tokens, started - min(unit.since for unit in units), seconds))

    def _next_batch(self) -> tuple[Engine | None, list[_Unit]]:
        """The next units by turns, all of one engine and one decoding: an idle worker's share, within the budget."""
        engine: Engine | None = None
        units: list[_Unit] = []
        share = math.ceil(self._waiting_tokens / (self._workers - self._decoding))
        room, others = min(self._max_batch, share), []
        while self._queue:
            _, _, job = heapq.heappop(self._queue)
            job.queued = False
            while job.waiting and job.waiting[0].done.done():
                self._taken_from(job)
            if not job.waiting:
                continue
            unit = job.waiting[0]
            if units and (job.engine is not engine or unit.decoding != units[0].decoding):
                others.append(job)
                continue
            if units and unit.tokens > room:
                others.append(job)
                break
            engine = job.engine
            units.append(self._taken_from(job))
            room -= unit.tokens
            self._level = job.served
            job.served += unit.tokens
            if job.waiting:
                self._enqueue(job)
        for job in others:
            self._enqueue(job)
        return engine, units


def _translate(engine: Engine, units: Sequence[_Unit]) -> list[list[Hypothesis] | Exception]:
    """An answer or an error a unit, in the engine's thread. What fails is halved until the bad ones are alone."""
    try:
        translated = engine.translate([unit.segment for unit in units], units[0].decoding)
        assert len(translated) == len(units)
    except Exception as error:
        if len(units) == 1:
            return [error]
        logger.warning("a batch of %d segments failed (%s); its halves are tried", len(units), type(error).__name__)
        middle = len(units) // 2
        return [*_translate(engine, units[:middle]), *_translate(engine, units[middle:])]
    return list(translated)
