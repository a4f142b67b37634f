"""Small splits on disk, for the tests of statistics and of the page about text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from mtkd.recipe_text import Languages

LANGUAGES = Languages(source="en", target="de")


def write_split(folder: Path, groups: Mapping[str, Mapping[str, Iterable[tuple[str, str]]]]) -> Path:
    """Write group -> side -> pairs as `split_corpora` does; returns `folder`."""
    for group, sides in groups.items():
        (folder / group).mkdir(parents=True)
        for side, pairs in sides.items():
            sources, targets = zip(*pairs, strict=True)
            for language, texts in ((LANGUAGES.source, sources), (LANGUAGES.target, targets)):
                path = folder / group / f"{side}.{language}"
                path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", newline="\n")
    return folder
