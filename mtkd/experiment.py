"""An experiment: one recipe run several times with a few keys changed, all in one workspace.

What it owns: `experiment.yaml` (cells and their settings), how a cell becomes a recipe and a run, and what is kept of
each in `experiment.json`. What it must not know: how a run works (`pipeline.py`), what the page looks like
(`experiment_page.py`). Why one workspace: a step is kept under the hash of what goes into it, so that cells share all
that their settings do not touch, and a cell that is done costs nothing when the same command runs again.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from mtkd import pipeline, train
from mtkd.archive_lock import take_lock
from mtkd.errors import RecipeError, UsageError
from mtkd.graph import Node
from mtkd.recipe import Recipe
from mtkd.recipe_file import did_you_mean, load_recipe
from mtkd.recipe_yaml import RECIPE_NAME, read_mapping
from mtkd.workspace import Workspace, read_json, write_json

EXPERIMENT_NAME = "experiment.yaml"
"""The file that is meant where a folder is named."""
FOLDER, RESULTS = "experiment", "experiment.json"
"""Within the workspace."""
KEPT = ("results", "captures", "failed_gates", "translations", "sizes", "gap", "steps", "environment")
"""Of a run's `results.json`: everything but what is the recipe's or the report page's own business."""


@dataclass(frozen=True)
class Cell:
    """One run of the recipe; its settings are those of `mtkd run --set`, key path -> value."""

    name: str
    settings: Mapping[str, Any]

    def overrides(self) -> list[str]:
        """The settings as `--set` takes them."""
        return [f"{key}={_as_yaml(value)}" for key, value in self.settings.items()]


@dataclass(frozen=True)
class Experiment:
    """A recipe and the cells that are run of it; a cell's settings include those that all share."""

    path: Path
    recipe: Path
    cells: Sequence[Cell]

    @property
    def name(self) -> str:
        """What it is called: its folder, and its file where that is not the usual one."""
        folder = self.path.absolute().parent.name
        return folder if self.path.name == EXPERIMENT_NAME else f"{folder} ({self.path.stem})"


@dataclass(frozen=True)
class OpenCell:
    """A cell, what the recipe is with its settings, and where its steps are kept."""

    cell: Cell
    recipe: Recipe
    place: Workspace

    def pending(self) -> list[Node]:
        """The steps that are not done."""
        return pipeline.select(self.place).pending


def load_experiment(path: Path) -> Experiment:
    """The experiment in `path` (a file, or a folder with an experiment.yaml).

    Raises:
        RecipeError: every problem of the file, one a line; a cell's settings are only looked at by `open_cells`.
    """
    if path.is_dir():
        path /= EXPERIMENT_NAME
    raw, problems = read_mapping(path, EXPERIMENT_NAME)
    keys = ("recipe", "settings", "cells")
    problems += [f"{key}: unknown key{did_you_mean(str(key), keys)}" for key in raw if key not in keys]
    recipe, common, cells = raw.get("recipe", RECIPE_NAME), raw.get("settings") or {}, raw.get("cells") or {}
    if not isinstance(recipe, str):
        problems.append("recipe: name one recipe, by its path from this file's folder")
    if not isinstance(common, dict):
        problems.append("settings: a mapping of a recipe's key paths to values")
    if not isinstance(cells, dict) or not cells:
        problems.append("cells: a mapping of names to settings, with at least one")
    else:
        problems += [f"cells.{name}: a name has letters, digits, - and _ only" for name in cells if not _named(name)]
        wrong = [name for name, settings in cells.items() if not isinstance(settings, dict | None)]
        problems += [f"cells.{name}: a mapping of a recipe's key paths to values" for name in wrong]
    if problems:
        raise RecipeError("\n".join(f"{path}: {problem}" for problem in problems))
    found = [Cell(str(name), common | (settings or {})) for name, settings in cells.items()]
    return Experiment(path, Path(os.path.normpath(path.parent / recipe)), found)


def open_cells(experiment: Experiment, root: Path | None = None, overrides: Sequence[str] = ()) -> list[OpenCell]:
    """Every cell with its recipe, in the workspace `root` (`runs/<the recipe's name>` where it is not given).

    `overrides` change the recipe before a cell's settings do.

    Raises:
        RecipeError: what is wrong with a cell's settings, and which cell's.
    """
    opened = []
    for cell in experiment.cells:
        try:
            recipe = load_recipe(experiment.recipe, [*overrides, *cell.overrides()])
        except RecipeError as error:
            lines = [f"{experiment.path}: cell '{cell.name}': {line}" for line in str(error).splitlines()]
            raise RecipeError("\n".join(lines)) from None
        opened.append(OpenCell(cell, recipe, pipeline.open_workspace(recipe, root or Path("runs") / recipe.name)))
    return opened


def chosen(cells: Sequence[OpenCell], names: str | None) -> list[OpenCell]:
    """The cells of a list of names joined by commas; all where it is None.

    Raises:
        UsageError: no such cell.
    """
    by_name = {cell.cell.name: cell for cell in cells}
    wanted = list(by_name) if names is None else [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in by_name]:
        raise UsageError(f"no cell '{unknown[0]}'{did_you_mean(unknown[0], by_name)}")
    return [by_name[name] for name in wanted]


def still_to_do(cells: Sequence[OpenCell]) -> dict[str, list[Node]]:
    """Cell -> its steps that are not done and that no cell before it makes."""
    made: set[Path] = set()
    found: dict[str, list[Node]] = {}
    for cell in cells:
        found[cell.cell.name] = [node for node in cell.pending() if cell.place.dir(node.name) not in made]
        made.update(cell.place.dir(node.name) for node in found[cell.cell.name])
    return found


def run_cell(experiment: Experiment, cell: OpenCell, *, cores: int, jobs: int = 1, console: Console) -> bool:
    """Make what of a cell is not done, as `mtkd run` would; whether all of it was made. What failed has been shown.

    Raises:
        MtkdError: as `pipeline.make` says.
        KeyboardInterrupt: by Ctrl-C or SIGTERM, once all processes have ended.
    """
    selection = pipeline.select(cell.place)
    take_lock(experiment.recipe, cell.place, locked=False)
    return pipeline.make(cell.recipe, cell.place, selection, cores=cores, jobs=jobs, locked=False, console=console)


def collect(experiment: Experiment, cells: Sequence[OpenCell], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What is known of every cell, as plain data; a cell that is not done has its settings and command only.

    `cells` maps name -> {"settings", "command", "done", and, once it is, those of `KEPT`, "systems" (system -> models),
    "time" (system -> {"own_s": its models' training alone, "all_s": with every step it needs, from the text on}),
    "metrics" (model -> the rows of its validations)}.
    """
    return {
        "name": experiment.name,
        "languages": cells[0].recipe.languages.model_dump(),
        "cells": {cell.cell.name: _collected(experiment, cell, overrides) for cell in cells},
    }


def write_collected(found: dict[str, Any], root: Path) -> Path:
    """Write `experiment.json` in its folder of the workspace, and return that folder."""
    folder = root / FOLDER
    write_json(folder / RESULTS, found)
    return folder


def _collected(experiment: Experiment, cell: OpenCell, overrides: Sequence[str]) -> dict[str, Any]:
    settings = [f"--set {shlex.quote(override)}" for override in [*overrides, *cell.cell.overrides()]]
    workspace = os.path.relpath(cell.place.root)
    found = {
        "settings": dict(cell.cell.settings),
        "command": " ".join(["mtkd run", os.path.relpath(experiment.recipe), *settings, f"--workspace {workspace}"]),
        "done": cell.place.states()["report"].done,
    }
    if not found["done"]:
        return found
    results = read_json(cell.place.dir("report") / "results.json") or {}
    systems = {
        system: ["generic" if model.startswith("generic") else model for model in models]
        for system, models in cell.place.plan.systems.items()
    }
    kept = {key: results[key] for key in KEPT if key in results}
    return found | kept | {"systems": systems, "time": _times(cell.place), "metrics": _metrics(cell.place)}


def _metrics(place: Workspace) -> dict[str, list[dict[str, Any]]]:
    """Model -> its validations, as far as it was trained here."""
    models = dict.fromkeys(model for of in place.plan.systems.values() for model in of if model in place.plan.nodes)
    rows = {model: train.read_metrics(place.dir(model) / train.METRICS) for model in models}
    return {model: [row for row in of if row["split"] == "valid"] for model, of in rows.items() if of}


def _times(place: Workspace) -> dict[str, dict[str, float]]:
    """System -> seconds of its models' own steps, and of all steps that they need."""
    nodes = place.plan.nodes
    times = {}
    for system, models in place.plan.systems.items():
        own = [nodes[model] for model in models if model in nodes]
        needed = place.plan.with_ancestors(own)
        times[system] = {"own_s": _seconds(place, own), "all_s": _seconds(place, needed)}
    return times


def _seconds(place: Workspace, nodes: Sequence[Node]) -> float:
    return float(round(sum((place.done(node.name) or {}).get("seconds", 0.0) for node in nodes), 1))


def _named(name: Any) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]+", str(name)) is not None


def _as_yaml(value: Any) -> str:
    """A value as `--set` takes it, as short as it can be typed."""
    return value if isinstance(value, str) and yaml.safe_load(value) == value else json.dumps(value)
