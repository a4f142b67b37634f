"""IBM model 1: as its formula says, honest about what it was trained on, bounded."""

from __future__ import annotations

import csv
import math
import random
import tracemalloc
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from mtkd.corpus import alignment
from mtkd.corpus.alignment import FLOOR, Aligner, Table, stems

SAMPLE = Path(__file__).parents[2] / "data_recipes" / "quickstart" / "data"
Pairs = list[tuple[str, str]]


def invented(seed: int, size: int) -> Pairs:
    """A language of 60 words, each with one translation, in another order; a word is left out or added at times."""
    rng = random.Random(seed)
    words = [f"{a}{b}{c}" for a in "bdfg" for b in "aei" for c in "klmnr"]
    pairs = []
    for _ in range(size):
        source = rng.choices(words, k=rng.randint(2, 8))
        target = [word[::-1] for word in source if rng.random() < 0.9] or [source[0][::-1]]
        pairs.append((" ".join(source), " ".join(rng.sample(target, len(target)))))
    return pairs


def plain_ibm1(pairs: list[tuple[list[str], list[str]]]) -> dict[tuple[str, str], float]:
    """t(f | e) after four iterations, written as in the paper."""
    t: dict[tuple[str, str], float] = defaultdict(lambda: 1.0)
    for _ in range(4):
        count: dict[tuple[str, str], float] = defaultdict(float)
        total: dict[str, float] = defaultdict(float)
        for source, target in pairs:
            explaining = ["<empty>", *source]
            for f in target:
                z = sum(t[e, f] for e in explaining)
                for e in explaining:
                    count[e, f] += t[e, f] / z
                    total[e] += t[e, f] / z
        t = defaultdict(float, {(e, f): c / total[e] for (e, f), c in count.items()})
    return t


def plain_score(t: dict[tuple[str, str], float], source: list[str], target: list[str]) -> float:
    return sum(math.log(max(FLOOR, *(t[e, f] for e in source))) for f in target) / len(target)


def test_scores_are_those_of_the_paper_with_either_half_judged_by_the_other() -> None:
    pairs = invented(1, 300)
    tokens = [(stems(source), stems(target)) for source, target in pairs]
    halves = [alignment._place(*pair) & 1 for pair in pairs]
    expected = [0.0] * len(pairs)
    for half in (0, 1):
        train = [pair for pair, own in zip(tokens, halves, strict=True) if own != half]
        forth, back = plain_ibm1(train), plain_ibm1([(target, source) for source, target in train])
        for row, (source, target) in enumerate(tokens):
            if halves[row] == half:
                expected[row] = (plain_score(forth, source, target) + plain_score(back, target, source)) / 2
    for half in (0, 1):
        words = Counter(word for pair, own in zip(tokens, halves, strict=True) if own == half for word in chain(*pair))
        assert min(words.values()) > 1, "the formula knows no rare words"
    np.testing.assert_allclose(list(Aligner(pairs).scores(pairs)), expected, rtol=1e-9, atol=1e-9)


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = invented(2, 200)
    aligner = Aligner(pairs)
    whole = list(aligner.scores(pairs))
    monkeypatch.setattr(alignment, "_LINKS_AT_ONCE", 50)
    np.testing.assert_allclose(list(aligner.scores(pairs)), whole, rtol=1e-12)


def test_what_is_trained_on_depends_on_neither_order_nor_more_than_the_bound() -> None:
    pairs = invented(3, 400)
    chosen = alignment._choose(pairs, 1000)
    assert 100 < sum(len(left) * len(right) for _, (left, right) in chosen) <= 1000
    assert sorted(chosen) == sorted(alignment._choose(reversed(pairs), 1000))
    bounded = list(Aligner(pairs, max_links=1000).scores(pairs))
    assert bounded == list(Aligner(pairs, max_links=1000).scores(pairs))
    assert bounded != list(Aligner(pairs).scores(pairs))


def test_memory_does_not_grow_with_the_text() -> None:
    def peak(size: int) -> int:
        tracemalloc.start()
        for _ in Aligner(invented(4, size), max_links=2000).scores(invented(4, 100)):
            pass
        return tracemalloc.get_traced_memory()[1]

    try:
        assert peak(2000) < peak(500) + 1500 * 300, "only the test's own list of pairs may grow"
    finally:
        tracemalloc.stop()


def test_sides_without_words_say_nothing_and_strange_words_explain_nothing() -> None:
    aligner = Aligner(invented(5, 300))
    silent, unknown = aligner.scores([("...", "bak"), ("bak dek", "zzz zzzz")])
    assert silent == 0
    assert unknown < -4
    assert list(aligner.scores([])) == []
    assert list(Aligner([]).scores([("a", "b")])) == [pytest.approx(math.log(FLOOR))]


def test_a_table_finds_what_was_put_in_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    keys = np.unique(rng.integers(0, 1 << 40, 20_000))
    rng.shuffle(keys)
    held, other = keys[:10_000], keys[10_000:]
    table = Table(held, np.arange(1.0, 10_001.0))
    np.testing.assert_array_equal(table.look_up(held), np.arange(1.0, 10_001.0))
    assert not table.look_up(other).any()
    assert not Table(held[:0], np.zeros(0)).look_up(other).any()


def test_shuffled_targets_are_told_from_true_ones_even_among_what_is_trained_on() -> None:
    with (SAMPLE / "office.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    true = [(row[0], row[1]) for row in rows]
    wrong = [(source, true[(i + 7) % len(true)][1]) for i, (source, _) in enumerate(true[:150])]
    aligner = Aligner(true + wrong)
    good, bad = np.array(list(aligner.scores(true))), np.array(list(aligner.scores(wrong)))
    assert good.mean() > bad.mean() + 2
    above = (good[:, None] > bad[None, :]).mean()
    assert above > 0.96, "the area under the ROC curve"
    assert (bad < -4.8).mean() > 10 * (good < -4.8).mean()
