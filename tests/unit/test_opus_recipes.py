"""The recipes whose text is OPUS's: every archive they name exists there, and comes out of a mirror as pairs."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtkd.corpus.fetch import fetch_corpora
from mtkd.corpus.located import with_fetched
from mtkd.corpus.opus import MIRROR_VARIABLE, OpusFile, look_up
from mtkd.corpus.readers import read_corpus
from mtkd.recipe import Recipe
from mtkd.recipe_file import load_recipe
from tests.opus_mirror import Mirror, add_archive, linked_index, unpacked_index

RECIPES = Path(__file__).parents[2] / "data_recipes"
NAMES = ["opus_de_en", "opus_en_fr_finance_law_medical"]
PAIRS = 40


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest) -> Path:
    return RECIPES / str(request.param)


def archives_of(recipe: Recipe) -> list[str]:
    groups = recipe.corpora_groups().values()
    return [name for group in groups for corpus in group.corpora for name in corpus.archives]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with unpacked_index(tmp_path_factory.mktemp("index")) as folder:
        yield folder


@pytest.fixture(scope="module")
def entry(index: Path) -> Callable[[str], OpusFile]:
    """What the index says of an archive of a recipe."""
    return functools.cache(lambda spec: look_up(spec.removeprefix("opus:"), index))


@pytest.fixture
def cache(tmp_path: Path, index: Path) -> Iterator[Path]:
    """A cache in which nothing lies but the index."""
    with linked_index(index, tmp_path / "cache" / "fetching" / "opus"):
        yield tmp_path / "cache"


def sentences(spec: str, language: str) -> list[str]:
    """Made-up lines of a corpus in a language, other ones for every archive."""
    words = random.Random(spec).choices(["ab", "cde", "fghi"], k=PAIRS)
    return [f"{language} {number} {word} {spec}." for number, word in enumerate(words)]


@pytest.fixture
def mirror(
    folder: Path, entry: Callable[[str], OpusFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mirror]:
    """A mirror with a made archive for every one that the recipe names."""
    for spec in archives_of(load_recipe(folder)):
        found = entry(spec)
        first, second = found.pair.split("-")
        lines = (sentences(spec, first), sentences(spec, second))
        add_archive(tmp_path / "mirror", found.corpus, found.release, found.pair, lines)
    with Mirror(tmp_path / "mirror").running() as running:
        monkeypatch.setenv(MIRROR_VARIABLE, running.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield running


def test_every_corpus_becomes_pairs_and_is_fetched_once(
    folder: Path, mirror: Mirror, cache: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(folder)
    for run in ("first", "second"):
        out = {group: tmp_path / run / group for group in recipe.corpora_groups()}
        for group, domain in recipe.corpora_groups().items():
            fetch_corpora(domain.corpora, out[group], cache=cache, lock={})
        located = with_fetched(recipe, out).corpora_groups()
        for group, domain in recipe.corpora_groups().items():
            for corpus, local in zip(domain.corpora, located[group].corpora, strict=True):
                pairs = list(read_corpus(local, recipe.languages))
                (spec,) = corpus.archives
                assert [pair.source for pair in pairs] == sentences(spec, recipe.languages.source)
                assert [pair.target for pair in pairs] == sentences(spec, recipe.languages.target)
        assert len(mirror.requests) == len(archives_of(recipe))


def test_readme_has_the_archives_and_sizes_of_the_index(folder: Path, entry: Callable[[str], OpusFile]) -> None:
    """Sizes in MiB, as the last column of the table of sources."""
    readme = (folder / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(opus:\S+)` \|.*\| ([\d.,]+) \|$", readme, re.MULTILINE)
    specs = archives_of(load_recipe(folder))
    assert rows == [(spec, f"{entry(spec).size_kib / 1024:.1f}") for spec in specs]


def test_domains_in_comments_are_valid(entry: Callable[[str], OpusFile], tmp_path: Path) -> None:
    """With the `#` taken away, as the recipe says, there are two domains more."""
    text = (RECIPES / NAMES[1] / "recipe.yaml").read_text(encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(re.sub(r"^  # ( *(?:- )?[a-z]+:)", r"  \1", text, flags=re.MULTILINE))
    recipe = load_recipe(tmp_path)
    assert list(recipe.domains) == ["finance", "law", "medical", "talk", "religion"]
    for spec in archives_of(recipe):
        assert entry(spec).pair == "en-fr"
