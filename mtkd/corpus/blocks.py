"""Which block of text of a page translates which block of its other edition.

What it owns: `align`. What it must not know: markup, files, languages.
Why not sentence by sentence: two editions of a page share their structure, so that most blocks are paired by it
alone, and a paragraph that one edition lacks shifts nothing beyond itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Gale & Church (1993), "A program for aligning sentences in bilingual corpora": the variance of a translation's
# length, in characters a character of the source, whatever the languages.
_VARIANCE = 6.8
_WORST_LENGTH = -6.0
_SAME_KIND = 0.3
_COGNATE, _MOST_COGNATES = 2.0, 5
_LOST_NUMBER, _MOST_LOST = -1.0, 3
_TOO_LARGE = 25_000_000
_TOKEN = re.compile(r"[^\W_]+(?:[._/-]+[^\W_]+)*")
_HEADINGS = {"title", "h1", "h2", "h3", "h4", "h5", "h6"}
_BOTH, _SOURCE_ALONE, _TARGET_ALONE = 0, 1, 2


class Block(NamedTuple):
    """A run of text that stands for itself in a page, with the name of the element it is in."""

    tag: str
    text: str


def align(source: Sequence[Block], target: Sequence[Block], *, length_ratio: float = 1.0) -> list[tuple[Block, Block]]:
    """The blocks that translate each other, in order; those without counterpart are left out.

    Where both pages have the same tags in the same order, block i translates block i. Else the best path of 1-1, 1-0
    and 0-1 steps is found by dynamic programming. A 1-1 step needs blocks of one kind and is worth more the better
    their lengths fit (Gale & Church, 1993) and the more words they share by their first four letters (cognates, as in
    Simard, Foster & Isabelle, 1992), and less for each number that only one of them has. Between two pairs so found,
    the same tags in the same order are again pairs.

    Args:
        source: blocks of one edition, in their order.
        target: blocks of the other.
        length_ratio: characters of the target language for one of the source's.
    """
    if [block.tag for block in source] == [block.tag for block in target]:
        return list(zip(source, target, strict=True))
    if len(source) * len(target) > _TOO_LARGE:
        return []
    pairs = _best_path(source, target, length_ratio)
    return [(source[i], target[j]) for i, j in _with_runs_between(pairs, source, target)]


def _best_path(source: Sequence[Block], target: Sequence[Block], ratio: float) -> list[tuple[int, int]]:
    """Indexes of the paired blocks; O(len(source) * len(target)) in time and bytes."""
    import numpy as np  # noqa: PLC0415 - `mtkd --help` must stay quick

    scores = _Scores(source, target, ratio)
    best = np.zeros(len(target) + 1)
    steps = np.full((len(source) + 1, len(target) + 1), _TARGET_ALONE, dtype=np.uint8)
    for i in range(len(source)):
        both = np.append(-np.inf, best[:-1] + scores.of(i))
        entered = np.maximum(best, both)
        following = np.maximum.accumulate(entered)  # a run of target blocks alone costs nothing
        steps[i + 1] = np.where(entered < following, _TARGET_ALONE, np.where(both > best, _BOTH, _SOURCE_ALONE))
        best = following
    pairs = []
    i, j = len(source), len(target)
    while i and j:
        step = steps[i, j]
        i -= step != _TARGET_ALONE
        j -= step != _SOURCE_ALONE
        if step == _BOTH:
            pairs.append((int(i), int(j)))
    return pairs[::-1]


def _with_runs_between(
    pairs: list[tuple[int, int]], source: Sequence[Block], target: Sequence[Block]
) -> list[tuple[int, int]]:
    """With the blocks between two pairs paired as well where both sides have the same kinds in the same order."""
    filled: list[tuple[int, int]] = []
    for i, j in pairs:
        if filled:
            between = range(filled[-1][0] + 1, i), range(filled[-1][1] + 1, j)
            if [_kind(source[k]) for k in between[0]] == [_kind(target[k]) for k in between[1]]:
                filled += zip(*between, strict=True)
        filled.append((i, j))
    return filled


class _Scores:
    """What it is worth to pair a source block with each of the target blocks."""

    def __init__(self, source: Sequence[Block], target: Sequence[Block], ratio: float) -> None:
        import numpy as np  # noqa: PLC0415

        self._kinds = [np.array([_kind(block) for block in side]) for side in (source, target)]
        self._lengths = [np.array([len(block.text) for block in side], dtype=np.float64) for side in (source, target)]
        self._ratio = ratio
        cognates = [[_cognates(block.text) for block in side] for side in (source, target)]
        self._cognates, self._targets_with = cognates[0], _postings(cognates[1])
        numbers = [[{key for key in keys if any(map(str.isdigit, key))} for keys in side] for side in cognates]
        self._numbers, self._targets_with_number = numbers[0], _postings(numbers[1])
        self._target_numbers = np.array([len(keys) for keys in numbers[1]], dtype=np.float64)

    def of(self, i: int) -> NDArray[np.float64]:
        """Scores of source block i with every target block: [len(target)]."""
        import numpy as np  # noqa: PLC0415

        source, target = self._lengths[0][i] * self._ratio, self._lengths[1]
        delta = (target - source) / np.sqrt(_VARIANCE * (source + target) / 2)
        shared = self._shared(self._cognates[i], self._targets_with)
        shared_numbers = self._shared(self._numbers[i], self._targets_with_number)
        lost = len(self._numbers[i]) + self._target_numbers - 2 * shared_numbers
        score = (
            _SAME_KIND
            + np.maximum(-delta * delta / 2, _WORST_LENGTH)
            + _COGNATE * np.minimum(shared, _MOST_COGNATES)
            + _LOST_NUMBER * np.minimum(lost, _MOST_LOST)
        )
        return np.where(self._kinds[1] == self._kinds[0][i], score, -np.inf)

    def _shared(self, keys: set[str], targets_with: dict[str, list[int]]) -> NDArray[np.float64]:
        import numpy as np  # noqa: PLC0415

        shared = np.zeros(len(self._lengths[1]))
        for key in keys:
            shared[targets_with.get(key, [])] += 1
        return shared


def _kind(block: Block) -> str:
    """Headings are of one kind: a section may have moved to another level."""
    return "heading" if block.tag in _HEADINGS else block.tag


def _cognates(text: str) -> set[str]:
    """Words with a digit as they are, others of four letters or more by their first four."""
    keys = set()
    for token in _TOKEN.findall(text):
        if any(map(str.isdigit, token)):
            keys.add(token)
        elif len(token) >= 4:
            keys.add(token[:4].casefold())
    return keys


def _postings(keys_of: Sequence[set[str]]) -> dict[str, list[int]]:
    """By key: the blocks that have it."""
    found: dict[str, list[int]] = {}
    for number, keys in enumerate(keys_of):
        for key in keys:
            found.setdefault(key, []).append(number)
    return found
