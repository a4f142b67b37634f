r"""Reads every text of a recipe, normalises it, throws away what cannot teach, and counts what it threw.

What it owns: `normalise`, `FILTERS`, the cleaned file (`<group>.tsv`) and `clean.json`.
What it must not know: splits, subwords, models.
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
from typing import Any, NamedTuple

from mtkd.corpus.readers import count_pairs, read_corpus
from mtkd.corpus.textfile import read_lines, write_json, writing
from mtkd.errors import CorpusError
from mtkd.recipe import Recipe
from mtkd.recipe_text import Domain, Filters

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with a group's name, the pairs read so far and the pairs there are."""
HEADER = ("source", "target", "document", "corpus")
_REPORT_EVERY = 20_000

# U+2581 is SentencePiece's own sign for a space: left in the text it would come back as one.
_SPACES = re.compile("[\\s\ufeff\u2581]+")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")


class CleanRow(NamedTuple):
    """One row of a cleaned file; `corpus` is the index of the corpus within its group."""

    source: str
    target: str
    document: str
    corpus: int


def normalise(text: str) -> str:
    """NFC, without control characters, and with single plain spaces as the only white space; idempotent."""
    text = _SPACES.sub(" ", _CONTROLS.sub("", text))
    return unicodedata.normalize("NFC", text).strip(" ")


def _too_short(source: str, target: str, limit: int) -> bool:
    return min(_words(source), _words(target)) < limit


def _too_long(source: str, target: str, limit: int) -> bool:
    return max(_words(source), _words(target)) > limit


def _unequal(source: str, target: str, limit: float) -> bool:
    shorter, longer = sorted((_words(source), _words(target)))
    return longer > limit * shorter


def _copy(source: str, target: str, wanted: bool) -> bool:
    return wanted and source.casefold() == target.casefold()


FILTERS: dict[str, Callable[[str, str, Any], bool]] = {
    "min_words": _too_short,
    "max_words": _too_long,
    "max_ratio": _unequal,
    "copies": _copy,
}
"""By field of `recipe.Filters`: whether a pair (normalised, neither side empty) is dropped, given the field's value."""


def reason_to_drop(source: str, target: str, filters: Filters) -> str | None:
    """Name of the first rule that drops a normalised pair, `empty` before any other; None keeps it."""
    if not source or not target:
        return "empty"
    return next((name for name, drops in FILTERS.items() if drops(source, target, getattr(filters, name))), None)


def clean_corpora(recipe: Recipe, out: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Write `<group>.tsv` for every text of the recipe and `clean.json` with the counts, which are returned.

    The counts, by group: `read`, `kept`, `dropped` (by filter, `empty` and `duplicate` included), `licences`, `words`
    (by language).

    Raises:
        CorpusError: a file that cannot be used, a group with nothing left, two groups with the same text.
    """
    counts: dict[str, Any] = {}
    owner_of_text: dict[bytes, str] = {}
    for group, domain in recipe.corpora_groups().items():
        counts[group], text = _clean_group(recipe, group, domain, out / f"{group}.tsv", progress)
        if text in owner_of_text:
            raise CorpusError(f"'{group}' and '{owner_of_text[text]}' are the same text; give each its own corpora")
        owner_of_text[text] = group
        logger.info("group=%s read=%d kept=%d", group, counts[group]["read"], counts[group]["kept"])
    write_json(out / "clean.json", counts)
    return counts


def read_cleaned(path: Path) -> Iterator[CleanRow]:
    """Stream the rows of a cleaned file."""
    lines = read_lines(path)
    next(lines)
    for line in lines:
        source, target, document, corpus = line.split("\t")
        yield CleanRow(source, target, document, int(corpus))


def _clean_group(
    recipe: Recipe, group: str, domain: Domain, path: Path, progress: Progress | None
) -> tuple[dict[str, Any], bytes]:
    """Clean one group into `path`; its counts, and a digest of its set of pairs."""
    read = source_words = target_words = 0
    dropped = Counter(dict.fromkeys(["empty", *FILTERS, "duplicate"], 0))
    seen: set[bytes] = set()
    corpora = domain.with_references(True)
    total = sum(count_pairs(corpus) for corpus in corpora) if progress else 0
    with writing(path) as file:
        file.write("\t".join(HEADER) + "\n")
        for index, corpus in enumerate(corpora):
            for pair in read_corpus(corpus):
                read += 1
                if progress and read % _REPORT_EVERY == 0:
                    progress(group, read, total)
                source, target = normalise(pair.source), normalise(pair.target)
                if reason := reason_to_drop(source, target, domain.filters):
                    dropped[reason] += 1
                    continue
                digest = hashlib.blake2b(f"{source}\t{target}".encode(), digest_size=16).digest()
                if digest in seen:
                    dropped["duplicate"] += 1
                    continue
                seen.add(digest)
                source_words += _words(source)
                target_words += _words(target)
                file.write(f"{source}\t{target}\t{pair.document}\t{index}\n")
    if progress:
        progress(group, read, total)
    if not seen:
        why = ", ".join(f"{name} {count}" for name, count in dropped.items() if count)
        raise CorpusError(f"'{group}': none of its {read} pairs passed the filters ({why}); loosen {group}'s filters")
    counts = {
        "read": read,
        "kept": len(seen),
        "dropped": dict(dropped),
        "licences": sorted({corpus.licence for corpus in corpora}),
        "words": {recipe.languages.source: source_words, recipe.languages.target: target_words},
    }
    return counts, hashlib.blake2b(b"".join(sorted(seen))).digest()


def _words(text: str) -> int:
    """Number of words of a normalised text that is not empty."""
    return text.count(" ") + 1
