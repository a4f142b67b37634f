"""What `/metrics` counts: requests by dialect and status, batches, tokens, characters, the queue.

What it owns: the metrics' names and labels, one registry an app (nothing global), and the measured engine and worker
that feed them. What it must not know: HTTP, and whatever a user sent: labels are names from our own tables.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder

from service.batching import Batch
from service.deps import Result, Worker
from service.engines.base import Engine
from service.request_ids import RequestRecord, current_request
from service.settings import Settings
from service.translation import Options, StreamedSegment, Translation

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = tuple(2.0**power for power in range(11))
_TOKENS = tuple(2.0**power for power in range(4, 15))


class Metrics:
    """The metrics of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._model = Info("mtkd_model", "The model that answers", registry=self.registry)
        self._seconds = Histogram(
            "mtkd_request_seconds",
            "Time of a request by stage: waiting in the queue, decoding, and in total",
            ["stage", "dialect", "status"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._characters = Counter(
            "mtkd_characters", "Characters of the texts to translate", ["dialect"], registry=self.registry
        )
        self._queue = Gauge("mtkd_queue_length", "Segments that wait for the engine", registry=self.registry)
        self._segments = Histogram(
            "mtkd_batch_segments", "Segments of one call of the engine", buckets=_SIZES, registry=self.registry
        )
        self._tokens = Histogram(
            "mtkd_batch_tokens", "Source tokens of one call of the engine", buckets=_TOKENS, registry=self.registry
        )
        self._batch_seconds = Histogram(
            "mtkd_batch_seconds", "Time of one call of the engine", buckets=_SECONDS, registry=self.registry
        )

    def model(self, engine: Engine) -> None:
        """Name the model that answers from now on."""
        names = ("name", "digest", "source_lang", "target_lang")
        self._model.info({name: getattr(engine, name) for name in names})

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Read the queue's length from `length` whenever metrics are asked for."""
        self._queue.set_function(length)

    def batch(self, *, segments: int, seconds: float, tokens: int | None = None) -> None:
        """One call of the engine; `tokens` are source tokens, where the engine counts them."""
        self._segments.observe(segments)
        self._batch_seconds.observe(seconds)
        if tokens is not None:
            self._tokens.observe(tokens)

    def request(self, record: RequestRecord, *, dialect: str, status: int) -> None:
        """One request that has been answered."""
        for stage, seconds in (*record.stages.items(), ("total", record.elapsed)):
            self._seconds.labels(stage, dialect, str(status)).observe(seconds)
        if record.characters:
            self._characters.labels(dialect).inc(record.characters)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that the `Accept` header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class MeasuredWorker(Worker):
    """A worker that tells how long requests wait for the engine, and how many characters they bring.

    Waiting is all of a call's time that is not decoding: the time until its turn, and the cut into segments.
    """

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        def observe(batch: Batch) -> None:
            metrics.batch(segments=batch.segments, seconds=batch.seconds, tokens=batch.tokens)

        super().__init__(engine, settings, observe=observe, spent=_spent)
        self._metrics = metrics
        metrics.model(engine)
        metrics.watch_queue(lambda: self.waiting)

    async def translate_full(self, texts: Sequence[str], options: Options | None = None) -> list[Translation]:
        """As `Worker.translate_full`."""
        _count(texts)
        return await super().translate_full(texts, options)

    def stream(self, texts: Sequence[str], options: Options | None = None) -> AsyncGenerator[list[StreamedSegment]]:
        """As `Worker.stream`."""
        _count(texts)
        return super().stream(texts, options)

    async def swap(self, bundle: Path) -> bool:
        """As `Worker.swap`."""
        if swapped := await super().swap(bundle):
            self._metrics.model(self.engine)
        return swapped

    async def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        record = current_request()
        if record is None:
            return await super()._run(work)
        begun, decoded = time.perf_counter(), record.stages.get("decode", 0.0)
        try:
            return await super()._run(work)
        finally:
            decoding = record.stages.get("decode", 0.0) - decoded
            record.spend("queue", time.perf_counter() - begun - decoding)


def _count(texts: Sequence[str]) -> None:
    if record := current_request():
        record.characters += sum(map(len, texts))


def _spent(decoding_s: float) -> None:
    if record := current_request():
        record.spend("decode", decoding_s)
