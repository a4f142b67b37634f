"""What a finished split looks like in figures: sentence lengths, how far its groups are apart, random pairs.

What it owns: those figures and the samples they are taken from. What it must not know: recipes, pages, how the text
was cleaned. Why samples by hash: the same text always gives the same figures, more text changes few of them, and
memory stays flat: the lowest of a stream of hashes are an even draw, however long the stream is.
"""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtkd.corpus.leakage import GroupedPair, fold
from mtkd.corpus.split import SIDES, read_side
from mtkd.corpus.textfile import count_lines, read_lines
from mtkd.recipe_text import Languages

if TYPE_CHECKING:
    import numpy as np

    Counts = np.ndarray[tuple[int], np.dtype[np.int64]]

BIN_WORDS, BINS = 3, 20
"""Lengths are counted in so many bins of so many words each; one more bin holds everything longer."""
KNOWN_FROM = 2
"""A training vocabulary knows the words that it has at least so often: a model learns little from one sight."""
VOCABULARY_SENTENCES = 100_000
"""About so many training sentences of a group are counted into its vocabulary."""
CLASSIFIER_TRAIN, CLASSIFIER_TEST = 2_000, 400
"""Sentences of each group that the classifier learns from and is tried on, at most."""
CLASSIFIER_CHARACTERS = 1_000
"""Of a longer sentence only the beginning is classified."""
SHOWN_PAIRS = 20

Grid = dict[str, dict[str, float]]
"""Row -> column -> value; both are groups."""


@dataclass(frozen=True)
class Lengths:
    """How long the sentences of one group are in one language, in whitespace words, over all sides of the split."""

    sentences: int
    mean: float
    median: int
    percentile_95: int
    longest: int
    bins: list[int]
    """Sentences of 1..BIN_WORDS words, of the next BIN_WORDS, ..., and of more."""


@dataclass(frozen=True)
class Confusion:
    """What a classifier of single source sentences takes each group's dev and test sentences for."""

    shares: Grid
    """True group -> group it was taken for -> share of the true group's sentences."""
    accuracy: float
    """Share of all sentences that were put into their own group."""
    chance: float
    """The accuracy of guessing."""
    trained: dict[str, int]
    tested: dict[str, int]


@dataclass(frozen=True)
class SplitStatistics:
    """All figures of one split; grids by language."""

    lengths: dict[str, dict[str, Lengths]]
    """Group -> language -> lengths."""
    unknown_words: dict[str, Grid]
    """Language -> group of the dev text -> group of the training vocabulary -> share of unknown running words."""
    divergence: dict[str, Grid]
    """Language -> Jensen-Shannon divergence in bits of two groups' word frequencies in train."""
    confusion: Confusion | None
    """None where there is one group only."""
    pairs: dict[str, list[tuple[str, str]]]
    """Group -> SHOWN_PAIRS pairs of train, drawn at random."""


def describe_split(split: Path, groups: Sequence[str], languages: Languages) -> SplitStatistics:
    """Every figure of the split that `split_corpora` wrote under `split`.

    Raises:
        CorpusError: a file of the split is missing or broken.
    """
    lengths: dict[str, dict[str, Lengths]] = {group: {} for group in groups}
    unknown: dict[str, Grid] = {}
    divergence: dict[str, Grid] = {}
    for language in (languages.source, languages.target):
        words = WordCounts()
        for group in groups:
            files = {side: split / group / f"{side}.{language}" for side in SIDES}
            lengths[group][language] = measure_lengths(chain.from_iterable(map(read_lines, files.values())))
            words.add(f"{group} dev", read_lines(files["dev"]))
            words.add(f"{group} train", _some_lines(files["train"], VOCABULARY_SENTENCES))
        train = {group: words.counts(f"{group} train") for group in groups}
        dev = {group: words.counts(f"{group} dev") for group in groups}
        unknown[language] = {one: {other: unknown_words(dev[one], train[other]) for other in groups} for one in groups}
        divergence[language] = {
            one: {other: jensen_shannon_bits(train[one], train[other]) for other in groups} for one in groups
        }
    seen = {group: draw(read_side(split, group, "train", languages), CLASSIFIER_TRAIN) for group in groups}
    unseen = {
        group: draw(
            chain.from_iterable(read_side(split, group, side, languages) for side in ("dev", "test")), CLASSIFIER_TEST
        )
        for group in groups
    }
    shown = {group: [(pair.source, pair.target) for pair in pairs[:SHOWN_PAIRS]] for group, pairs in seen.items()}
    if len(groups) < 2:
        return SplitStatistics(lengths, unknown, divergence, None, shown)
    confusion = classify(
        {group: [pair.source for pair in pairs] for group, pairs in seen.items()},
        {group: [pair.source for pair in pairs] for group, pairs in unseen.items()},
    )
    return SplitStatistics(lengths, unknown, divergence, confusion, shown)


def draw(pairs: Iterable[GroupedPair], count: int) -> list[GroupedPair]:
    """At most `count` pairs of a stream, drawn at random and in random order, always the same of the same text."""
    return heapq.nsmallest(count, pairs, key=lambda pair: _rank(f"{pair.source}\t{pair.target}"))


def measure_lengths(sentences: Iterable[str]) -> Lengths:
    """Lengths of normalised sentences, of which there is at least one."""
    by_words = Counter(sentence.count(" ") + 1 for sentence in sentences)
    total = by_words.total()
    bins = [0] * (BINS + 1)
    for words, sentences_of_it in by_words.items():
        bins[min((words - 1) // BIN_WORDS, BINS)] += sentences_of_it
    return Lengths(
        sentences=total,
        mean=sum(words * count for words, count in by_words.items()) / total,
        median=_percentile(by_words, 0.5),
        percentile_95=_percentile(by_words, 0.95),
        longest=max(by_words),
        bins=bins,
    )


class WordCounts:
    """How often each of several texts has each word; words are counted without case, punctuation and digits' values."""

    def __init__(self) -> None:
        self._ids: defaultdict[str, int] = defaultdict()
        self._ids.default_factory = self._ids.__len__  # a new word gets the next number
        self._counts: dict[str, Counts] = {}

    def add(self, text: str, sentences: Iterable[str]) -> None:
        """Count the words of the text of that name."""
        import numpy as np  # noqa: PLC0415 - `mtkd --help` must stay quick

        found = array("q")
        for sentence in sentences:
            found.extend(map(self._ids.__getitem__, fold(sentence).split(" ")))
        self._counts[text] = np.bincount(np.frombuffer(found, dtype=np.int64))

    def counts(self, text: str) -> Counts:
        """Shape [words of all texts]: the count of each word in one text, places alike for all texts."""
        import numpy as np  # noqa: PLC0415

        found = self._counts[text]
        return np.pad(found, (0, len(self._ids) - len(found)))


def unknown_words(text: Counts, vocabulary: Counts) -> float:
    """Share of a text's running words that another text has less than KNOWN_FROM times; both shaped [words]."""
    return float(text[vocabulary < KNOWN_FROM].sum() / text.sum())


def jensen_shannon_bits(first: Counts, second: Counts) -> float:
    """Jensen-Shannon divergence of two word distributions (Lin 1991), H((p+q)/2) - H(p)/2 - H(q)/2: 0 to 1 bit."""
    p, q = first / first.sum(), second / second.sum()
    return max(0.0, _entropy_bits((p + q) / 2) - (_entropy_bits(p) + _entropy_bits(q)) / 2)


def classify(train: Mapping[str, Sequence[str]], test: Mapping[str, Sequence[str]]) -> Confusion:
    """Multinomial naive Bayes on character 1- to 4-grams, all groups equally likely beforehand.

    It sees one sentence at a time, and is no stronger than it must be: what it can tell apart is apart.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # noqa: PLC0415 - a second to import
    from sklearn.naive_bayes import MultinomialNB  # noqa: PLC0415

    grams = CountVectorizer(analyzer="char", ngram_range=(1, 4))
    texts = [sentence[:CLASSIFIER_CHARACTERS] for of in train.values() for sentence in of]
    labels = [group for group, of in train.items() for _ in of]
    model = MultinomialNB(alpha=0.1, fit_prior=False).fit(grams.fit_transform(texts), labels)
    taken_for = {
        group: Counter(model.predict(grams.transform([sentence[:CLASSIFIER_CHARACTERS] for sentence in of])).tolist())
        for group, of in test.items()
    }
    tested = {group: len(of) for group, of in test.items()}
    return Confusion(
        shares={group: {other: of[other] / tested[group] for other in train} for group, of in taken_for.items()},
        accuracy=sum(of[group] for group, of in taken_for.items()) / sum(tested.values()),
        chance=1 / len(train),
        trained={group: len(of) for group, of in train.items()},
        tested=tested,
    )


def _rank(text: str) -> int:
    """A number below 2^64 that is as good as random, and always the same for one text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=b"mtkd statistics").digest(), "big")


def _some_lines(path: Path, count: int) -> Iterator[str]:
    """About `count` lines of a file, drawn at random; all of them where there are no more."""
    limit = 2**64 * count // max(count, count_lines(path))
    return (line for line in read_lines(path) if _rank(line) < limit)


def _percentile(by_words: Counter[int], share: float) -> int:
    """The least length that at least this share of the sentences does not exceed."""
    wanted, seen = share * by_words.total(), 0
    for words in sorted(by_words):
        seen += by_words[words]
        if seen >= wanted:
            return words
    raise AssertionError("all sentences together are no share of themselves")


def _entropy_bits(shares: Any) -> float:
    import numpy as np  # noqa: PLC0415

    present = shares[shares > 0]
    return float(-(present * np.log2(present)).sum())
