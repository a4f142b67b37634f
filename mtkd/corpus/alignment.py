r"""Says how well the words of two sides explain each other: IBM model 1, trained on the text that it judges.

What it owns: the model, its bounds in memory, and the score. What it must not know: files, recipes, thresholds.
Why in both directions: a word left out shows only where its own side is the one to be explained.
Why two models: a pair that was trained on explains itself, a wrong one too. Of pairs with shuffled targets among the
trained ones, a twentieth is found; so each half of the text, by hash, is judged by the model of the other half.

P. Brown, S. Della Pietra, V. Della Pietra, R. Mercer: The Mathematics of Statistical Machine Translation, 1993.
Training by expectation maximisation, with uniform t(f|e) at first and an empty word on the explaining side:
c(f|e) = sum over sentences and occurrences of t(f|e) / sum_e' t(f|e'), then t(f|e) = c(f|e) / sum_f c(f|e).

A model is trained on a bounded number of links (a word of one side with one of the other), so that memory and time do
not grow with the corpus. Words met only once there, or not at all, are one word to the model: rare on one side goes
with rare on the other, as names do.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Stems = tuple[list[str], list[str]]
"""The stems of a source and of its target."""
Ids = tuple[list[int], list[int]]
"""Ids of the words that explain, and of those that are explained."""

MAX_LINKS = 8_000_000
"""Of each of the two models: about 45,000 pairs of 13 words, and 0.4 GB while it is trained."""
FLOOR = 1e-4
"""No word is taken to be less likely than this: one odd word must not condemn a sentence."""
_ITERATIONS = 4
_STEM = 7
_MAX_WORDS = 40
"""What comes later in a sentence is not looked at: there is enough to judge by."""
_MIN_COUNT = 2
_LINKS_AT_ONCE = 1 << 20
_PAIRS_AT_ONCE = 1 << 14
_EMPTY, _RARE = 0, 1
_WORD = re.compile(r"[^\W\d_]+|\d+")


def stems(text: str) -> list[str]:
    """The first words of a text and its numbers, without case and cut to what inflection leaves alone."""
    return [word[:_STEM] for word in _WORD.findall(text.lower())[:_MAX_WORDS]]


class Aligner:
    """Scores pairs by the words that it saw together in training; equal pairs were seen by neither or one model."""

    def __init__(self, pairs: Iterable[tuple[str, str]], *, max_links: int = MAX_LINKS) -> None:
        """Train on the pairs, or where they have more than twice the links, on so many, chosen by hash."""
        chosen = _choose(pairs, 2 * max_links)
        self._models = [Model([stems for place, stems in chosen if place & 1 != half]) for half in (0, 1)]

    def scores(self, pairs: Iterable[tuple[str, str]]) -> Iterator[float]:
        """Of each pair, in order: the mean over a side's words of log max_w t(word | w), averaged over both sides.

        Between log(FLOOR) = -9.2, where no word explains another, and 0, which is also that of a side without words.
        """
        batch: list[tuple[int, Stems]] = []
        links = 0
        for source, target in pairs:
            batch.append((_place(source, target), (stems(source), stems(target))))
            links += len(batch[-1][1][0]) * len(batch[-1][1][1])
            if links >= _LINKS_AT_ONCE or len(batch) >= _PAIRS_AT_ONCE:
                yield from self._score(batch)
                batch, links = [], 0
        yield from self._score(batch)

    def _score(self, batch: list[tuple[int, Stems]]) -> list[float]:
        scores = np.zeros(len(batch))
        for half, model in enumerate(self._models):
            rows = [row for row, (place, pair) in enumerate(batch) if place & 1 == half and all(pair)]
            if rows:
                scores[rows] = model.scores([batch[row][1] for row in rows])
        found: list[float] = scores.tolist()
        return found


class Model:
    """Both directions of IBM model 1, trained on pairs with words on both sides."""

    def __init__(self, pairs: list[Stems]) -> None:
        self._ids = (_vocabulary(source for source, _ in pairs), _vocabulary(target for _, target in pairs))
        self._tables = tuple(
            _train(
                [([_EMPTY, *left], right) for left, right in self._encode(pairs, explaining)], self._width(explaining)
            )
            for explaining in (0, 1)
        )

    def scores(self, pairs: list[Stems]) -> Floats:
        """(B,) mean log-probabilities, averaged over both directions, of pairs with words on both sides."""
        forth, back = (
            _mean_log(table, self._encode(pairs, explaining), self._width(explaining))
            for explaining, table in enumerate(self._tables)
        )
        return (forth + back) / 2

    def _encode(self, pairs: list[Stems], explaining: int) -> list[Ids]:
        left, right = self._ids[explaining], self._ids[1 - explaining]
        return [
            (
                [left.get(word, _RARE) for word in pair[explaining]],
                [right.get(word, _RARE) for word in pair[1 - explaining]],
            )
            for pair in pairs
        ]

    def _width(self, explaining: int) -> int:
        """Number of explained words, so that `explaining * width + explained` is the key of a pair of words."""
        return len(self._ids[1 - explaining]) + _RARE + 1


class Table:
    """A hash table of probabilities by key, with open addressing: a million keys are looked up in 0.1 s."""

    _FREE = -1

    def __init__(self, keys: Ints, probabilities: Floats) -> None:
        self._bits = max(4, int(2 * len(keys)).bit_length())
        self._keys = np.full(1 << self._bits, self._FREE, np.int64)
        self._values = np.zeros(1 << self._bits)
        left = np.arange(len(keys))
        slot = self._slots(keys)
        while len(left):
            free = self._keys[slot] == self._FREE
            self._keys[slot[free]] = keys[left[free]]
            # Of several for one slot the last one has it; the others try the next.
            homeless = self._keys[slot] != keys[left]
            self._values[slot[~homeless]] = probabilities[left[~homeless]]
            left, slot = left[homeless], self._next(slot[homeless])

    def look_up(self, keys: Ints) -> Floats:
        """The probabilities of keys, 0 where there is none."""
        slot = self._slots(keys)
        there = self._keys[slot]
        found = np.where(there == keys, self._values[slot], 0.0)
        left = np.flatnonzero((there != keys) & (there != self._FREE))
        slot = slot[left]
        while len(left):
            slot = self._next(slot)
            there = self._keys[slot]
            hit = there == keys[left]
            found[left[hit]] = self._values[slot[hit]]
            on = ~hit & (there != self._FREE)
            left, slot = left[on], slot[on]
        return found

    def _slots(self, keys: Ints) -> Ints:
        # Fibonacci hashing: the high bits of the product with 2^64 divided by the golden ratio.
        spread = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return (spread >> np.uint64(64 - self._bits)).astype(np.int64)

    def _next(self, slot: Ints) -> Ints:
        return (slot + 1) & ((1 << self._bits) - 1)


class _Links(NamedTuple):
    """Every explaining word of a pair linked with every explained one: L links of P explained words, in their order."""

    keys: Ints
    """(L,) explaining * width + explained."""
    fan: Ints
    """(P,) number of links of each explained word of the text."""
    first: Ints
    """(P,) index of the first of them."""
    lengths: Ints
    """(B,) number of explained words of each pair."""


def _place(source: str, target: str) -> int:
    """Where in 0 .. 2^64 - 1 chance, always the same, puts a pair; the last bit says which half."""
    return int.from_bytes(hashlib.blake2b(f"{source}\t{target}".encode(), digest_size=8).digest())


def _choose(pairs: Iterable[tuple[str, str]], max_links: int) -> list[tuple[int, Stems]]:
    """Those pairs whose place is below a limit, which is halved whenever there are too many links; whatever order."""
    chosen: list[tuple[int, Stems]] = []
    links, limit = 0, 1 << 64
    for source, target in pairs:
        place = _place(source, target)
        if place >= limit:
            continue
        # Interned: equal words are one string in memory.
        left, right = ([*map(sys.intern, stems(side))] for side in (source, target))
        if not left or not right:
            continue
        chosen.append((place, (left, right)))
        links += len(left) * len(right)
        while links > max_links and limit > 1:
            limit //= 2
            chosen = [one for one in chosen if one[0] < limit]
            links = sum(len(left) * len(right) for _, (left, right) in chosen)
    return chosen


def _vocabulary(sentences: Iterable[list[str]]) -> dict[str, int]:
    """Ids of the words that come often enough, after `_EMPTY` and `_RARE`."""
    counts = Counter(chain.from_iterable(sentences))
    frequent = (word for word, count in counts.items() if count >= _MIN_COUNT)
    return {word: number for number, word in enumerate(frequent, _RARE + 1)}


def _link(pairs: list[Ids], width: int) -> _Links:
    """The links of pairs with words on both sides."""
    explaining, explained = (
        np.fromiter(chain.from_iterable(pair[side] for pair in pairs), dtype=np.int64) for side in (0, 1)
    )
    widths, lengths = (np.array([len(pair[side]) for pair in pairs]) for side in (0, 1))
    fan = np.repeat(widths, lengths)
    first = np.cumsum(fan) - fan
    # From a link's index to the index of its explaining word in the text.
    shift = np.repeat(np.cumsum(widths) - widths, lengths) - first
    keys = explaining[np.arange(int(fan.sum())) + np.repeat(shift, fan)]
    keys *= width
    keys += np.repeat(explained, fan)
    return _Links(keys, fan, first, lengths)


def _train(pairs: list[Ids], width: int) -> Table:
    """t(explained | explaining), where it is above `FLOOR`, after a few steps of expectation maximisation."""
    if not pairs:
        return Table(np.zeros(0, np.int64), np.zeros(0))
    links = _link(pairs, width)
    keys, entry = _distinct(links.keys)
    fan, first = links.fan, links.first
    del links
    word = keys // width
    probability = np.ones(len(keys))
    for _ in range(_ITERATIONS):
        share = probability[entry]
        share /= np.repeat(np.add.reduceat(share, first), fan)
        count = np.bincount(entry, weights=share, minlength=len(keys))
        probability = count / np.bincount(word, weights=count)[word]
    likely = probability > FLOOR
    return Table(keys[likely], probability[likely])


def _distinct(keys: Ints) -> tuple[Ints, NDArray[np.int32]]:
    """The distinct keys, ascending, and the index of each key among them: `np.unique` in half its memory."""
    order = keys.argsort()
    ordered = keys[order]
    new = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    index = np.empty(len(keys), np.int32)
    index[order] = np.cumsum(new, dtype=np.int32) - 1
    return ordered[new], index


def _mean_log(table: Table, pairs: list[Ids], width: int) -> Floats:
    """(B,) of each pair: the mean log-probability of the explained words' best explanations."""
    links = _link(pairs, width)
    best = np.maximum.reduceat(table.look_up(links.keys), links.first)
    logs = np.log(np.maximum(best, FLOOR))
    means: Floats = np.add.reduceat(logs, np.cumsum(links.lengths) - links.lengths) / links.lengths
    return means
