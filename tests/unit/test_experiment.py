"""An experiment is one recipe with a few keys changed: cells, their workspace, what is kept of them, what they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mtkd.cli import app
from mtkd.errors import RecipeError, UsageError
from mtkd.experiment import OpenCell, chosen, collect, load_experiment, open_cells, still_to_do
from mtkd.experiment_page import write_page
from mtkd.presets import PRESETS
from mtkd.recipe_file import load_recipe
from mtkd.time_budget import Speeds, budget, budget_notes, duration, measured_speeds, total_seconds
from mtkd.workspace import Workspace, write_json
from tests.unit.report_inputs import WON
from tests.unit.workflow_recipe import write_recipe

DATA = Path(__file__).parents[2] / "data_recipes"
HERE = DATA / "experiment_en_de"
CELLS = {"half": {"distill.kd_weight": 0.5}, "full": {"distill.kd_weight": 1.0}}


def write_experiment(folder: Path, **content: Any) -> Path:
    write_recipe(folder, rows=5)
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({"cells": CELLS} | content, sort_keys=False), encoding="utf-8")
    return path


def opened(folder: Path, **content: Any) -> list[OpenCell]:
    return open_cells(load_experiment(write_experiment(folder, **content)), folder / "run")


def finish(place: Workspace, *names: str, **measured: Any) -> None:
    """Take these steps for done, in a plan's order."""
    for name in names or place.plan.nodes:
        place.begin(name)
        place.finish(name, **({"seconds": 60.0} | measured))


def train_at(place: Workspace, name: str, *tokens_per_second: float) -> None:
    """A training's log, 2 updates a row."""
    rows = [
        {"split": "train", "update": 2 * number, "loss": 5.0, "tokens_per_second": speed}
        for number, speed in enumerate(tokens_per_second, start=1)
    ]
    path = place.dir(name) / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_a_cell_is_the_recipe_with_its_own_and_the_shared_settings(tmp_path: Path) -> None:
    half, full = opened(tmp_path, settings={"distill.top_k": 4, "model": {"student": "nano", "teacher": "tiny"}})
    assert (half.recipe.distill.kd_weight, full.recipe.distill.kd_weight) == (0.5, 1.0)
    assert {cell.recipe.distill.top_k for cell in (half, full)} == {4}
    assert {cell.recipe.model.student for cell in (half, full)} == {"nano"}


def test_a_cells_own_word_is_the_last(tmp_path: Path) -> None:
    loaded = load_experiment(write_experiment(tmp_path, settings={"seed": 2, "distill.kd_weight": 0.1}))
    cells = open_cells(loaded, tmp_path / "run", ["seed=3", "distill.kd_weight=0.9", "distill.top_k=2"])
    assert [(cell.recipe.distill.kd_weight, cell.recipe.seed) for cell in cells] == [(0.5, 2), (1.0, 2)]
    assert cells[0].recipe.distill.top_k == 2


def test_cells_share_what_their_settings_do_not_touch(tmp_path: Path) -> None:
    half, full = opened(tmp_path)
    todo = still_to_do([half, full])
    assert [node.name for node in todo["half"]] == list(half.place.plan.nodes)
    assert {node.name for node in todo["full"]} == {"student", "decode.student", "evaluate", "export", "report"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"cells": {"half": {"distil.kd_weight": 1}}}, "cell 'half': .*unknown key 'distil' .did you mean 'distill'"),
        ({"cells": {"half": {"model.student": "nanno"}}}, "cell 'half': .*unknown preset 'nanno' .did you mean 'nano'"),
        ({"settings": {"sede": 1}}, "cell 'half': .*unknown key 'sede' .did you mean 'seed'"),
        ({"cels": {}}, "experiment.yaml: cels: unknown key .did you mean 'cells'"),
        ({"cells": {}}, "cells: a mapping of names to settings, with at least one"),
        ({"cells": {"half": [1]}}, "cells.half: a mapping of a recipe's key paths to values"),
        ({"cells": {"a, b": {}}}, "cells.a, b: a name has letters, digits, - and _ only"),
        ({"settings": 1}, "settings: a mapping of a recipe's key paths to values"),
        ({"recipe": 1}, "recipe: name one recipe"),
        ({"recipe": "nowhere.yaml"}, "nowhere.yaml: no such file"),
    ],
)
def test_what_is_wrong_is_named_with_its_file_and_cell(tmp_path: Path, content: dict[str, Any], problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        opened(tmp_path, **content)


def test_cells_are_chosen_by_name(tmp_path: Path) -> None:
    cells = opened(tmp_path)
    assert chosen(cells, None) == cells
    assert [cell.cell.name for cell in chosen(cells, "full, half")] == ["full", "half"]
    with pytest.raises(UsageError, match=r"no cell 'ful' \(did you mean 'full'\?\)"):
        chosen(cells, "half,ful")


def test_what_is_done_is_collected_and_what_is_not_is_said_so(tmp_path: Path) -> None:
    cells = opened(tmp_path)
    place = cells[0].place
    for name in place.plan.nodes:
        place.begin(name)
        if name == "mixed":
            rows = [{"update": 5, "split": split, "nll_loss": 4.5} for split in ("train", "valid")]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (place.dir(name) / "metrics.jsonl").write_text(lines, encoding="utf-8")
        if name == "report":
            write_json(place.dir(name) / "results.json", {"results": WON, "recipe": {"secret": "/home/me"}})
        place.finish(name, seconds=60.0)
    found = collect(load_experiment(tmp_path), cells)
    half, full = found["cells"]["half"], found["cells"]["full"]
    assert half["done"]
    assert half["results"] == WON
    assert "recipe" not in half
    assert half["systems"]["teachers"] == ["teacher.it", "teacher.religion"]
    assert half["time"]["mixed"] == {"own_s": 60.0, "all_s": 60.0 * 6}  # clean, split, subword, binarize, generic
    assert half["metrics"] == {"mixed": [{"update": 5, "split": "valid", "nll_loss": 4.5}]}
    assert half["command"].startswith("mtkd run ")
    assert "--set distill.kd_weight=0.5 --workspace " in half["command"]
    assert full == {"settings": {"distill.kd_weight": 1.0}, "command": full["command"], "done": False}
    assert "--set distill.kd_weight=1.0" in full["command"]


def test_a_training_takes_its_tokens_by_the_speed_measured(tmp_path: Path) -> None:
    place = opened(tmp_path)[0].place
    finish(place, *[name for name in ("clean", "split", "corpora", "subword", "binarize") if name in place.plan.nodes])
    place.begin("generic")
    train_at(place, "generic", 900.0, 1100.0, 1000.0)
    speeds = measured_speeds([place], 1e9, 8000)
    assert speeds.tokens_per_second == {"tiny": 1000.0}
    steps = {step.step: step for step in budget(place, place.plan.nodes.values(), speeds)}
    assert (steps["mixed"].updates, steps["mixed"].tokens) == (10, 10 * 4096)
    assert steps["mixed"].seconds == pytest.approx(40.96)
    assert steps["generic"].updates == 10 - 6  # of an interrupted training the rest
    assert steps["clean"].seconds == 60.0
    assert steps["decode.mixed"].seconds is None
    assert any("not counted" in note and "5 x decode" in note for note in budget_notes(list(steps.values()), speeds))


def test_a_preset_that_never_ran_is_judged_by_its_size() -> None:
    tiny, nano = (PRESETS[name].parameters(8000) for name in ("tiny", "nano"))
    assert Speeds(8000, 1e9, {"tiny": 1000.0}, {}).of("nano") == pytest.approx(1000.0 * tiny / nano)
    assert Speeds(8000, 10e9, {}, {}).of("tiny") == pytest.approx(1e9 / tiny)


def test_the_total_is_of_what_is_known(tmp_path: Path) -> None:
    place = opened(tmp_path)[0].place
    speeds = Speeds(8000, 1e9, {"tiny": 4096.0}, {"clean": 90.0})
    nodes = [place.plan.nodes[name] for name in ("clean", "split", "mixed", "student")]
    assert total_seconds(budget(place, nodes, speeds)) == 90.0 + 10 + 10
    assert (duration(100.0), duration(3900.0)) == ("2 min", "1 h 05 min")


def test_a_dry_run_prints_the_budget_and_makes_nothing(tmp_path: Path) -> None:
    args = ["experiment", str(write_experiment(tmp_path)), "--dry-run", "--workspace", str(tmp_path / "run")]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    assert "teacher.religion" in result.output
    assert "in all at most" in result.output
    assert "an estimate" in result.output
    assert not (tmp_path / "run" / "steps").exists()


def test_an_experiment_that_is_done_costs_nothing_and_writes_its_pages(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, cells={"half": {}})
    place = open_cells(load_experiment(path), tmp_path / "run")[0].place
    for name in place.plan.nodes:
        place.begin(name)
        if name == "report":
            write_json(place.dir(name) / "results.json", {"results": WON, "sizes": {}})
        place.finish(name, seconds=1.0)
    result = CliRunner().invoke(app, ["experiment", str(path), "--workspace", str(place.root)])
    assert result.exit_code == 0, result.output
    assert "in all at most 0 min" in result.output
    written = {file.name for file in (place.root / "experiment").iterdir()}
    assert written == {"experiment.json", "results.md", "index.html"}


def test_the_grid_on_a_cpu_has_two_sizes_and_two_losses() -> None:
    cells = open_cells(load_experiment(HERE), HERE / "nowhere")
    grid = {(cell.recipe.model.student, cell.recipe.distill.kd_weight) for cell in cells}
    assert grid == {("micro", 0.5), ("micro", 1.0), ("pico", 0.5), ("pico", 1.0)}
    assert {(cell.recipe.distill.temperature, cell.recipe.distill.top_k) for cell in cells} == {(1.0, 8)}
    sizes = [PRESETS[name].parameters(cells[0].recipe.subword.vocab_size) for name in ("pico", "micro")]
    assert 0.2 < sizes[0] / sizes[1] < 0.3


def test_a_smaller_student_shares_generic_model_teachers_and_captures() -> None:
    """Nearly all the time of the grid: they must not be made again for each size of student."""
    cells = {cell.cell.name: cell for cell in open_cells(load_experiment(HERE), HERE / "nowhere")}
    todo = still_to_do([cells["same_half"], cells["quarter_half"]])["quarter_half"]
    assert [node.name for node in todo if node.step in ("teacher", "capture", "translate")] == []
    assert [node.name for node in todo if node.step == "generic"] == ["generic.pico"]


def test_the_experiment_has_the_text_of_the_recipes_it_is_from() -> None:
    recipe, small, large = (load_recipe(DATA / name) for name in (HERE.name, "packages_en_de_small", "packages_en_de"))
    unsplit = {"split": small.domains["office"].split}
    for mine, theirs in ((recipe.domains, small.domains), ({"": recipe.general}, {"": large.general})):
        assert {name: group.model_copy(update=unsplit) for name, group in mine.items()} == {
            name: group.model_copy(update=unsplit) for name, group in theirs.items()
        }
    trained = {
        archive for group in recipe.trained_groups().values() for one in group.corpora for archive in one.archives
    }
    held_out = recipe.held_out["it"]
    assert trained.isdisjoint(archive for corpus in held_out.corpora for archive in corpus.archives)
    assert held_out.filters == large.domains["it"].filters
    for corpus in held_out.corpora:
        assert corpus in large.domains["it"].corpora


def test_the_full_grid_has_two_four_and_eight_domains_and_three_seeds() -> None:
    cells = open_cells(load_experiment(HERE / "full.yaml"), HERE / "nowhere")
    seeds = [(len(cell.recipe.domains), cell.recipe.seed) for cell in cells if cell.cell.name.startswith("domains_")]
    assert sorted(seeds) == [(domains, seed) for domains in (2, 4, 8) for seed in (1, 2, 3)]
    assert {cell.recipe.model.teacher for cell in cells} == {"base"}
    assert {cell.recipe.sampling.temperature for cell in cells} == {1.0, 2.0, 5.0}
    assert {cell.recipe.distill.top_k for cell in cells} == {2, 8, 32, 64}
    assert {cell.recipe.captured_top_k() for cell in cells} == {64}


def test_pages_are_written_though_nothing_was_run(tmp_path: Path) -> None:
    cells = opened(tmp_path)
    write_page(collect(load_experiment(tmp_path), cells), tmp_path / "out")
    text = (tmp_path / "out" / "results.md").read_text(encoding="utf-8")
    assert "0 of 2 cells were run; not run: half, full." in text
