"""Fetches the archives of a group's corpora and unpacks what the corpora are read from.

What it owns: the folder of a step `fetch`, and whether it is complete.
What it must not know: how archives are fetched or kept, what their formats are, how text is read.

    OUT/<index>/<member>     the members of the group's corpus of that number, under their names
    OUT/archives.json        which archives there were, and how many members of them each corpus has
"""

from __future__ import annotations

import heapq
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from mtkd.corpus.archives import extract, members
from mtkd.corpus.cache import fetch_archive
from mtkd.corpus.located import fetched_folder
from mtkd.corpus.lockfile import Archive
from mtkd.corpus.sources import to_regex
from mtkd.corpus.textfile import write_json
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus

ARCHIVES = "archives.json"
Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how many of the archives and corpora are done of how many."""
_NEAR = 3


def fetch_corpora(
    corpora: list[Corpus],
    out: Path,
    *,
    cache: Path,
    lock: Mapping[str, Archive],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fetch the archives of the corpora that have any, and unpack what fits their names; returns `archives.json`.

    A run that was killed is continued: archives in the cache are not fetched again, and what was unpacked of the same
    archives is not unpacked again.

    Returns:
        `archives`: by name in the recipe, its file, bytes and sha256. `corpora`: by number, its `archives`, the
        `patterns` and the number of `members` that fitted them.

    Raises:
        CorpusError: an archive that cannot be fetched or read; a pattern that fits no member; two archives of a corpus
            with the same member.
    """
    wanted = {str(index): corpus for index, corpus in enumerate(corpora) if corpus.archives}
    specs = list(dict.fromkeys(spec for corpus in wanted.values() for spec in corpus.archives))
    done, total = 0, len(specs) + len(wanted)
    fetched: dict[str, tuple[Archive, Path]] = {}
    for spec in specs:
        if progress:
            progress(spec, done, total)
        fetched[spec] = fetch_archive(spec, cache, locked=lock.get(spec))
        done += 1
    before = _read(out / ARCHIVES)
    found: dict[str, Any] = {
        "archives": {spec: archive.model_dump(exclude={"spec"}) for spec, (archive, _) in fetched.items()},
        "corpora": {},
    }
    for index, corpus in wanted.items():
        if progress:
            progress(f"corpus {index}", done, total)
        folder = fetched_folder(out, int(index))
        if (kept := _unpacked_before(index, corpus, folder, before, found["archives"])) is None:
            kept = _unpack(corpus, {spec: fetched[spec][1] for spec in corpus.archives}, folder)
        found["corpora"][index] = kept
        write_json(out / ARCHIVES, found)
        done += 1
    if progress:
        progress("", done, total)
    return found


def _patterns(corpus: Corpus) -> list[str]:
    return [name.as_posix() for name in corpus.names().values()]


def _unpacked_before(
    index: str, corpus: Corpus, folder: Path, before: dict[str, Any], archives: dict[str, Any]
) -> dict[str, Any] | None:
    """What an earlier run noted of a corpus, where it unpacked all of it and from the same archives."""
    kept: dict[str, Any] | None = before.get("corpora", {}).get(index)
    if kept is None or (kept["archives"], kept["patterns"]) != (corpus.archives, _patterns(corpus)):
        return None
    if any(before["archives"].get(spec) != archives[spec] for spec in corpus.archives):
        return None
    complete = sum(path.is_file() for path in folder.rglob("*")) == kept["members"]
    return kept if complete else None


def _unpack(corpus: Corpus, archives: dict[str, Path], folder: Path) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = _patterns(corpus)
    patterns = [to_regex(name) for name in names]
    origin: dict[str, str] = {}
    for spec, path in archives.items():
        for member in extract(path, patterns, folder):
            if member in origin:
                raise CorpusError(
                    f"{origin[member]} and {spec} both have {member!r}; write a corpus for each of the two archives"
                )
            origin[member] = spec
    for name, pattern in zip(names, patterns, strict=True):
        if not any(pattern.fullmatch(member) for member in origin):
            every = (member.name for path in archives.values() for member in members(path))
            raise CorpusError(
                f"{name}: no member of {', '.join(archives)} fits this name; check it in the recipe; "
                f"near it are: {', '.join(_nearest(name, every)) or 'no files at all'}"
            )
    return {"archives": list(corpus.archives), "patterns": names, "members": len(origin)}


def _nearest(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that share most of their beginning and end with a pattern."""

    def shared(name: str) -> int:
        return sum(
            sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*both, strict=False)))
            for both in ((name, pattern), (name[::-1], pattern[::-1]))
        )

    return [repr(name) for name in heapq.nlargest(_NEAR, names, key=shared)]


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content
