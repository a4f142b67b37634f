"""What a request may choose, and what it is told of a translation.

What it owns: `Options`, `Translation` and its parts, and how a text's is put together from its segments'.
What it must not know: engines, HTTP, how a segment is translated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from service.sanity import FLAGS


@dataclass(frozen=True)
class Options:
    """What a request may choose."""

    alternatives: int = 0
    """Other translations wanted; the settings' `max_alternatives` is the most that are given."""


class Alternative(NamedTuple):
    """Another translation of a segment."""

    translation: str
    score: float


class TranslatedSegment(NamedTuple):
    """`before + translation + after` of all segments, joined, are the text's translation."""

    before: str
    source: str
    """Empty where nothing is translated."""
    translation: str
    after: str
    score: float | None = None
    """Log-probability a subword; None where nothing was decoded."""
    alternatives: tuple[Alternative, ...] = ()
    flags: tuple[str, ...] = ()
    """Of `sanity.FLAGS`."""


class Translation(NamedTuple):
    """One text's translation."""

    text: str
    segments: list[TranslatedSegment]
    characters: int
    """Of the source."""
    flags: tuple[str, ...]
    """Of any segment."""
    alternatives: tuple[str, ...]
    """Of the whole text: the n-th has the n-th of every segment, or its best where it has no n-th."""
    digest: str
    """Names the model."""


class StreamedSegment(NamedTuple):
    """A segment of the stream, by the index of its text and its own in that text."""

    text: int
    number: int
    segment: TranslatedSegment
    digest: str
    """Names the model."""


def assemble(text: str, segments: list[TranslatedSegment], digest: str) -> Translation:
    """The translation of a text from those of its segments."""

    def joined(rank: int) -> str:
        return "".join(
            part.before
            + (part.alternatives[rank].translation if 0 <= rank < len(part.alternatives) else part.translation)
            + part.after
            for part in segments
        )

    ranks = range(max((len(part.alternatives) for part in segments), default=0))
    flags = union(part.flags for part in segments)
    return Translation(joined(-1), segments, len(text), flags, tuple(map(joined, ranks)), digest)


def union(flags: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Every flag that is in one of them, worst first."""
    found = {name for names in flags for name in names}
    return tuple(name for name in FLAGS if name in found)
