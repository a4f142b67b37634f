"""The text that is shipped: it loads, splits well, leaks nothing, and every file of it has its licence beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mtkd.corpus.clean import clean_corpora
from mtkd.corpus.split import find_leaks, split_corpora
from mtkd.recipe import Recipe

QUICKSTART = Path(__file__).parents[2] / "data_recipes" / "quickstart"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(QUICKSTART)  # paths in a recipe are relative to its folder
    return Recipe.model_validate(yaml.safe_load((QUICKSTART / "recipe.yaml").read_text(encoding="utf-8")))


def test_every_file_of_text_has_its_notice_and_the_licence_text(recipe: Recipe) -> None:
    corpora = [corpus for domain in recipe.corpora_groups().values() for corpus in domain.corpora]
    used = {path.resolve() for corpus in corpora for path in corpus.names().values()}
    assert used == set((QUICKSTART / "data").glob("*.tsv"))
    for corpus in corpora:
        [path] = corpus.names().values()
        notice = path.with_suffix(".LICENCE.md").read_text(encoding="utf-8")
        for licence in corpus.licence.split(" AND "):
            assert licence in notice
            assert f"licences/{licence}.txt" in notice
            assert (QUICKSTART / "data" / "licences" / f"{licence}.txt").stat().st_size > 1000


def test_the_recipe_writes_every_part_out(recipe: Recipe) -> None:
    assert recipe.model_fields_set == set(Recipe.model_fields)


def test_quickstart_splits_into_enough_and_leaks_nothing(recipe: Recipe, tmp_path: Path) -> None:
    clean_corpora(recipe, tmp_path / "clean")
    report = split_corpora(recipe, tmp_path / "clean", tmp_path / "split")
    for group, counts in report.items():
        assert counts["train"] >= 1500, group
        assert 120 <= counts["test"] <= 200, group
        assert 120 <= counts["dev"] <= 200, group
    assert find_leaks(tmp_path / "split", recipe.languages) == 0
