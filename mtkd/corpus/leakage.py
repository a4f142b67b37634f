"""Finds training text that would give a held-out text away, within a domain and across domains.

What it owns: `fold` (when two texts count as equal), near-copies, and the index that finds both fast.
What it must not know: how texts were assigned to train, dev and test; files.
Why across domains: the student trains on all of them, and manuals share their menu phrases.

Near-copies are pairs of sets of character 5-grams with a Jaccard similarity of at least 4/5. They are found exactly,
with the prefix filter of set-similarity joins (Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007): if
J(x, y) >= t, then among the first |x| - ceil(t|x|) + 1 grams of x and the first |y| - ceil(t|y|) + 1 of y, both
sorted by one order, there is a common one. With the rarest first, few candidates are left to compare.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

GRAM = 5
LEAKS = ("exact_within", "exact_across", "near_within", "near_across")
"""Kinds of leak: an equal or a nearly equal text, held out in the same group or only in another one."""


class GroupedPair(NamedTuple):
    """A pair and the group it belongs to."""

    group: str
    source: str
    target: str


class _Folding(dict[int, str]):
    """Code point -> what it is folded to, for `str.translate`; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        # By category and not by \w, which would also strike out the vowel signs of Indic scripts (Mc, Mn).
        category = unicodedata.category(chr(code))
        folded = "0" if category[0] == "N" else " " if category[0] in "PSZC" else chr(code)
        self[code] = folded
        return folded


_FOLDING = _Folding()
_REPEATED = re.compile("0[0 ]*0|  +")


def fold(text: str) -> str:
    """The text without case, punctuation and the values of numbers; never empty for a text that is not."""
    folded = _REPEATED.sub(lambda run: run[0][0], text.casefold().translate(_FOLDING)).strip(" ")
    return folded or text.casefold()


def grams(folded: str) -> set[str]:
    """The character 5-grams of a folded text; a shorter text is its own only gram."""
    return {folded[start : start + GRAM] for start in range(max(1, len(folded) - GRAM + 1))}


class HeldOut:
    """An index over held-out pairs that says whether another pair would give one of them away."""

    def __init__(self, pairs: Iterable[GroupedPair]) -> None:
        self._sources: dict[str, set[str]] = defaultdict(set)
        self._targets: dict[str, set[str]] = defaultdict(set)
        for pair in pairs:
            self._sources[fold(pair.source)].add(pair.group)
            self._targets[fold(pair.target)].add(pair.group)
        texts = [(grams(source), groups) for source, groups in self._sources.items()]
        frequency = Counter(gram for text, _ in texts for gram in text)
        rarest_first = sorted(frequency, key=lambda gram: (frequency[gram], gram))
        self._rank = {gram: rank for rank, gram in enumerate(rarest_first)}
        self._texts = [(frozenset(self._rank[gram] for gram in text), groups) for text, groups in texts]
        self._by_prefix: dict[int, list[int]] = defaultdict(list)
        for index, (ranks, _) in enumerate(self._texts):
            for rank in sorted(ranks)[: _prefix_length(len(ranks))]:
                self._by_prefix[rank].append(index)

    def leak(self, pair: GroupedPair) -> str | None:
        """The kind of leak (one of `LEAKS`) that this pair is, or None."""
        source = fold(pair.source)
        equal = self._sources.get(source, set()) | self._targets.get(fold(pair.target), set())
        if equal:
            return "exact_within" if pair.group in equal else "exact_across"
        near = self._near(source, pair.group)
        if near:
            return "near_within" if pair.group in near else "near_across"
        return None

    def _near(self, source: str, group: str) -> set[str]:
        """Groups that hold out a near-copy of a folded source; the search ends once `group` is among them."""
        text = grams(source)
        known = {self._rank[gram] for gram in text if gram in self._rank}
        # Grams that no held-out text has are the rarest of all: they come first in the order and find nothing.
        prefix = _prefix_length(len(text)) - (len(text) - len(known))
        if prefix <= 0:
            return set()
        candidates = {index for rank in sorted(known)[:prefix] for index in self._by_prefix.get(rank, ())}
        found: set[str] = set()
        for index in candidates:
            ranks, groups = self._texts[index]
            common = len(ranks & known)
            if 5 * common >= 4 * (len(text) + len(ranks) - common):
                found |= groups
                if group in found:
                    break
        return found


def _prefix_length(size: int) -> int:
    """|x| - ceil(4/5 |x|) + 1, in integers: a similarity of exactly 0.8 must not be lost to rounding."""
    return size - (4 * size + 4) // 5 + 1
