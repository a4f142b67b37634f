"""What a step is given, and all it is given.

What it owns: `StepContext`. What it must not know: what any step does.
Why: a step that sees only its own directory, its slice and its declared parents cannot depend on what its key does
not hash.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtkd.graph import Node, Plan
from mtkd.progress import Progress
from mtkd.recipe import Recipe
from mtkd.workspace import Workspace


@dataclass
class StepContext:
    """All that a step is given."""

    recipe: Recipe
    plan: Plan
    workspace: Workspace
    node: Node
    threads: int
    progress: Progress
    commands: list[list[str]] = field(default_factory=list)
    """Command lines that the step ran, for done.json; a step appends to it."""

    @property
    def dir(self) -> Path:
        """Where the step writes; after an interruption what it wrote before is still there."""
        return self.workspace.dir(self.node.name)

    @property
    def log(self) -> Path:
        """The step's log; `logging` goes there already, output of child processes is appended to it."""
        return self.workspace.log(self.node.name)

    @property
    def slice(self) -> dict[str, Any]:
        """The part of the recipe that the step may depend on, files by their hash."""
        return self.node.slice

    def parent(self, name: str) -> Path:
        """Directory of a finished parent, by node name."""
        assert name in self.node.parents, f"{self.node.name} does not declare {name} as a parent"
        return self.workspace.dir(name)

    def parents(self, step: str) -> dict[str, Path]:
        """Directories of all parents of one step, by target (`religion`; the node's name where it has no target)."""
        nodes = [self.plan.nodes[name] for name in self.node.parents]
        return {node.target or node.name: self.workspace.dir(node.name) for node in nodes if node.step == step}
