r"""Reads every text of a recipe, normalises it, throws away what cannot teach, and counts what it threw.

What it owns: `normalise`, duplicates, the cleaned file (`<group>.tsv`), `clean.json` and `examples.json`.
What it must not know: splits, subwords, models. What is wrong with one pair: `filters.py`; with a pair among all
others: `alignment.py`.
Why normalise so thoroughly: fairseq splits a line on Python's `\s`, so a no-break space inside a piece would become
a token boundary, and a token boundary that the soft targets do not have moves every later one.
"""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtkd.corpus.examples import Examples
from mtkd.corpus.filters import FILTERS, reason_to_drop
from mtkd.corpus.leakage import fold
from mtkd.corpus.readers import count_pairs, read_corpus
from mtkd.corpus.textfile import read_lines, write_json, writing
from mtkd.errors import CorpusError
from mtkd.recipe import Recipe
from mtkd.recipe_text import Corpus, Domain

if TYPE_CHECKING:
    from mtkd.corpus.alignment import Aligner

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with a group's name, the pairs read so far and the pairs there are."""
HEADER = ("source", "target", "document", "corpus")
REASONS = ("empty", *FILTERS, "duplicate", "near_duplicate", "alignment")
"""Why a pair is dropped, in the order in which it is looked for."""
_REPORT_EVERY = 20_000

# U+2581 is SentencePiece's own sign for a space: left in the text it would come back as one.
_SPACES = re.compile("[\\s\ufeff\u2581]+")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")


class CleanRow(NamedTuple):
    """One row of a cleaned file; `corpus` is the index of the corpus among all of its group's."""

    source: str
    target: str
    document: str
    corpus: int


def normalise(text: str) -> str:
    """NFC, without control characters, and with single plain spaces as the only white space; idempotent."""
    text = _SPACES.sub(" ", _CONTROLS.sub("", text))
    return unicodedata.normalize("NFC", text).strip(" ")


def clean_corpora(recipe: Recipe, out: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Write `<group>.tsv` for every text of the recipe, and `clean.json` with the counts, which are returned.

    The counts, by group: `read`, `kept`, `dropped` (by REASONS), `licences`, `words` (by language), and `corpora`: by
    the index of a corpus among all of the group's, its `read` and `kept`. `examples.json` has by group and reason a few
    of the pairs that were dropped.

    Raises:
        CorpusError: a file that cannot be used, a group with nothing left, two groups with the same text.
    """
    groups = recipe.corpora_groups()
    tallies = {group: _Tally(domain) for group, domain in groups.items()}
    aligned = any(corpus.min_alignment is not None for domain in groups.values() for _, corpus in _corpora(domain))
    for group, tally in tallies.items():
        rows = _filtered(recipe, group, tally, progress)
        # What is aligned is counted once that has been looked at: it takes all groups.
        _write(out / f"{group}.tsv", rows if aligned else tally.counted(rows))
        if not aligned:
            tally.refuse_nothing(group)
    if aligned:
        _drop_unaligned(out, tallies)
    _refuse_same_text(tallies)
    counts = {group: tally.counts(recipe) for group, tally in tallies.items()}
    for group, count in counts.items():
        logger.info("group=%s read=%d kept=%d", group, count["read"], count["kept"])
    write_json(out / "examples.json", {group: tally.examples.by_reason() for group, tally in tallies.items()})
    write_json(out / "clean.json", counts)
    return counts


def read_cleaned(path: Path) -> Iterator[CleanRow]:
    """Stream the rows of a cleaned file."""
    lines = read_lines(path)
    next(lines)
    for line in lines:
        source, target, document, corpus = line.split("\t")
        yield CleanRow(source, target, document, int(corpus))


class _Tally:
    """What became of the pairs of one group."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.examples = Examples()
        self.read: Counter[int] = Counter()
        self._kept: Counter[int] = Counter()
        self._dropped = Counter(dict.fromkeys(REASONS, 0))
        self._words = [0, 0]
        self._text = 0

    def drop(self, reason: str, source: str, target: str) -> None:
        """Count a pair that goes."""
        self._dropped[reason] += 1
        self.examples.add(reason, source, target)

    def counted(self, rows: Iterator[CleanRow]) -> Iterator[CleanRow]:
        """Pass rows on, counting them as kept."""
        for row in rows:
            self._kept[row.corpus] += 1
            self._words[0] += row.source.count(" ") + 1
            self._words[1] += row.target.count(" ") + 1
            # A sum does not depend on the order, and needs no memory.
            self._text += int.from_bytes(_digest(row.source, row.target))
            yield row

    @property
    def text(self) -> tuple[int, int]:
        """Equal for groups with the same set of pairs."""
        return self._kept.total(), self._text

    def refuse_nothing(self, group: str) -> None:
        """Stop where no pair is left.

        Raises:
            CorpusError: with the filters that took most first.
        """
        if not self._kept:
            why = ", ".join(f"{name} {count}" for name, count in self._dropped.most_common() if count)
            read = self.read.total()
            raise CorpusError(
                f"'{group}': none of its {read} pairs passed the filters ({why}); loosen {group}'s filters"
            )

    def counts(self, recipe: Recipe) -> dict[str, Any]:
        """The group's part of `clean.json`."""
        corpora = _corpora(self.domain)
        return {
            "read": self.read.total(),
            "kept": self._kept.total(),
            "dropped": dict(self._dropped),
            "licences": sorted({corpus.licence for _, corpus in corpora}),
            "words": dict(zip((recipe.languages.source, recipe.languages.target), self._words, strict=True)),
            "corpora": {str(index): {"read": self.read[index], "kept": self._kept[index]} for index, _ in corpora},
        }


def _corpora(domain: Domain) -> list[tuple[int, Corpus]]:
    """The corpora with references, and their indices among all."""
    return [(index, corpus) for index, corpus in enumerate(domain.corpora) if corpus.references == "given"]


def _filtered(recipe: Recipe, group: str, tally: _Tally, progress: Progress | None) -> Iterator[CleanRow]:
    """Stream the pairs of a group that pass its filters and are not there yet."""
    filters, corpora = tally.domain.filters, _corpora(tally.domain)
    seen: set[bytes] = set()
    seen_folded: set[bytes] = set()
    read, total = 0, sum(count_pairs(corpus) for _, corpus in corpora) if progress else 0
    for index, corpus in corpora:
        for pair in read_corpus(corpus, recipe.languages):
            read += 1
            tally.read[index] += 1
            if progress and read % _REPORT_EVERY == 0:
                progress(group, read, total)
            source, target = normalise(pair.source), normalise(pair.target)
            reason = reason_to_drop(source, target, filters, recipe.languages)
            reason = reason or ("duplicate" if _seen(seen, source, target) else None)
            if reason is None and filters.near_duplicates and _seen(seen_folded, fold(source), fold(target)):
                reason = "near_duplicate"
            if reason:
                tally.drop(reason, source, target)
            else:
                yield CleanRow(source, target, pair.document, index)
    if progress:
        progress(group, read, total)


def _seen(digests: set[bytes], source: str, target: str) -> bool:
    """Whether a pair is remembered; from now on it is."""
    digest, before = _digest(source, target), len(digests)
    digests.add(digest)
    return len(digests) == before


def _digest(source: str, target: str) -> bytes:
    """What is remembered of a pair, so that memory does not grow with its length."""
    return hashlib.blake2b(f"{source}\t{target}".encode(), digest_size=16).digest()


def _drop_unaligned(out: Path, tallies: dict[str, _Tally]) -> None:
    """Rewrite every group's file without the pairs whose words explain each other too little; the others are counted.

    Raises:
        CorpusError: a group with nothing left.
    """
    from mtkd.corpus.alignment import Aligner  # noqa: PLC0415 (numpy)

    paths = {group: out / f"{group}.tsv" for group in tallies}
    logger.info("training the alignment of words groups=%d", len(tallies))
    aligner = Aligner((row.source, row.target) for path in paths.values() for row in read_cleaned(path))
    for group, tally in tallies.items():
        _write(paths[group], tally.counted(_aligned(paths[group], tally, aligner)))
        tally.refuse_nothing(group)


def _aligned(path: Path, tally: _Tally, aligner: Aligner) -> Iterator[CleanRow]:
    least = {
        index: corpus.min_alignment for index, corpus in _corpora(tally.domain) if corpus.min_alignment is not None
    }
    scores = aligner.scores((row.source, row.target) for row in read_cleaned(path) if row.corpus in least)
    for row in read_cleaned(path):
        if row.corpus in least and next(scores) < least[row.corpus]:
            tally.drop("alignment", row.source, row.target)
        else:
            yield row


def _write(path: Path, rows: Iterator[CleanRow]) -> None:
    with writing(path) as file:
        file.write("\t".join(HEADER) + "\n")
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)


def _refuse_same_text(tallies: dict[str, _Tally]) -> None:
    owner_of_text: dict[tuple[int, int], str] = {}
    for group, tally in tallies.items():
        owner = owner_of_text.setdefault(tally.text, group)
        if owner != group:
            raise CorpusError(f"'{group}' and '{owner}' are the same text; give each its own corpora")
