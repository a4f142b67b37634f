"""Which files a name in the recipe means.

What it owns: what `{document}` and `*` stand for, in names of local files and of members of archives alike.
What it must not know: what is inside a file, where it came from.
Why the document is read off the name: a file is the unit that a split must not tear apart, and the same document in
another language differs from it in a fixed part of its name only.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mtkd.errors import CorpusError
from mtkd.recipe_text import DOCUMENT

logger = logging.getLogger(__name__)

_WILDCARDS = re.compile(rf"({re.escape(DOCUMENT)}|\*)")


class Source(NamedTuple):
    """A file, and the document that its name says it is ("" where the name does not say)."""

    path: Path
    document: str


def expand(pattern: Path) -> list[Source]:
    """The files that an absolute pattern means, sorted by name; a name without a pattern is taken as it is.

    Raises:
        CorpusError: no file fits the pattern, or a folder cannot be listed.
    """
    if not _WILDCARDS.search(str(pattern)):
        return [Source(pattern, "")]
    fits = to_regex(str(pattern)).fullmatch
    found = [
        Source(path, document_name(match.groupdict().get("document", "")))
        for path in _candidates(pattern)
        if (match := fits(str(path)))
    ]
    if not found:
        raise CorpusError(f"{pattern}: no file fits this name; check it in the recipe")
    return sorted(found)


def paired(source: Path, target: Path) -> list[tuple[str, Path, Path]]:
    """Document, source file and target file of every document that is there in both languages, by document.

    Documents of one language only are left out, and how many is logged.

    Raises:
        CorpusError: no file fits a pattern, a document has two files of one language, or none is there in both.
    """
    sources, targets = _by_document(source), _by_document(target)
    both = sorted(sources.keys() & targets.keys())
    if not both:
        raise CorpusError(
            f"{source} fits {len(sources)} files and {target} {len(targets)}, but no two have the same {DOCUMENT}; "
            "check both names in the recipe"
        )
    if unpaired := len(sources.keys() ^ targets.keys()):
        logger.info("unpaired_documents=%d source=%s target=%s", unpaired, source, target)
    return [(document, sources[document], targets[document]) for document in both]


def to_regex(pattern: str) -> re.Pattern[str]:
    """What whole names fit a pattern (use `fullmatch`); its group `document` is what `{document}` stands for.

    A second `{document}` stands for the same as the first.
    """
    parts, named = [], False
    for part in _WILDCARDS.split(pattern):
        if part == "*":
            parts.append("[^/]*")
        elif part == DOCUMENT:
            parts.append("(?P=document)" if named else "(?P<document>.+)")
            named = True
        else:
            parts.append(re.escape(part))
    return re.compile("".join(parts), re.DOTALL)


def document_name(text: str) -> str:
    """A document's name with single spaces as its only white space, so that it fits into a column of a table."""
    return " ".join(text.split())


def within(document: str, part: str) -> str:
    """Name of a document that a file names as a part of itself: rows of two files are never one document."""
    part = document_name(part)
    return f"{document}/{part}" if document and part else document or part


def _candidates(pattern: Path) -> Iterator[Path]:
    """Every file at or below the last folder that the pattern names in full, no deeper than the pattern can reach."""
    fixed = 0
    while not _WILDCARDS.search(pattern.parts[fixed]):
        fixed += 1
    base = Path(*pattern.parts[:fixed])
    deepest = None if DOCUMENT in str(pattern) else len(pattern.parts) - 1
    for folder, subfolders, files in os.walk(base, onerror=_cannot_list):
        if deepest is not None and len(Path(folder).parts) >= deepest:
            subfolders.clear()
        yield from (Path(folder, name) for name in files)


def _cannot_list(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):
        raise CorpusError(f"{error.filename}: no such folder; check the path in the recipe") from None
    raise CorpusError(f"{error.filename}: cannot be listed: {error.strerror}") from None


def _by_document(pattern: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path, document in expand(pattern):
        if document in found:
            raise CorpusError(
                f"{pattern} fits {found[document]} and {path}, which are one document by their names; "
                f"let {DOCUMENT} stand for the part in which they differ"
            )
        found[document] = path
    return found
