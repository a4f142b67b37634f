"""A workspace in which all is done that a step needs in which a teacher translates, and that step run in it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from mtkd.context import StepContext
from mtkd.plan import build_plan
from mtkd.progress import Progress
from mtkd.recipe import Recipe
from mtkd.steps.transfers import transfer, translate
from mtkd.workspace import Workspace

STEPS = {"transfer": transfer, "translate": translate}


@dataclass(frozen=True)
class Prepared:
    """A workspace in which the parents of `node` are done."""

    recipe: Recipe
    root: Path
    node: str

    def run(self, progress: Progress | None = None) -> Path:
        """The step's folder, once it has run."""
        plan = build_plan(self.recipe)
        node = plan.nodes[self.node]
        progress = progress or Progress(node.name, as_events=False)
        context = StepContext(self.recipe, plan, Workspace(self.root, plan), node, 1, progress)
        context.dir.mkdir(parents=True, exist_ok=True)
        STEPS[node.step](context)
        return context.dir


def prepare(micro, teacher: Path, recipe: Recipe, root: Path, node: str) -> Prepared:
    """Text and vocabulary of the micro task, and the teacher of the bank's domain."""
    workspace = Workspace(root, build_plan(recipe))
    for name, folder in (("split", micro.split), ("subword", micro.subword)):
        shutil.copytree(folder, workspace.dir(name))
    for name in ("binarize", "teacher.bank"):
        workspace.dir(name).mkdir(parents=True)
    shutil.copyfile(micro.subword / "vocabulary.json", workspace.dir("binarize") / "vocabulary.json")
    shutil.copyfile(teacher, workspace.dir("teacher.bank") / "model.pt")
    return Prepared(recipe, root, node)
