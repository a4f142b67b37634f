"""Readers of text that is a line a pair: tables and aligned files.

What it owns: TSV with a header, Moses' two files, and what is wrong with them. What it must not know: cleaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path

from mtkd.corpus.pair import Pair
from mtkd.corpus.sources import expand, paired, within
from mtkd.corpus.textfile import count_lines, read_lines
from mtkd.errors import CorpusError
from mtkd.recipe_text import Columns, Corpus, Languages


def read_tsv(corpus: Corpus, languages: Languages) -> Iterator[Pair]:
    """Tables with a header, split on tabs only: a quote is text, never syntax."""
    for path, document in expand(corpus.names()["path"]):
        yield from _read_table(path, document, corpus.columns, source_alone=corpus.references == "none")


def read_moses(corpus: Corpus, languages: Languages) -> Iterator[Pair]:
    """Two files with a sentence a line, line i of one being the translation of line i of the other; or one alone."""
    names = corpus.names()
    if corpus.references == "none":
        for path, document in expand(names["source"]):
            yield from (Pair(source, "", document) for source in read_lines(path))
        return
    for document, source_path, target_path in paired(names["source"], names["target"]):
        for source, target in zip_longest(read_lines(source_path), read_lines(target_path)):
            if source is None or target is None:
                raise CorpusError(
                    f"{source_path} has {count_lines(source_path)} lines, {target_path} has "
                    f"{count_lines(target_path)}: line i of one must translate line i of the other"
                )
            yield Pair(source, target, document)


def _read_table(path: Path, document: str, columns: Columns, *, source_alone: bool) -> Iterator[Pair]:
    lines = read_lines(path)
    header = next(lines).split("\t")
    source = _column(path, header, columns.source)
    target = None if source_alone else _column(path, header, columns.target)
    part = None if columns.document is None else _column(path, header, columns.document)
    number = 1
    for number, line in enumerate(lines, 2):
        fields = line.split("\t")
        if len(fields) != len(header):
            raise CorpusError(
                f"{path}: line {number}: {len(fields)} tab-separated fields, but the header has {len(header)}"
            )
        yield Pair(
            fields[source],
            "" if target is None else fields[target],
            document if part is None else within(document, fields[part]),
        )
    if number == 1:
        raise CorpusError(f"{path}: a header and no rows")


def _column(path: Path, header: list[str], name: str) -> int:
    if name in header:
        return header.index(name)
    by_folded = {column.strip().casefold(): column for column in header}
    near = get_close_matches(name.casefold(), by_folded, n=1)
    hint = f" (did you mean '{by_folded[near[0]]}'?)" if near else ""
    raise CorpusError(f"{path}: line 1: no column '{name}'{hint}; the header has: {', '.join(header)}")
