"""What of a recipe's corpora the steps before training depend on.

What it owns: the nodes that fetch archives, and corpora as part of a key. What it must not know: what is in a file.
Why contents and documents, but not paths: a file that moved trains nothing anew, one that changed does, and so does
one whose document is called otherwise, as the split goes by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtkd.corpus.located import needs_fetching
from mtkd.corpus.sources import expand
from mtkd.graph import Table
from mtkd.recipe import Recipe
from mtkd.recipe_text import Corpus

_FILES = ("path", "source", "target")


def add_fetches(table: Table, recipe: Recipe) -> list[str]:
    """A node for every group with archives; their names.

    Its key knows what is asked for and not what comes: an archive that changed upstream is told of, and a run that has
    its text does not fetch another.
    """
    names = []
    for group, domain in recipe.corpora_groups().items():
        if needs_fetching(domain):
            wanted = {
                str(index): {"archives": corpus.archives, **{key: str(name) for key, name in corpus.names().items()}}
                for index, corpus in enumerate(domain.corpora)
                if corpus.archives
            }
            names.append(f"fetch.{group}")
            table.add(names[-1], [], corpora=wanted)
    return names


def corpora_slice(corpora: Sequence[Corpus]) -> list[dict[str, Any]]:
    """Corpora as part of a key, files to be hashed; without their licences: correcting one trains nothing anew."""
    return [_corpus_slice(corpus) for corpus in corpora]


def _corpus_slice(corpus: Corpus) -> dict[str, Any]:
    content = corpus.model_dump(exclude={"licence", *_FILES})
    for key, name in corpus.names().items():
        content[key] = str(name) if corpus.archives else _files(name)
    return content


def _files(name: Path) -> Path | list[list[str | Path]]:
    """A file, or the documents and files that a pattern stands for."""
    found = expand(name)
    if [source.path for source in found] == [name]:
        return name
    return [[source.document, source.path] for source in found]
