"""`mtkd check` knows before training what would go wrong after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtkd import check
from mtkd.check import Findings, check_recipe, disk_bytes, free_bytes, matmul_flops, readable, training_seconds
from mtkd.pipeline import open_workspace
from mtkd.plan import build_plan
from mtkd.recipe import Recipe
from mtkd.recipe_file import load_recipe
from tests.unit.workflow_recipe import write_recipe


def found_in(recipe: Recipe, root: Path) -> Findings:
    return check_recipe(recipe, open_workspace(recipe, root).plan, root)


def test_a_good_recipe_has_counts_and_no_problem(tmp_path: Path) -> None:
    found = found_in(load_recipe(write_recipe(tmp_path)), tmp_path / "run")
    assert found.problems == []
    assert found.facts["it"][0] == "600 pairs read, 600 kept (dropped: none); CC0-1.0"
    assert found.facts["it"][1].startswith("train 5")
    assert found.facts["models"][0] == "teacher tiny: 6.5M parameters with 8000 pieces"
    assert "GB for the whole run" in found.facts["disk"][0]
    assert "min of training" in found.facts["time"][0]


def test_text_without_references_is_counted_and_takes_disk(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    alone = "".join(f"another sentence of it number {word}\n" for word in "abcdefgh")
    (tmp_path / "text" / "alone.en").write_text(alone, encoding="utf-8")
    corpora = (
        "[{path: text/it.tsv, licence: MIT}, {reader: moses, source: text/alone.en, references: none, licence: MIT}]"
    )
    recipe = load_recipe(path, [f"domains.it.corpora={corpora}"])
    found = found_in(recipe, tmp_path / "run")
    assert found.problems == []
    assert found.facts["it"][-1].startswith("8 sentences without references read, 8 kept for its teacher to translate")
    assert disk_bytes(build_plan(recipe).nodes["transfer.it"], recipe) > 8 * 6e6


def test_every_bad_text_is_listed(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    (tmp_path / "text" / "it.tsv").write_bytes(b"src\ttgt\ncaf\xe9\tb\n")
    (tmp_path / "text" / "religion.tsv").write_bytes(b"")
    problems = found_in(recipe, tmp_path / "run").problems
    assert len(problems) == 2
    assert "not UTF-8" in problems[0]
    assert "empty" in problems[1]


def test_two_groups_of_one_text_are_a_problem(tmp_path: Path) -> None:
    override = "general={corpora: [{path: text/it.tsv, licence: CC0-1.0}]}"
    problems = found_in(load_recipe(write_recipe(tmp_path), [override]), tmp_path / "run").problems
    assert len(problems) == 1
    assert "are the same text" in problems[0]


def test_a_domain_smaller_than_its_test_set_is_a_problem(tmp_path: Path) -> None:
    problems = found_in(load_recipe(write_recipe(tmp_path, rows=30)), tmp_path / "run").problems
    assert any(problem.startswith("'it': test has") for problem in problems)
    assert any(problem.startswith("'religion': test has") for problem in problems)


def test_arguments_fairseq_does_not_know_are_a_problem(tmp_path: Path) -> None:
    override = "model.fairseq_args=[--no-such-flag]"
    problems = found_in(load_recipe(write_recipe(tmp_path), [override]), tmp_path / "run").problems
    assert len(problems) == 1
    assert "--no-such-flag" in problems[0]


def test_a_disk_that_is_too_small_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "free_bytes", lambda _: 10)
    problems = found_in(load_recipe(write_recipe(tmp_path)), tmp_path / "run").problems
    assert len(problems) == 1
    assert "needed, 10 bytes free" in problems[0]


def test_disk_is_counted_by_step(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"12345")
    path = write_recipe(tmp_path)
    recipe = load_recipe(path, ["teachers.it.checkpoint=model.pt", "training.student.average_checkpoints=4"])
    sizes = {name: disk_bytes(node, recipe) for name, node in build_plan(recipe).nodes.items()}
    text = (tmp_path / "text" / "it.tsv").stat().st_size
    assert sizes["teacher.it"] == 5
    assert sizes["capture.it"] == int(text / 8 * 37)
    assert sizes["student"] / sizes["generic"] == pytest.approx(7 / 5)
    assert sizes["clean"] == sum(file.stat().st_size for file in (tmp_path / "text").iterdir())
    assert sizes["decode.mixed"] > 0
    assert sizes["evaluate"] == 0


def test_time_grows_with_updates_and_speed(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    recipe, longer = load_recipe(path), load_recipe(path, ["training.student.updates=1000"])
    seconds = training_seconds(recipe, build_plan(recipe), 1e9)
    assert training_seconds(longer, build_plan(longer), 1e9) > 10 * seconds
    assert training_seconds(recipe, build_plan(recipe), 2e9) == pytest.approx(seconds / 2)
    assert matmul_flops() > 1e8


def test_sizes_for_people(tmp_path: Path) -> None:
    assert [readable(size) for size in (999, 1500, 2_000_000, 3.2e12)] == ["999 bytes", "1.5 kB", "2.0 MB", "3200.0 GB"]
    assert free_bytes(tmp_path / "not" / "yet") > 0
