"""Signs that a translation is not one: what every neural model does now and then.

What it owns: `FLAGS` and how each is told from source and translation alone. What it must not know: engines, HTTP.
Why: a reader should rather be told than find out. Thresholds are wide: a flag costs a second decoding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from service.detection import detect
from service.engines.base import Hypothesis

_LONGEST_LOOP = 8
"""Words."""
_LOOPED_WORDS = 3
_LOOPED_CHARS = re.compile(r"(\w.{0,11}?)\1{4,}")
_WORD = re.compile(r"[^\W\d_]{2,}")
_COPIED_WORDS, _COPIED_SHARE = 5, 0.9
_LANGUAGE_LETTERS, _LANGUAGE_PERCENT = 40, 90.0
_RATIO, _SHORT_SOURCE, _SHORT_TARGET = 4, 20, 5


class Pair(NamedTuple):
    """A source segment and its translation, both without what is kept (`service.placeholders`)."""

    source: str
    hypothesis: Hypothesis
    languages: tuple[str, str]

    @property
    def target(self) -> str:
        """The translation's text."""
        return self.hypothesis.text


def flags_of(pair: Pair) -> tuple[str, ...]:
    """The names of `FLAGS` that apply, worst first."""
    return tuple(name for name, applies in FLAGS.items() if applies(pair))


def warm(languages: tuple[str, str]) -> None:
    """Do now what the first long translation would wait for: reading the language identifier takes most of a second."""
    detect("warm", languages)


def badness(flags: Sequence[str]) -> tuple[int, int]:
    """For comparing two translations of a segment: the one with the lower value is better."""
    rank = list(FLAGS)
    return len(flags), -min((rank.index(flag) for flag in flags), default=len(rank))


def is_empty(pair: Pair) -> bool:
    """No letter or digit, where the source has one."""
    return not any(map(str.isalnum, pair.target)) and any(map(str.isalnum, pair.source))


def is_truncated(pair: Pair) -> bool:
    """The engine ran out of positions, or the translation is far too short to be the whole."""
    source, target = _sizes(pair)
    return pair.hypothesis.truncated or source > _RATIO * max(target, _SHORT_TARGET)


def repeats(pair: Pair) -> bool:
    """A loop of words or characters that the source does not have, or far more text than the source."""
    source, target = _sizes(pair)
    if target > _RATIO * max(source, _SHORT_SOURCE):
        return True
    looped = _looped_words(pair.target)
    if looped >= _LOOPED_WORDS and looped > 2 * _looped_words(pair.source):
        return True
    return bool(_LOOPED_CHARS.search(pair.target)) and not _LOOPED_CHARS.search(pair.source)


def is_copied(pair: Pair) -> bool:
    """Nearly all its words stand in the source, and they are too many to be names."""
    words = _WORD.findall(pair.target.casefold())
    known = set(_WORD.findall(pair.source.casefold()))
    return len(words) >= _COPIED_WORDS and sum(word in known for word in words) >= _COPIED_SHARE * len(words)


def is_in_source_language(pair: Pair) -> bool:
    """A text that is long enough to tell looks like the source language rather than the target's."""
    if sum(map(str.isalpha, pair.target)) < _LANGUAGE_LETTERS:
        return False
    return _percent_of_first(pair.target, pair.languages) >= _LANGUAGE_PERCENT


FLAGS: dict[str, Callable[[Pair], bool]] = {
    "empty": is_empty,
    "repetition": repeats,
    "truncated": is_truncated,
    "wrong_language": is_in_source_language,
    "copied": is_copied,
}
"""Worst first."""


def _sizes(pair: Pair) -> tuple[int, int]:
    """In bytes of UTF-8, since scripts with many bytes for a character say much in one."""
    return len(pair.source.encode()), len(pair.target.encode())


def _looped_words(text: str) -> int:
    """The longest stretch of words that only repeats the one to eight words before it."""
    words = text.casefold().split()
    longest, repeated = 0, len(words) - len(set(words))
    # A loop of `size` words has come back once it is that long, and all that comes back are words that were there.
    for size in range(1, min(_LONGEST_LOOP, len(words) // 2, repeated) + 1):
        run = 0
        for word, before in zip(words[size:], words, strict=False):
            run = run + 1 if word == before else 0
            longest = max(longest, run if run >= size else 0)
    return longest


def _percent_of_first(text: str, languages: tuple[str, str]) -> float:
    return dict(detect(text, languages)).get(languages[0], 0.0)
