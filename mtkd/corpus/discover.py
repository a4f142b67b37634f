"""Finds the translations in a folder: which files are parallel text, in which languages, of which domain.

What it owns: kinds of files by their endings, pairs of files by their names, domains by folders, counts, and why a
file cannot be used. What it must not know: formats (`readers.py`, `headers.py`), what becomes of the text.
Why everything is named, what cannot be used too: who hands over a folder wants to know what was overlooked.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mtkd.corpus.headers import HEADERS, ISO_639_1, Said, agreed_languages, primary, table_columns
from mtkd.corpus.readers import read_corpus
from mtkd.errors import CorpusError
from mtkd.recipe import TAKEN
from mtkd.recipe_text import DOCUMENT, GENERAL, TRANSFER, TRANSLATED, Corpus, Languages

KINDS = {
    ".tmx": "tmx",
    ".xlf": "xliff",
    ".xliff": "xliff",
    ".sdlxliff": "xliff",
    ".mqxliff": "xliff",
    ".mxliff": "xliff",
    ".po": "po",
    ".mo": "mo",
    ".tsv": "tsv",
    ".tab": "tsv",
}
"""File ending -> reader; `.gz` or `.zst` may follow."""
LICENCE = "proprietary"
"""What is written down as every corpus's licence, for the owner to put right."""
_COMPRESSED = re.compile(r"\.(gz|zst)$", re.IGNORECASE)
_MOSES = re.compile(r"(?P<stem>.+?)\.(?P<language>[A-Za-z]{2,3}(?:[-_]\w+)?)(?:\.txt)?")
_UNKNOWN = "not TMX, XLIFF, PO, MO or TSV, nor one of two texts as x.en and x.de"


@dataclass(frozen=True)
class CountedCorpus:
    """A corpus, its files absolute, and the pairs in it of which neither side is empty."""

    corpus: Corpus
    pairs: int


@dataclass(frozen=True)
class Unusable:
    """A file that cannot be used, by its path within the folder, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Discovery:
    """What an absolute folder has: corpora by group (valid names of domains, and `general`)."""

    folder: Path
    languages: Languages
    groups: dict[str, list[CountedCorpus]]
    unusable: list[Unusable]


@dataclass(frozen=True)
class _Candidate:
    """Files that may be one corpus: one, or those of one text in several languages (by language)."""

    reader: str
    key: str
    """The folder's or the file's name that names the domain."""
    files: dict[str, Path]
    said: Said


def discover(
    folder: Path,
    source: str | None = None,
    target: str | None = None,
    *,
    progress: Callable[[Path], None] | None = None,
) -> Discovery:
    """The parallel text in a folder and below; `progress` is called with every file that is about to be counted.

    A first level of folders names the domains, and a file beside them names its own.

    Raises:
        CorpusError: the folder has no text that can be used.
        UsageError: languages that are not given and not agreed on.
    """
    folder = folder.absolute()
    candidates, unusable = _candidates(folder, {code for code in (source, target) if code})
    if not candidates:
        raise CorpusError(
            f"{folder}: no translations: no TMX, XLIFF, PO, MO or TSV file and no two files as x.en, x.de"
        )
    languages = agreed_languages((candidate.said for candidate in candidates), source, target)
    names = domain_names(candidate.key for candidate in candidates)
    groups: dict[str, list[CountedCorpus]] = {}
    for candidate in candidates:
        try:
            corpus = _corpus(candidate, languages)
            if progress:
                progress(next(iter(candidate.files.values())).relative_to(folder))
            pairs = sum(bool(pair.source.strip() and pair.target.strip()) for pair in read_corpus(corpus, languages))
            if not pairs:
                raise CorpusError(f"no pair of {languages.source} and {languages.target} in it")
        except CorpusError as error:
            reason = str(error).splitlines()[0]
            for path in candidate.files.values():
                said = reason.replace(f"{path}: ", "").replace(f"{folder}{os.sep}", "")
                unusable.append(Unusable(path.relative_to(folder), said))
            continue
        used = set(corpus.names().values())
        unusable += [
            Unusable(path.relative_to(folder), f"neither {languages.source} nor {languages.target}, or there twice")
            for path in candidate.files.values()
            if path not in used
        ]
        groups.setdefault(names[candidate.key], []).append(CountedCorpus(corpus, pairs))
    if not groups:
        reasons = "".join(f"\n{file.path}: {file.reason}" for file in unusable)
        raise CorpusError(f"{folder}: none of its files can be used{reasons}")
    return Discovery(folder, languages, dict(sorted(groups.items())), sorted(unusable, key=lambda file: file.path))


def domain_names(keys: Iterable[str]) -> dict[str, str]:
    """A valid and unique domain name for every name of a folder or file; `general` stays what it is."""
    names: dict[str, str] = {}
    for key in sorted(set(keys), key=lambda key: (domain_name(key) != key, key)):
        name, number = domain_name(key), 1
        while name in names.values():
            number += 1
            name = f"{domain_name(key)}_{number}"
        names[key] = name
    return names


def domain_name(text: str) -> str:
    """The nearest name that a domain may have: `[a-z][a-z0-9_]*`, none that stands for something else."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    name = re.sub("[^a-z0-9]+", "_", plain).strip("_")
    if not name[:1].isalpha():
        name = f"domain_{name}".rstrip("_")
    taken = (name in TAKEN and name != GENERAL) or name.endswith((TRANSFER, TRANSLATED))
    return f"{name}_text" if taken else name


def _candidates(folder: Path, given: set[str]) -> tuple[list[_Candidate], list[Unusable]]:
    """What may be corpora, and what cannot: by name and header, nothing counted yet."""
    found: list[_Candidate] = []
    unusable: list[Unusable] = []
    texts: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in _files(folder):
        relative = path.relative_to(folder)
        name = _COMPRESSED.sub("", path.name)
        reader, moses = KINDS.get(Path(name).suffix.lower()), _MOSES.fullmatch(name)
        language = primary(moses["language"]) if moses else ""
        if "*" in str(path) or DOCUMENT in str(path) or not str(path).isprintable():
            unusable.append(
                Unusable(relative, f"rename it: '*', '{DOCUMENT}' and what cannot be printed have no place")
            )
        elif reader:
            try:
                said = HEADERS[reader](path)
            except CorpusError as error:
                unusable.append(Unusable(relative, str(error).removeprefix(f"{path}: ")))
            else:
                found.append(_Candidate(reader, _key(relative, Path(name).stem), {"": path}, said))
        elif moses and language in ISO_639_1 | given:
            # The first of two, as x.en and x.en.gz, has it.
            texts.setdefault((path.parent, moses["stem"]), {}).setdefault(language, path)
        else:
            unusable.append(Unusable(relative, _UNKNOWN))
    for (parent, stem), files in texts.items():
        key = _key((parent / stem).relative_to(folder), stem)
        if len(files) > 1:
            found.append(_Candidate("moses", key, files, Said(languages=frozenset(files))))
        else:
            unusable += [
                Unusable(path.relative_to(folder), "no text of the same name in another language beside it")
                for path in files.values()
            ]
    return found, unusable


def _files(folder: Path) -> Iterator[Path]:
    """Every file, sorted; but hidden ones, and what a run wrote; links to folders are not followed."""
    for place, folders, files in os.walk(folder):
        if ".mtkd" in folders:  # a workspace
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def _key(relative: Path, stem: str) -> str:
    return relative.parts[0] if len(relative.parts) > 1 else stem


def _corpus(candidate: _Candidate, languages: Languages) -> Corpus:
    """The corpus that a candidate is for the languages; what only its text can say is left to its reader.

    Raises:
        CorpusError: it is not of these languages, or a table does not say which column is which.
    """
    if candidate.reader == "moses":
        source, target = (candidate.files.get(language) for language in (languages.source, languages.target))
        if source is None or target is None:
            raise CorpusError(
                f"not {languages.source} and {languages.target}, but {', '.join(sorted(candidate.files))}"
            )
        return Corpus(reader="moses", source=source, target=target, licence=LICENCE)
    path = candidate.files[""]
    if candidate.reader in ("po", "mo") and candidate.said.target not in ("", languages.target):
        raise CorpusError(f"a translation into {candidate.said.target}, not {languages.target}")
    if candidate.reader != "tsv":
        return Corpus.model_validate({"reader": candidate.reader, "path": path, "licence": LICENCE})
    columns = table_columns(path, languages.source, languages.target)
    if columns is None:
        raise CorpusError(
            "its first line does not say which column is the source and which the target; "
            "begin the file with a line that names them: source and target, "
            f"or {languages.source} and {languages.target}"
        )
    return Corpus(reader="tsv", path=path, columns=columns, licence=LICENCE)
