"""Systems, held-out text and changed test sets in a recipe: what is taken, and what is refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from mtkd.check import check_recipe, disk_bytes
from mtkd.errors import RecipeError
from mtkd.graph import TRAININGS
from mtkd.pipeline import open_workspace
from mtkd.plan import build_plan
from mtkd.presets import PRESETS
from mtkd.recipe import DEFAULT_SYSTEMS, SystemName
from mtkd.recipe_file import load_recipe
from tests.unit.workflow_recipe import write_recipe

TEXT = "corpora: [{path: text/it.tsv, licence: MIT}]"
ALONE = "corpora: [{path: text/it.tsv, licence: MIT}, {path: text/it.tsv, references: none, licence: MIT}]"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, rows=5)


def test_a_recipe_that_says_nothing_has_the_first_four_systems_and_nothing_else(path: Path) -> None:
    recipe = load_recipe(path)
    assert tuple(recipe.systems) == DEFAULT_SYSTEMS
    assert set(DEFAULT_SYSTEMS) < set(get_args(SystemName))
    assert recipe.held_out == {}
    assert recipe.robustness == []


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (f"held_out={{it: {{{TEXT}}}}}", "held_out.it: is a domain, and so is trained on"),
        (f"held_out={{general: {{{TEXT}}}}}", "held_out: 'general' is the name of the general text"),
        (f"held_out={{pooled: {{{TEXT}}}}}", "held_out: 'pooled' is the name of the tests on all domains together"),
        (f"held_out={{My: {{{TEXT}}}}}", "are not domain names"),
        (f"held_out={{a_translated: {{{TEXT}}}}}", "are kept for the teachers' translations"),
        (f"held_out={{news: {{{ALONE}}}}}", "held_out.news: text without references cannot be scored"),
        ("systems=[taged, student]", "did you mean 'tagged'?"),
        ("robustness=[typo]", "did you mean 'typos'?"),
        ("robustness=true", "robustness"),
    ],
)
def test_what_cannot_be_compared_is_refused_when_the_recipe_is_read(path: Path, override: str, problem: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe(path, [override])
    assert problem in str(refused.value)


def test_systems_that_would_be_others_are_refused(path: Path) -> None:
    with pytest.raises(RecipeError, match=r"'word_and_sequence_kd' at distill\.kd_weight 0"):
        load_recipe(path, ["systems=[word_and_sequence_kd, student]", "distill.kd_weight=0"])
    with pytest.raises(RecipeError, match="'routing' has one domain to choose from"):
        load_recipe(path, ["systems=[routing, student]", f"domains={{it: {{{TEXT}}}}}"])


def test_every_training_counts_for_disk(path: Path) -> None:
    recipe = load_recipe(path, [f"systems=[{', '.join(get_args(SystemName))}]"])
    nodes = build_plan(recipe).nodes.values()
    trained = {node.step: disk_bytes(node, recipe) for node in nodes if node.step in TRAININGS}
    assert trained.keys() == set(TRAININGS)
    assert len(set(trained.values())) == 1
    assert disk_bytes(next(node for node in nodes if node.step == "translate"), recipe) > 0


def test_check_tells_of_held_out_text_and_names_it_alone_where_it_is_at_fault(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    (tmp_path / "text" / "news.tsv").write_text("src\ttgt\na\tb\n", encoding="utf-8")
    recipe = load_recipe(path, ["held_out={news: {corpora: [{path: text/news.tsv, licence: MIT}]}}"])
    found = check_recipe(recipe, open_workspace(recipe, tmp_path / "run").plan, tmp_path / "run")
    assert found.facts["news"][0].startswith("1 pairs read")
    assert all("'news'" in problem for problem in found.problems)
    assert found.problems


def test_small_has_the_width_of_tiny_and_a_deeper_encoder() -> None:
    small, tiny = PRESETS["small"], PRESETS["tiny"]
    assert (small.encoder_layers, small.decoder_layers) == (6, 2)
    assert (small.width, small.ffn_width, small.heads, small.dropout) == (256, 1024, 4, 0.1)
    layer = (small.parameters(8000) - tiny.parameters(8000)) / 3
    assert layer == 4 * (256 * 256 + 256) + 2 * 256 * 1024 + 1024 + 256 + 4 * 256
