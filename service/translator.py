"""From texts to translations: the path of a segment, with everything that may go wrong on it.

What it owns: the order of cache, placeholders, decoding, second attempts and reassembly, and what a caller is told.
What it must not know: HTTP, dialects, how batches are made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from anyio import to_thread

from service.batching import Batch, Batcher, Job
from service.cache import SegmentCache, cache_key
from service.engines.base import Decoding, Engine, Hypothesis
from service.models import Models
from service.placeholders import Masked, around, keeps, mask, restore, without_kept, without_placeholders
from service.sanity import Pair, badness, flags_of, warm
from service.segment import Segment, sentences, split
from service.settings import Settings
from service.translation import Alternative, Options, StreamedSegment, TranslatedSegment, Translation, assemble, union

_RETRY_NO_REPEAT = 3
_LONG_CHARS = 2_000
"""Texts of more are cut into segments in a thread, since that takes milliseconds."""
_INSPECTED_CHARS = 300
"""Segments of up to so many are inspected in 0.3 ms on the event loop; a thread would be told, woken and waited for."""
_STREAMED_AT_ONCE = 8
"""Segments: few enough for a first line soon, enough to keep the engine busy."""


class _Result(NamedTuple):
    """What is remembered of a segment."""

    hypotheses: tuple[Hypothesis, ...]
    flags: tuple[str, ...]


class Translator:
    """Translates texts with the current model, as many at a time as come. Belongs to one event loop."""

    def __init__(
        self,
        models: Models,
        settings: Settings,
        *,
        observe: Callable[[Batch], None] = lambda batch: None,
        spent: Callable[[float], None] = lambda decoding_s: None,
    ) -> None:
        self.models = models
        self.batcher = Batcher(
            max_batch_tokens=settings.max_batch_tokens,
            max_queue_tokens=settings.max_queue_tokens,
            workers=settings.workers,
            observe=observe,
        )
        self.cache: SegmentCache[_Result] = SegmentCache(settings.cache_chars)
        self._deadline_s = settings.deadline_s
        self._max_alternatives = settings.max_alternatives
        self._spent = spent
        # A long segment's flags take a millisecond of Python. On the event loop, a batch of them that ends would hold
        # up every new request; in many threads, those would take turns before the loop does.
        self._inspector = ThreadPoolExecutor(1, thread_name_prefix="inspector")

    async def warm_up(self) -> None:
        """Do now, in a thread, what the first long translation would wait for."""
        engine = self.models.current
        await to_thread.run_sync(warm, (engine.source_lang, engine.target_lang))

    async def translate(self, texts: Sequence[str], options: Options) -> list[Translation]:
        """One translation a text, in order. Cancelled, it leaves nothing in the queue.

        Raises:
            Busy: too much waits already.
            TimeoutError: it took longer than `settings.deadline_s`.
            Exception: what the engine raised at one of these texts.
        """
        engine = self.models.current
        split_texts, decoding = await self._split(engine, texts), self._decoding(engine, options)
        results, masked = self._remembered(engine, decoding, split_texts)
        with self.batcher.admit(engine, [mask.text for mask in masked.values()]) as job:
            results |= await self._results(job, decoding, masked)
        return [
            assemble(text, [_translated(segment, results) for segment in segments], engine.digest)
            for text, segments in zip(texts, split_texts, strict=True)
        ]

    async def stream(self, texts: Sequence[str], options: Options) -> AsyncGenerator[list[StreamedSegment]]:
        """The segments in order, as many together as are done together, and more only when those were taken.

        Raises:
            Busy, TimeoutError, Exception: as `translate`; only each step has a deadline, since a reader sees progress.
        """
        engine = self.models.current
        split_texts, decoding = await self._split(engine, texts), self._decoding(engine, options)
        results, masked = self._remembered(engine, decoding, split_texts)
        numbered = ((text, number, part) for text, parts in enumerate(split_texts) for number, part in enumerate(parts))
        with self.batcher.admit(engine, [mask.text for mask in masked.values()]) as job:
            while batch := list(islice(numbered, _STREAMED_AT_ONCE)):
                new = {part.text: masked[part.text] for _, _, part in batch if part.text not in results and part.text}
                results |= await self._results(job, decoding, new)
                yield [
                    StreamedSegment(text, number, _translated(part, results), engine.digest)
                    for text, number, part in batch
                ]

    async def _split(self, engine: Engine, texts: Sequence[str]) -> list[list[Segment]]:
        """The segments of each text."""
        if sum(map(len, texts)) > _LONG_CHARS:
            return await to_thread.run_sync(_split, engine, texts)
        return _split(engine, texts)

    def _decoding(self, engine: Engine, options: Options) -> Decoding:
        usual = engine.decoding
        n_best = 1 + min(options.alternatives, self._max_alternatives)
        return replace(usual, beam=max(n_best, usual.beam), n_best=n_best)

    def _remembered(
        self, engine: Engine, decoding: Decoding, split_texts: Iterable[Iterable[Segment]]
    ) -> tuple[dict[str, _Result], dict[str, Masked]]:
        """By source: what the cache knows, and what must be decoded, each once."""
        sources = dict.fromkeys(segment.text for segments in split_texts for segment in segments if segment.text)
        keys = {source: cache_key(engine.digest, decoding, source) for source in sources}
        results = {source: found for source, key in keys.items() if (found := self.cache.get(key))}
        return results, {source: _mask(engine, source) for source in sources if source not in results}

    async def _results(self, job: Job, decoding: Decoding, masked: dict[str, Masked]) -> dict[str, _Result]:
        """A result a source, from the engine."""
        if not masked:
            return {}
        before_s = job.decoding_s
        try:
            async with asyncio.timeout(self._deadline_s):
                paths = (
                    _Path(job, decoding, source, mask, self._inspector).result() for source, mask in masked.items()
                )
                results = dict(zip(masked, await asyncio.gather(*paths), strict=True))
        finally:
            self._spent(job.decoding_s - before_s)
        for source, result in results.items():
            chars = sum(len(hypothesis.text) for hypothesis in result.hypotheses)
            self.cache.put(cache_key(job.engine.digest, decoding, source), result, chars=chars)
        return results


class _Path(NamedTuple):
    """The way of one segment through the engine."""

    job: Job
    decoding: Decoding
    source: str
    masked: Masked
    inspector: Executor

    async def result(self) -> _Result:
        """Its best translation; a second one with other settings is made where the first looks wrong."""
        first = await self._attempt(self.decoding)
        if not first:
            return await self._around()
        flags = await self._inspect(first[0])
        if flags:
            second = await self._attempt(_other(self.decoding))
            if second and badness(second_flags := await self._inspect(second[0])) < badness(flags):
                first, flags = second, second_flags
        return _Result(tuple(first), flags)

    async def _attempt(self, decoding: Decoding) -> list[Hypothesis]:
        """The hypotheses that have everything that must be kept, masked first, else as text; maybe none."""
        if self.masked.kept:
            if not _has_words(self.masked.text):
                return [Hypothesis(self.source, 0.0, truncated=False)]
            found = await self.job.decode(self.masked.text, decoding)
            restored = [(hypothesis, restore(hypothesis.text, self.masked)) for hypothesis in found]
            if whole := [hypothesis._replace(text=text) for hypothesis, text in restored if text is not None]:
                return whole
            if not self.job.engine.fits(self.source):
                return []
        found = await self.job.decode(self.source, decoding)
        return [hypothesis for hypothesis in found if keeps(hypothesis.text, self.source)]

    async def _around(self) -> _Result:
        """The stretches between kept strings, each translated by itself."""
        pairs = around(self.source)
        stretches = await asyncio.gather(*(self._stretch(stretch) for stretch, _ in pairs))
        text = "".join(stretch.text + kept for stretch, (_, kept) in zip(stretches, pairs, strict=True))
        flags = [self._flags(found, stretch) for found, (stretch, _) in zip(stretches, pairs, strict=True)]
        return _Result((_join(text, stretches),), union(flags))

    async def _stretch(self, stretch: str) -> Hypothesis:
        engine, best = self.job.engine, replace(self.decoding, n_best=1)
        segments = split(stretch, engine.source_lang, engine.fits)
        found = await asyncio.gather(*(self.job.decode(part.text, best) for part in segments if part.text))
        outputs = iter(found)
        texts = (part.before + (next(outputs)[0].text if part.text else "") + part.after for part in segments)
        return _join("".join(texts), [hypotheses[0] for hypotheses in found])

    async def _inspect(self, hypothesis: Hypothesis) -> tuple[str, ...]:
        if max(len(self.source), len(hypothesis.text)) <= _INSPECTED_CHARS:
            return self._flags(hypothesis)
        return await asyncio.get_running_loop().run_in_executor(self.inspector, self._flags, hypothesis)

    def _flags(self, hypothesis: Hypothesis, source: str | None = None) -> tuple[str, ...]:
        languages = (self.job.engine.source_lang, self.job.engine.target_lang)
        bare = hypothesis._replace(text=without_kept(hypothesis.text))
        return flags_of(Pair(without_kept(self.source if source is None else source), bare, languages))


def _split(engine: Engine, texts: Sequence[str]) -> list[list[Segment]]:
    """The segments of each text; what a placeholder stands for does not count towards a segment's length."""

    def fits(part: str) -> bool:
        return engine.fits(_mask(engine, part).text)

    return [sentences(split(without_placeholders(text), engine.source_lang, fits)) for text in texts]


def _mask(engine: Engine, segment: str) -> Masked:
    return mask(segment, symbols=engine.placeholders) if engine.placeholders else Masked(segment, ())


def _join(text: str, parts: Sequence[Hypothesis]) -> Hypothesis:
    """A text made of parts is as good as the worst of them."""
    return Hypothesis(text, min((part.score for part in parts), default=0.0), any(part.truncated for part in parts))


def _has_words(text: str) -> bool:
    return any(map(str.isalnum, text))


def _other(decoding: Decoding) -> Decoding:
    """Settings for a second attempt: loops forbidden, and a beam that makes other mistakes."""
    beam = max(decoding.n_best, 4 if decoding.beam < 4 else 2)
    return replace(decoding, beam=beam, no_repeat_ngram_size=_RETRY_NO_REPEAT)


def _translated(segment: Segment, results: dict[str, _Result]) -> TranslatedSegment:
    before, text, after = segment
    if not text:
        return TranslatedSegment(before, "", "", after)
    (best, *others), flags = results[text]
    alternatives = tuple(Alternative(other.text, other.score) for other in others)
    return TranslatedSegment(before, text, best.text, after, best.score, alternatives, flags)
