"""A recipe that extends another: what is taken over, what is replaced, and which file an error names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mtkd.errors import RecipeError
from mtkd.recipe_file import load_recipe
from tests.unit.workflow_recipe import write_recipe


def write_extending(folder: Path, content: dict[str, Any], base: str = "../base") -> Path:
    """A recipe in `folder` that extends another, and says `content` itself."""
    folder.mkdir(exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"extends": base} | content, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_recipe(tmp_path / "base", rows=5)


def test_nothing_of_its_own_is_the_other_recipe(tmp_path: Path, base: Path) -> None:
    assert load_recipe(write_extending(tmp_path / "own", {})) == load_recipe(base)


def test_mappings_are_merged_key_by_key_and_lists_replaced(tmp_path: Path, base: Path) -> None:
    own = {"name": "own", "training": {"teacher": {"patience": 3}}, "systems": ["mixed", "student"]}
    recipe, before = load_recipe(write_extending(tmp_path / "own", own)), load_recipe(base)
    assert (recipe.name, recipe.systems) == ("own", ["mixed", "student"])
    assert recipe.training.teacher == before.training.teacher.model_copy(update={"patience": 3})
    assert (recipe.training.generic, recipe.domains) == (before.training.generic, before.domains)


def test_paths_start_at_the_folder_of_the_file_they_stand_in(tmp_path: Path, base: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "law.tsv").write_text("src\ttgt\na\tb\n", encoding="utf-8")
    law = {"corpora": [{"path": "law.tsv", "licence": "CC0-1.0"}]}
    path = write_extending(tmp_path / "own", {"domains": {"law": law}})
    recipe = load_recipe(path, ["domains.it.corpora.0.path=law.tsv"])
    assert recipe.domains["religion"].corpora[0].path == base.parent / "text" / "religion.tsv"
    assert recipe.domains["law"].corpora[0].path == tmp_path / "own" / "law.tsv"
    assert recipe.domains["it"].corpora[0].path == tmp_path / "own" / "law.tsv"


def test_a_chain_of_recipes_ends_with_the_first_word_of_the_last(tmp_path: Path, base: Path) -> None:
    write_extending(tmp_path / "middle", {"seed": 2, "name": "middle"})
    recipe = load_recipe(write_extending(tmp_path / "own", {"seed": 3}, base="../middle/recipe.yaml"))
    assert (recipe.name, recipe.seed) == ("middle", 3)


def test_a_domain_that_is_null_is_left_out(tmp_path: Path, base: Path) -> None:
    assert list(load_recipe(write_extending(tmp_path / "own", {"domains": {"it": None}})).domains) == ["religion"]
    assert list(load_recipe(base, ["domains.religion=null"]).domains) == ["it"]


def test_an_error_names_the_file_that_has_to_be_mended(tmp_path: Path, base: Path) -> None:
    raw = yaml.safe_load(base.read_text(encoding="utf-8"))
    raw["distill"] = {"kd_wieght": 1}
    (base.parent / "text" / "it.tsv").unlink()
    base.write_text(yaml.safe_dump(raw), encoding="utf-8")
    path = write_extending(tmp_path / "own", {"modell": {}, "sampling": {"weights": {"relgion": 2}}})
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, ["sede=1"])
    lines = str(caught.value).splitlines()
    assert f"{path}: modell: unknown key (did you mean 'model'?)" in lines
    assert f"{base}: distill.kd_wieght: unknown key (did you mean 'kd_weight'?)" in lines
    assert f"{base}: domains.it.corpora.0.path: no such file: {base.parent / 'text' / 'it.tsv'}" in lines
    assert f"{path}: sampling.weights.relgion: no such domain (did you mean 'religion'?)" in lines
    assert f"{path}: --set sede: unknown key 'sede' (did you mean 'seed'?)" in lines
    assert len(lines) == 5


def test_a_missing_file_of_the_other_recipe_does_not_matter_once_replaced(tmp_path: Path, base: Path) -> None:
    (base.parent / "text" / "it.tsv").unlink()
    religion = str(base.parent / "text" / "religion.tsv")
    own = {"domains": {"it": {"corpora": [{"path": religion, "licence": "CC0-1.0"}]}}}
    assert load_recipe(write_extending(tmp_path / "own", own)).domains["it"].corpora[0].path == Path(religion)


def test_a_key_given_twice_in_the_other_recipe_is_told(tmp_path: Path, base: Path) -> None:
    with base.open("a", encoding="utf-8") as file:
        file.write("name: again\n")
    with pytest.raises(RecipeError, match=r"base/recipe.yaml: name: given twice, in lines 1 and \d+"):
        load_recipe(write_extending(tmp_path / "own", {}))


@pytest.mark.parametrize("target", ["recipe.yaml", ".", "../other"])
def test_a_recipe_that_extends_itself_is_refused(tmp_path: Path, target: str) -> None:
    write_extending(tmp_path / "other", {}, base="../own/recipe.yaml")
    path = write_extending(tmp_path / "own", {}, base=target)
    with pytest.raises(RecipeError, match="a recipe cannot extend itself"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("target", "problem"),
    [("../nowhere", "extends: no such file: .*nowhere"), ([], "extends: name one recipe, by its path from this file")],
)
def test_what_is_no_recipe_cannot_be_extended(tmp_path: Path, target: Any, problem: str) -> None:
    path = write_extending(tmp_path / "own", {}, base=target)
    with pytest.raises(RecipeError, match=problem) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}: extends: ")
