"""The recipes of package archives: they load, agree where they should, commit no text, and name every licence.

What they fetch is not tested here: that needs the network.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mtkd.recipe import Recipe
from mtkd.recipe_file import load_recipe
from mtkd.recipe_text import Corpus

RECIPES = Path(__file__).parents[2] / "data_recipes"
LARGE, SMALL = "packages_en_de", "packages_en_de_small"
MAY_BE_COMMITTED = {"recipe.yaml", "README.md", "results.md", "archives.lock.json"}


def corpora(recipe: Recipe) -> list[Corpus]:
    return [corpus for group in recipe.corpora_groups().values() for corpus in group.corpora]


@pytest.fixture(params=[LARGE, SMALL])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_large_recipe_has_eight_domains_and_general_text() -> None:
    domains = ["office", "it", "games", "smarthome", "medical", "finance", "music", "religion"]
    assert list(load_recipe(RECIPES / LARGE).corpora_groups()) == [*domains, "general"]


def test_the_small_recipe_has_the_same_text_as_the_large_one() -> None:
    large, small = load_recipe(RECIPES / LARGE), load_recipe(RECIPES / SMALL)
    assert list(small.domains) == ["office", "music", "medical", "religion"]
    assert small.general is None
    for domain, text in small.domains.items():
        assert text == large.domains[domain], domain


def test_every_corpus_comes_from_archives_and_none_is_committed(name: str) -> None:
    assert all(corpus.archives for corpus in corpora(load_recipe(RECIPES / name)))
    assert {path.name for path in (RECIPES / name).iterdir()} <= MAY_BE_COMMITTED


def test_every_licence_and_every_package_is_in_the_readme(name: str) -> None:
    readme = (RECIPES / name / "README.md").read_text(encoding="utf-8")
    mentioned = set(re.findall(r"[\w@./+-]*\w", readme))
    for corpus in corpora(load_recipe(RECIPES / name)):
        for licence in re.split(" (?:AND|OR) ", corpus.licence):
            assert licence in mentioned, licence
        for archive in corpus.archives:
            package = re.split("=|(?<=.)@", archive.partition(":")[2])[0]
            assert package in mentioned, package


def test_packages_outside_the_distribution_have_their_versions_pinned(name: str) -> None:
    """Theirs stay available for ever; a distribution keeps the newest one only, so that a pinned one would vanish."""
    for corpus in corpora(load_recipe(RECIPES / name)):
        for archive in corpus.archives:
            kind, _, package = archive.partition(":")
            assert bool(re.search("==|.@", package)) == (kind != "deb"), archive


def test_dev_and_test_come_from_documents_or_sentences_no_other_domain_has(name: str) -> None:
    """The same corpus in two domains would be in the training text of one and the test set of the other."""
    patterns = [
        (tuple(corpus.archives), *map(str, corpus.names().values())) for corpus in corpora(load_recipe(RECIPES / name))
    ]
    assert len(set(patterns)) == len(patterns)
