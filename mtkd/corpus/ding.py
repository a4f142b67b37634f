"""Reads the example sentences of a dictionary in the format of Ding: general text where there is no other.

What it owns: that format. What it must not know: cleaning, languages other than those in the file's name.
Why sentences alone: an entry's words have no context, which is what a translation model learns from.

    Haus {n}; Bau {m} [arch.] | Das Haus brennt. :: house; building | The house is on fire.

A line is an entry, ` :: ` between the languages, `|` between its forms, which correspond, and `;` between synonyms.
`{m}` is grammar, `[arch.]` a field, `/abbr./` an abbreviation, `<see>` a reference, `(text)` may be left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

from mtkd.corpus.pair import Pair
from mtkd.corpus.textfile import read_lines
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus, Languages

logger = logging.getLogger(__name__)

_LINES_OF_A_DOCUMENT = 500
"""Neighbours in the alphabet have a headword in common, and are not to be split."""
_NOTES = re.compile(r"\{[^{}]*\}|\[[^][]*\]|<[^<>]*>|(?<!\S)/[^/]*/(?=[\s;]|$)")
_SENTENCE = re.compile(r"[.!?]$")
_PLACEHOLDER = re.compile(r"\b(?:sb|sbs|sth|jd|jdn|jdm|jds|jmd|etw)\b\.?(?=\W|$)")


def read_ding(corpus: Corpus, languages: Languages) -> Iterator[Pair]:
    """The example sentences of a dictionary, whose file is named for its languages in their order (`de-en`).

    Raises:
        CorpusError: the file is not readable UTF-8, is not named for the recipe's two languages, or holds no entry.
    """
    path = corpus.path
    assert path is not None, "the recipe gives every reader its files"
    named = path.name.split(".")[0].split("-")
    if sorted(named) != sorted([languages.source, languages.target]):
        raise CorpusError(
            f"{path}: a dictionary's file is named for its languages, in the order of its columns "
            f"({languages.source}-{languages.target} or {languages.target}-{languages.source}); rename it"
        )
    swapped = named[0] == languages.target
    entries = unequal = 0
    for number, line in enumerate(read_lines(path)):
        if line.startswith("#") or "::" not in line:
            continue
        entries += 1
        left, right = line.split("::", 1)
        pairs = _sentences(left, right)
        if pairs is None:
            unequal += 1
            continue
        document = f"{number // _LINES_OF_A_DOCUMENT:04d}"
        yield from (Pair(b, a, document) if swapped else Pair(a, b, document) for a, b in pairs)
    if not entries:
        raise CorpusError(f"{path}: no line of the form 'text :: text', so this is no dictionary in the format of Ding")
    logger.info("entries=%d with_unequal_forms=%d path=%s", entries, unequal, path)


def _sentences(left: str, right: str) -> list[tuple[str, str]] | None:
    """Pairs of sentences of an entry; None where its two sides have not equally many forms."""
    lefts, rights = left.split("|"), right.split("|")
    if len(lefts) != len(rights):
        return None
    return [
        pair for forms in zip(lefts, rights, strict=True) for pair in _synonyms(*forms) if all(map(_is_sentence, pair))
    ]


def _synonyms(left: str, right: str) -> list[tuple[str, str]]:
    """Each with its counterpart where there are equally many, else the first, which is the usual one."""
    lefts, rights = ([_plain(text) for text in side.split(";")] for side in (left, right))
    if len(lefts) != len(rights):
        return [(lefts[0], rights[0])]
    return list(zip(lefts, rights, strict=True))


def _plain(text: str) -> str:
    """Text without notes; what may be left out stays."""
    text = _NOTES.sub(" ", text)
    return " ".join(text.replace("(", "").replace(")", "").split())


def _is_sentence(text: str) -> bool:
    return bool(_SENTENCE.search(text)) and not _PLACEHOLDER.search(text)
