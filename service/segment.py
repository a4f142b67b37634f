"""Whole texts for engines that translate one line at a time.

What it owns: the cut of a text into segments and its exact reassembly: line breaks, blank lines and outer spaces stay.
What it must not know: HTTP, models. `mtkd translate` and the service share it.
Why: a student is trained on sentences; a paragraph is not one, and what does not fit would be cut off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from typing import NamedTuple

import sentencex

from service.engines.base import Engine

# Where a sentence that is too long may be cut, best first: after a clause, then at a space.
# 2013 and 2014 are dashes; the second class is the East Asian punctuation after which no space stands.
_CUTS = (re.compile(r"(?<=[,;:)\]\u2013\u2014])\s+|(?<=[\uff0c\uff1b\uff1a\u3001\u3002])\s*"), re.compile(r"\s+"))
_LINES_AT_ONCE = 64


class Segment(NamedTuple):
    """A stretch of a text: `before` and `after` are kept as they are, `text` is translated unless it is empty."""

    before: str
    text: str
    after: str


def translate_texts(engine: Engine, texts: Sequence[str]) -> list[str]:
    """Translate each text, keeping its line structure; all segments go to the engine in one call."""
    split_texts = [split(text, engine.source_lang, engine.fits) for text in texts]
    sources = [segment.text for segments in split_texts for segment in segments if segment.text]
    outputs = (found[0].text for found in (engine.translate(sources, engine.decoding) if sources else []))
    return [
        "".join(before + (next(outputs) if text else "") + after for before, text, after in segments)
        for segments in split_texts
    ]


def translate_lines(engine: Engine, lines: Iterable[str]) -> Iterator[str]:
    """Translate a stream, line for line and with each line's own ending, holding a few lines at a time."""
    stream = iter(lines)
    while batch := list(islice(stream, _LINES_AT_ONCE)):
        yield from translate_texts(engine, batch)


def split(text: str, language: str, fits: Callable[[str], bool]) -> list[Segment]:
    """Cut a text into segments that fit; joined again they are the text, character by character.

    Stretches without a letter or digit (blank lines, rules, emoji) are not translated: models invent text for them.
    """
    parts = (
        part
        for line in text.splitlines(keepends=True)
        for sentence in _sentences(line, language)
        for part in _shorten(sentence, fits)
    )
    return [_segment(part) for part in parts]


def sentences(parts: Sequence[Segment]) -> list[Segment]:
    """A text's segments, with what is not translated moved into the neighbour; the only one may have no text."""
    folded: list[Segment] = []
    for part in parts:
        if folded and not part.text:
            folded[-1] = folded[-1]._replace(after=folded[-1].after + "".join(part))
        elif folded and not folded[-1].text:
            folded[-1] = part._replace(before="".join(folded[-1]) + part.before)
        else:
            folded.append(part)
    return folded


def _sentences(line: str, language: str) -> Iterator[str]:
    """The sentences of a line, with the spaces that follow each."""
    # sentencex 1.0.32 panics at some unusual spaces: it sees plain ones in their place, and we take only the lengths.
    plain = line if line.isprintable() else "".join(char if char.isprintable() else " " for char in line)
    ends = list(accumulate(len(sentence) for sentence in sentencex.segment(language, plain)))
    ends[-1:] = [len(line)]
    for start, end in pairwise([0, *ends]):
        yield line[start:end]


def _shorten(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The text, halved near its middle until every part fits or is a single character."""
    if len(text) <= 1 or fits(text):
        return [text]
    for pattern in _CUTS:
        cuts = [match.end() for match in pattern.finditer(text) if 0 < match.end() < len(text)]
        if cuts:
            break
    else:
        cuts = [len(text) // 2]
    cut = min(cuts, key=lambda position: abs(2 * position - len(text)))
    return _shorten(text[:cut], fits) + _shorten(text[cut:], fits)


def _segment(part: str) -> Segment:
    if not any(map(str.isalnum, part)):
        return Segment(part, "", "")
    text = part.strip()
    start = part.index(text)
    return Segment(part[:start], text, part[start + len(text) :])
