"""Reads a corpus of the recipe, whatever its format, as a stream of pairs.

What it owns: `READERS`, one row a value of `Corpus.reader`, and what is wrong with a file.
What it must not know: cleaning, splits, subwords. A reader returns the text exactly as it lies in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from mtkd.corpus.textfile import count_lines, read_lines
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus


class Pair(NamedTuple):
    """A source sentence, its translation ("" where there is none), and their document ("" where that is unknown)."""

    source: str
    target: str
    document: str


def read_corpus(corpus: Corpus) -> Iterator[Pair]:
    """Stream the pairs of a corpus.

    Raises:
        CorpusError: naming the file, and the line where there is one, and what is wrong with it.
    """
    return READERS[corpus.reader](corpus)


def count_pairs(corpus: Corpus) -> int:
    """How many pairs a corpus seems to hold, counted without reading it properly (for progress and estimates)."""
    if corpus.reader == "tsv":
        return max(0, count_lines(_required(corpus.path)) - 1)
    return count_lines(_required(corpus.source))


def read_tsv(corpus: Corpus) -> Iterator[Pair]:
    """A table with a header, split on tabs only: a quote is text, never syntax."""
    path = _required(corpus.path)
    lines = read_lines(path)
    header = next(lines).split("\t")
    source = _column(path, header, corpus.columns.source)
    target = None if corpus.references == "none" else _column(path, header, corpus.columns.target)
    document = None if corpus.columns.document is None else _column(path, header, corpus.columns.document)
    number = 1
    for number, line in enumerate(lines, 2):
        fields = line.split("\t")
        if len(fields) != len(header):
            raise CorpusError(
                f"{path}: line {number}: {len(fields)} tab-separated fields, but the header has {len(header)}"
            )
        yield Pair(*("" if column is None else fields[column] for column in (source, target, document)))
    if number == 1:
        raise CorpusError(f"{path}: a header and no rows")


def read_moses(corpus: Corpus) -> Iterator[Pair]:
    """Two files with a sentence a line, line i of one being the translation of line i of the other; or one alone."""
    source_path = _required(corpus.source)
    if corpus.references == "none":
        yield from (Pair(source, "", "") for source in read_lines(source_path))
        return
    target_path = _required(corpus.target)
    for source, target in zip_longest(read_lines(source_path), read_lines(target_path)):
        if source is None or target is None:
            raise CorpusError(
                f"{source_path} has {count_lines(source_path)} lines, {target_path} has {count_lines(target_path)}: "
                "line i of one must translate line i of the other"
            )
        yield Pair(source, target, "")


READERS: dict[str, Callable[[Corpus], Iterator[Pair]]] = {"tsv": read_tsv, "moses": read_moses}


def _required(path: Path | None) -> Path:
    assert path is not None, "the recipe gives every reader its files"
    return path


def _column(path: Path, header: list[str], name: str) -> int:
    if name in header:
        return header.index(name)
    by_folded = {column.strip().casefold(): column for column in header}
    near = get_close_matches(name.casefold(), by_folded, n=1)
    hint = f" (did you mean '{by_folded[near[0]]}'?)" if near else ""
    raise CorpusError(f"{path}: line 1: no column '{name}'{hint}; the header has: {', '.join(header)}")
