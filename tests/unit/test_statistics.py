"""Figures of a split are those that a plain computation finds, and samples are even, bounded and repeatable."""

from __future__ import annotations

import math
import random
import statistics as plain
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtkd.corpus.leakage import GroupedPair
from mtkd.corpus.statistics import (
    BINS,
    SHOWN_PAIRS,
    WordCounts,
    classify,
    describe_split,
    draw,
    jensen_shannon_bits,
    measure_lengths,
    unknown_words,
)
from mtkd.errors import CorpusError
from tests.unit.corpus_text import random_text
from tests.unit.split_text import LANGUAGES, write_split

COUNTS = st.lists(st.integers(0, 50), min_size=2, max_size=12)


def text_of(seed: int, letters: str, count: int) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    return [
        (random_text(rng, rng.randint(1, 9), letters=letters, length=4), random_text(rng, 5, letters=letters))
        for _ in range(count)
    ]


def sides_of(seed: int, letters: str) -> dict[str, list[tuple[str, str]]]:
    return {
        side: text_of(seed + place, letters, count)
        for place, (side, count) in enumerate({"train": 300, "dev": 40, "test": 30}.items())
    }


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Two groups that share the letters e and f only."""
    return write_split(tmp_path / "split", {"law": sides_of(10, "abcdef"), "music": sides_of(20, "efghij")})


def lines(split: Path, group: str, side: str, language: str) -> list[str]:
    return (split / group / f"{side}.{language}").read_text(encoding="utf-8").splitlines()


def plain_divergence(first: Counter[str], second: Counter[str]) -> float:
    """The definition: half the KL divergence, in bits, of each from the mean of both."""
    total = 0.0
    for word in first.keys() | second.keys():
        p, q = first[word] / first.total(), second[word] / second.total()
        total += sum(0.5 * one * math.log2(one / ((p + q) / 2)) for one in (p, q) if one)
    return total


def test_divergence_and_unknown_words_are_those_of_a_plain_count(split: Path) -> None:
    found = describe_split(split, ["law", "music"], LANGUAGES)
    for language in ("en", "de"):
        counted = {
            (group, side): Counter(word for line in lines(split, group, side, language) for word in line.split())
            for group in ("law", "music")
            for side in ("train", "dev")
        }
        for one in ("law", "music"):
            dev = counted[one, "dev"]
            for other in ("law", "music"):
                train = counted[other, "train"]
                unknown = sum(count for word, count in dev.items() if train[word] < 2) / dev.total()
                divergence = plain_divergence(counted[one, "train"], train)
                assert found.unknown_words[language][one][other] == pytest.approx(unknown)
                assert found.divergence[language][one][other] == pytest.approx(divergence, abs=1e-9)
    assert 0.0 < found.unknown_words["en"]["law"]["law"] < found.unknown_words["en"]["law"]["music"] <= 1.0


@pytest.mark.parametrize(
    ("first", "second", "bits"),
    [
        ([1, 1, 0, 0], [0, 0, 5, 5], 1.0),
        ([1, 2, 3], [2, 4, 6], 0.0),
        # p = (1, 0), q = (1/2, 1/2): H(3/4, 1/4) - H(1/2, 1/2) / 2
        ([4, 0], [3, 3], 0.8112781244591328 - 0.5),
    ],
)
def test_divergence_of_known_distributions(first: list[int], second: list[int], bits: float) -> None:
    assert jensen_shannon_bits(np.array(first), np.array(second)) == pytest.approx(bits, abs=1e-12)


@given(COUNTS, COUNTS)
def test_divergence_is_symmetric_and_between_0_and_1(first: list[int], second: list[int]) -> None:
    size = min(len(first), len(second))
    p, q = np.array(first[:size]), np.array(second[:size])
    p[0], q[-1] = 1, 1
    forth, back = jensen_shannon_bits(p, q), jensen_shannon_bits(q, p)
    assert forth == pytest.approx(back, abs=1e-12)
    assert 0.0 <= forth <= 1.0 + 1e-12


def test_a_word_seen_once_is_unknown_still() -> None:
    words = WordCounts()
    words.add("dev", ["once twice", "Twice, never"])
    words.add("train", ["once", "twice TWICE"])
    assert words.counts("dev").tolist() == [1, 2, 1]
    assert words.counts("train").tolist() == [1, 2, 0]
    assert unknown_words(words.counts("dev"), words.counts("train")) == 0.5


def test_lengths_are_those_of_a_plain_count() -> None:
    rng = random.Random(5)
    sizes = [rng.randint(1, 90) for _ in range(501)]
    found = measure_lengths("w " * (size - 1) + "w" for size in sizes)
    assert (found.sentences, found.longest) == (501, max(sizes))
    assert found.mean == pytest.approx(plain.fmean(sizes))
    assert found.median == plain.median(sizes)
    assert found.percentile_95 == sorted(sizes)[math.ceil(0.95 * 501) - 1]
    assert found.bins[0] == sum(size <= 3 for size in sizes)
    assert found.bins[1] == sum(4 <= size <= 6 for size in sizes)
    assert found.bins[BINS] == sum(size > 60 for size in sizes)
    assert sum(found.bins) == 501


def test_the_classifier_tells_separate_texts_apart() -> None:
    letters = {"law": "abcd", "music": "efgh", "office": "ijkl"}
    train = {group: [source for source, _ in text_of(1, of, 50)] for group, of in letters.items()}
    test = {group: [source for source, _ in text_of(2, of, 20)] for group, of in letters.items()}
    found = classify(train, test)
    assert found.accuracy == 1.0
    assert found.chance == pytest.approx(1 / 3)
    assert found.shares == {one: {other: float(one == other) for other in letters} for one in letters}
    assert (found.trained["law"], found.tested["law"]) == (50, 20)


def test_the_classifier_is_no_better_than_chance_where_there_is_nothing_to_tell() -> None:
    train = {group: [source for source, _ in text_of(seed, "abcd", 400)] for seed, group in enumerate("xy")}
    test = {group: [source for source, _ in text_of(seed + 9, "abcd", 400)] for seed, group in enumerate("xy")}
    found = classify(train, test)
    assert found.accuracy == pytest.approx(0.5, abs=0.1)
    assert sum(found.shares["x"].values()) == pytest.approx(1.0)


def test_a_large_group_is_no_likelier_beforehand() -> None:
    train = {"large": ["ab cd"] * 500, "small": ["ab cd"] * 5}
    shares = classify(train, {"large": ["zzz"], "small": ["zzz"]}).shares
    assert shares["large"] == shares["small"]
    assert classify({"large": ["ab"] * 500, "small": ["xy"] * 5}, {"large": ["ab"], "small": ["xy"]}).accuracy == 1.0


def test_a_split_of_one_group_has_all_but_a_confusion(tmp_path: Path) -> None:
    found = describe_split(write_split(tmp_path, {"law": sides_of(1, "abcdef")}), ["law"], LANGUAGES)
    assert found.confusion is None
    assert found.divergence == {"en": {"law": {"law": 0.0}}, "de": {"law": {"law": 0.0}}}
    assert found.lengths["law"]["en"].sentences == 370
    assert found.lengths["law"]["de"].median == 5


def test_random_pairs_are_of_train_and_stay_together(split: Path) -> None:
    found = describe_split(split, ["law", "music"], LANGUAGES)
    train = set(zip(lines(split, "law", "train", "en"), lines(split, "law", "train", "de"), strict=True))
    assert len(found.pairs["law"]) == SHOWN_PAIRS
    assert set(found.pairs["law"]) <= train
    assert found == describe_split(split, ["law", "music"], LANGUAGES)


def test_a_draw_is_even_and_does_not_depend_on_the_order() -> None:
    pairs = [GroupedPair("law", f"sentence {number}", "Satz") for number in range(2000)]
    drawn = draw(pairs, 400)
    assert drawn == draw(reversed(pairs), 400)
    assert len(set(drawn)) == 400
    numbers = [int(pair.source.split()[1]) for pair in drawn]
    # The standard error of the mean of 400 of 2000 is 26.
    assert plain.fmean(numbers) == pytest.approx(1000, abs=80)
    assert draw(pairs[:3], 400) == draw(pairs[:3], 3)


def test_a_large_vocabulary_is_counted_on_a_sample(split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = describe_split(split, ["law", "music"], LANGUAGES)
    monkeypatch.setattr("mtkd.corpus.statistics.VOCABULARY_SENTENCES", 30)
    sampled = describe_split(split, ["law", "music"], LANGUAGES)
    assert sampled.unknown_words["en"]["law"]["law"] > whole.unknown_words["en"]["law"]["law"]
    assert sampled.lengths == whole.lengths
    assert sampled.pairs == whole.pairs


def test_text_without_letters_has_words_too(tmp_path: Path) -> None:
    marks = [("...", "!"), ("?", "\u2026")]
    split = write_split(tmp_path, {"law": {"train": marks, "dev": marks, "test": marks}})
    assert describe_split(split, ["law"], LANGUAGES).unknown_words["en"]["law"]["law"] == 1.0


def test_a_missing_side_is_named(split: Path) -> None:
    (split / "music" / "dev.de").unlink()
    with pytest.raises(CorpusError, match=r"dev\.de: no such file"):
        describe_split(split, ["law", "music"], LANGUAGES)
