"""Reads a corpus of the recipe, whatever its format, as a stream of pairs.

What it owns: `READERS`, one row a value of `Corpus.reader`, and the recipe's options that change what any reader reads.
What it must not know: formats (their own modules), cleaning, splits, subwords.
Why the options are here and not in the readers: each is written once, and a corpus that uses none of them pays nothing
for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mtkd.corpus.ding import read_ding
from mtkd.corpus.exchange import read_tmx, read_xliff
from mtkd.corpus.gettext_files import read_mo, read_po
from mtkd.corpus.json_files import read_json
from mtkd.corpus.pages import read_pages
from mtkd.corpus.pair import Pair
from mtkd.corpus.sources import expand
from mtkd.corpus.tables import read_moses, read_tsv
from mtkd.corpus.textfile import count_lines
from mtkd.recipe_text import Corpus, Languages

READERS: dict[str, Callable[[Corpus, Languages], Iterator[Pair]]] = {
    "tsv": read_tsv,
    "moses": read_moses,
    "tmx": read_tmx,
    "xliff": read_xliff,
    "po": read_po,
    "mo": read_mo,
    "json": read_json,
    "pages": read_pages,
    "ding": read_ding,
}

_ESCAPE = "\x00"
"""Stands for a doubled accelerator character, which is that character itself."""


def read_corpus(corpus: Corpus, languages: Languages) -> Iterator[Pair]:
    """Stream the pairs of a corpus, its options applied; the text is otherwise as it lies in the file.

    Raises:
        CorpusError: naming the file, and the line where there is one, and what is wrong with it.
    """
    pairs = READERS[corpus.reader](corpus, languages)
    if corpus.skip is not None:
        pairs = _without(pairs, re.compile(corpus.skip))
    if corpus.document_pattern is not None:
        pairs = _renamed(pairs, re.compile(corpus.document_pattern))
    if corpus.strip:
        pairs = _stripped(pairs, re.compile("|".join(f"(?:{expression})" for expression in corpus.strip)))
    if corpus.accelerator is not None:
        pairs = _without_accelerators(pairs, corpus.accelerator)
    if corpus.sentences:
        pairs = _sentences(pairs, languages)
    return pairs


def count_pairs(corpus: Corpus) -> int:
    """How many pairs a corpus seems to hold, for progress and estimates; 0 where only reading it would tell."""
    if corpus.reader == "tsv":
        return sum(max(0, count_lines(path) - 1) for path, _ in expand(corpus.names()["path"]))
    if corpus.reader == "moses":
        return sum(count_lines(path) for path, _ in expand(corpus.names()["source"]))
    return 0


def _without(pairs: Iterator[Pair], unwanted: re.Pattern[str]) -> Iterator[Pair]:
    """Without the documents in whose name `unwanted` is found."""
    return (pair for pair in pairs if not unwanted.search(pair.document))


def _renamed(pairs: Iterator[Pair], wanted: re.Pattern[str]) -> Iterator[Pair]:
    """With documents called by the part of their name that `wanted` finds; a name without it stays whole."""
    for pair in pairs:
        found = wanted.search(pair.document)
        yield pair if found is None else pair._replace(document=(found[1] if wanted.groups else None) or found[0])


def _stripped(pairs: Iterator[Pair], unwanted: re.Pattern[str]) -> Iterator[Pair]:
    return (Pair(unwanted.sub("", source), unwanted.sub("", target), document) for source, target, document in pairs)


def _without_accelerators(pairs: Iterator[Pair], mark: str) -> Iterator[Pair]:
    """Without the mark before the letter that is the keyboard accelerator; the mark doubled is the character itself.

    A message has one accelerator: where a side has more marks than one (`config_file_name`), they are text.
    """
    before_letter = re.compile(rf"{mark}(?=\w)")

    def plain(text: str) -> str:
        if mark not in text:
            return text
        text = text.replace(mark * 2, _ESCAPE)
        if text.count(mark) == 1:
            text = before_letter.sub("", text)
        return text.replace(_ESCAPE, mark)

    return (Pair(plain(source), plain(target), document) for source, target, document in pairs)


def _sentences(pairs: Iterator[Pair], languages: Languages) -> Iterator[Pair]:
    """Pairs of sentences where both sides have equally many; else, and of source text alone, the pair as it is."""
    from sentencex import segment  # noqa: PLC0415 - most corpora do not need it

    for pair in pairs:
        sources = [sentence for part in segment(languages.source, pair.source) if (sentence := part.strip())]
        targets = [sentence for part in segment(languages.target, pair.target) if (sentence := part.strip())]
        if len(sources) != len(targets):
            yield pair
            continue
        for source, target in zip(sources, targets, strict=True):
            yield Pair(source, target, pair.document)
