"""A recipe is read exactly, and all that is wrong with it is said at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtkd.errors import RecipeError
from mtkd.recipe_file import load_recipe, resolved
from tests.unit.workflow_recipe import recipe_dict, write_recipe


def problems_of(path: Path, *overrides: str) -> list[str]:
    """The problems of a recipe file, without the file's name before each."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, list(overrides))
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def change(path: Path, key_path: str, value: Any) -> None:
    """Set one key in the file."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    place = raw
    *parents, last = key_path.split(".")
    for key in parents:
        place = place.setdefault(key, {})
    place[last] = value
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")


def test_paths_start_at_the_recipes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_recipe(tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(path.relative_to(tmp_path))
    assert recipe.domains["it"].corpora[0].path == tmp_path / "recipes" / "text" / "it.tsv"


def test_a_folder_stands_for_the_recipe_in_it(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    assert load_recipe(tmp_path) == load_recipe(path)


def test_resolved_recipe_reads_back_the_same_and_in_order(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path), ["training.generic.learning_rate=7e-5", "domains.it.split.dev=0.1"])
    copy = tmp_path / "elsewhere" / "recipe.json"
    copy.parent.mkdir()
    copy.write_text(json.dumps(resolved(recipe)), encoding="utf-8")
    again = load_recipe(copy)
    assert again == recipe
    assert list(again.domains) == ["it", "religion"]
    assert again.training.generic.learning_rate == 7e-5


@pytest.mark.parametrize(
    ("key_path", "value", "problem"),
    [
        ("distill.kd_wieght", 0.5, "distill.kd_wieght: unknown key (did you mean 'kd_weight'?)"),
        ("domains.it.filters.min_word", 2, "domains.it.filters.min_word: unknown key (did you mean 'min_words'?)"),
        ("model.teacher", "tinny", "model.teacher: unknown preset 'tinny' (did you mean 'tiny'?)"),
        ("generic.text", "al", "generic.text: 'al' is not known (did you mean 'all'?)"),
        ("distill.loss", "xyzzy", "distill.loss: 'xyzzy' is not known (valid: forward_kl, reverse_kl, js)"),
        ("systems", ["generc", "student"], "systems.0: 'generc' is not known (did you mean 'generic'?)"),
        ("systems", ["mixed"], "systems: 'student' is missing, and it is what the run is for"),
        ("sampling.weights", {"relgion": 2}, "sampling.weights.relgion: no such domain (did you mean 'religion'?)"),
        ("seed", -1, "seed: input should be greater than or equal to 0 (got -1)"),
        ("languages.source", False, "languages.source: YAML reads this as false; put it in quotes"),
        ("languages.source", "de", "languages: source and target are the same"),
        ("generic.text", "general", "generic.text: is 'general' but the recipe has no key general"),
        ("distill", {"loss": "js", "tail": "uniform"}, "distill: loss 'js' is finite with tail 'bucket' only"),
        (
            "sampling.loss_weights",
            {"relgion": 2},
            "sampling.loss_weights.relgion: no such domain (did you mean 'religion'?)",
        ),
        (
            "distill",
            {"weighting": "uniform", "temperature": 2, "captured": {"temperatures": [4]}},
            "distill.weighting: 'uniform' mixes teachers at one temperature only",
        ),
        ("sweep.kd_weight", [0.5, 1.5], "sweep.kd_weight.1: input should be less than or equal to 1 (got 1.5)"),
        ("distill.gates.coverge", 0.5, "distill.gates.coverge: unknown key (did you mean 'coverage'?)"),
        (
            "domains.generic",
            {"corpora": [{"path": "text/it.tsv", "licence": "MIT"}]},
            "domains: 'generic' is the name of the model that teachers start from; call the domain otherwise",
        ),
        ("domains.IT", {}, "domains.IT.corpora: this key is missing"),
        ("name", None, "name: input should be a valid string (got None)"),
    ],
)
def test_a_wrong_value_is_named_with_the_nearest_valid_one(
    tmp_path: Path, key_path: str, value: Any, problem: str
) -> None:
    path = write_recipe(tmp_path)
    change(path, key_path, value)
    assert problem in problems_of(path)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    change(path, "distill.kd_wieght", 0.5)
    change(path, "domains.it.corpora", [{"path": "text/ti.tsv", "licence": "CC0-1.0"}])
    change(path, "subword.vocab_size", 401)
    change(path, "teachers", {"law": {"checkpoint": "text"}})
    change(path, "seed", -1)
    path.write_text(path.read_text(encoding="utf-8") + "seed: -2\n", encoding="utf-8")
    problems = problems_of(path)
    for part in (
        "distill.kd_wieght: unknown key",
        f"domains.it.corpora.0.path: no such file: {tmp_path}/text/ti.tsv",
        "subword.vocab_size: input should be a multiple of 8 (got 401)",
        f"teachers.law.checkpoint: is a folder, not a file: {tmp_path}/text",
        "teachers.law: no such domain (valid: it, religion)",
        "seed: given twice, in lines ",
        "seed: input should be greater than or equal to 0 (got -2)",
    ):
        assert any(problem.startswith(part) for problem in problems), (part, problems)
    assert len(problems) == 7


def test_two_domains_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\n  religion:", "\n  it:"), encoding="utf-8")
    first, second = (n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if line == "  it:")
    assert problems_of(path) == [f"domains.it: given twice, in lines {first} and {second}"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "a recipe is a mapping of keys to values, this file is empty"),
        (b"- a\n- b\n", "a recipe is a mapping of keys to values, this file is a list"),
        (b"name: 'open\n", "not YAML: line 2, column 1: found unexpected end of stream"),
        (b"name: caf\xe9\n", "not UTF-8 (byte 10); save it as UTF-8"),
        (b"name: &a [*a]\n", "an alias contains itself"),
    ],
)
def test_a_file_that_is_no_recipe_has_one_clear_message(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    assert problems_of(path) == [problem]


def test_a_missing_file_says_what_may_be_named(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "x.yaml") == ["no such file; name a recipe file, or a folder with a recipe.yaml"]


def test_overrides_change_values_below_mappings_and_lists(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    (tmp_path / "other.tsv").write_text("src\ttgt\n", encoding="utf-8")
    overrides = ["distill.kd_weight=0.25", "domains.it.corpora.0.path=other.tsv", "systems=[mixed, student]"]
    recipe = load_recipe(path, overrides)
    assert recipe.distill.kd_weight == 0.25
    assert recipe.domains["it"].corpora[0].path == tmp_path / "other.tsv"
    assert recipe.systems == ["mixed", "student"]


def test_an_override_changes_one_of_two_that_share_an_anchor(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    raw = recipe_dict()
    shared = {"test": 0.1}
    for domain in raw["domains"].values():
        domain["split"] = shared
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    assert "*id001" in path.read_text(encoding="utf-8")
    recipe = load_recipe(path, ["domains.it.split.test=0.2"])
    assert recipe.domains["it"].split.test == 0.2
    assert recipe.domains["religion"].split.test == 0.1


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("distill.kd_wieght=1", "--set distill.kd_wieght: unknown key 'kd_wieght' (did you mean 'kd_weight'?)"),
        ("distil.kd_weight=1", "--set distil.kd_weight: unknown key 'distil' (did you mean 'distill'?)"),
        ("seed", "--set seed: write KEY.PATH=VALUE"),
        ("seed.x=1", "--set seed.x: 'x' stands below a value, which has no keys"),
        ("name.x.y=1", "--set name.x.y: 'name' is a value, which has no keys"),
        ("domains.it.corpora.3.path=x", "--set domains.it.corpora.3.path: '3' is not a number below 1"),
        ("domains.it.corpora.0.pth=x", "--set domains.it.corpora.0.pth: unknown key 'pth' (did you mean 'path'?)"),
        ("name=[", "--set name=[: the value is not YAML; put it in quotes"),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, override: str, problem: str) -> None:
    assert problems_of(write_recipe(tmp_path), override)[0].startswith(problem)


def test_a_brought_generic_checkpoint_serves_one_shape_only(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"x")
    brought = "generic.checkpoint=model.pt"
    assert load_recipe(path, [brought]).generic.checkpoint == tmp_path / "model.pt"
    assert problems_of(path, brought, "model.teacher=base") == [
        "generic.checkpoint: has one shape, but model.teacher and model.student differ"
    ]
    assert problems_of(path, "subword.dictionary=model.pt") == [
        "subword.dictionary: belongs to a subword.model, which is missing"
    ]
