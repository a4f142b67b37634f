"""Turns a recipe's corpora of archives into corpora of files, once the archives were fetched.

What it owns: where a fetched corpus lies. What it must not know: how it was fetched, how it is read.
Why: readers and everything after them see local files only, so that fetching has no second home.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mtkd.corpus.sources import expand
from mtkd.recipe import Recipe
from mtkd.recipe_text import Corpus, Domain


def fetched_folder(folder: Path, index: int) -> Path:
    """Where the members of a group's corpus are unpacked, by its number among all of the group's corpora."""
    return folder / str(index)


def needs_fetching(domain: Domain) -> bool:
    """Whether any of the corpora comes from archives."""
    return any(corpus.archives for corpus in domain.corpora)


def files_of(corpus: Corpus) -> dict[str, list[Path]]:
    """The files a corpus is read from, by key (`path`, or `source` and `target`); none where it was not fetched yet.

    Raises:
        CorpusError: a pattern that finds nothing.
    """
    if corpus.archives:
        return {}
    return {key: [source.path for source in expand(name)] for key, name in corpus.names().items()}


def with_fetched(recipe: Recipe, fetched: Mapping[str, Path]) -> Recipe:
    """The recipe in which the corpora of the groups in `fetched` (group -> folder) are local files."""
    groups = {
        name: _located(group, fetched[name]) if name in fetched else group
        for name, group in recipe.corpora_groups().items()
    }
    return recipe.with_groups(groups)


def _located(domain: Domain, folder: Path) -> Domain:
    corpora = [
        _below(corpus, fetched_folder(folder, index)) if corpus.archives else corpus
        for index, corpus in enumerate(domain.corpora)
    ]
    return domain.model_copy(update={"corpora": corpora})


def _below(corpus: Corpus, folder: Path) -> Corpus:
    located = {key: folder / name for key, name in corpus.names().items()}
    return corpus.model_copy(update={"archives": [], **located})
