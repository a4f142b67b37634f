"""The graph of a run: its nodes, and the key that names each one's directory.

What it owns: the steps' versions, `Node`, `Plan`, and the hashing. What it must not know: recipes, where files are
kept, how a step works, Snakemake. Why a Merkle tree: a node's key hashes its own slice and its parents' keys, so a
changed recipe makes new directories for exactly what it changes, and sweeps share the rest. Paths are no part of a
key, contents are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mtkd.errors import UsageError
from mtkd.recipe_file import did_you_mean

KEY_DIGITS = 8
STEP_VERSIONS = {
    "fetch": 1,
    "clean": 2,
    "split": 1,
    "corpora": 1,
    "subword": 1,
    "binarize": 1,
    "generic": 4,
    "teacher": 4,
    "mixed": 4,
    "tagged": 2,
    "decode": 2,
    "gap": 1,
    "transfer": 1,
    "capture": 2,
    "student": 4,
    "translate": 1,
    "sequence_kd": 2,
    "word_and_sequence_kd": 2,
    "sweep": 1,
    "uniform_ensemble": 1,
    "robustness": 1,
    "route": 1,
    "decode_perturbed": 1,
    "evaluate": 3,
    "export": 1,
    "report": 3,
}
"""Every step; raise its number when its outputs change their meaning, and older ones are not used again."""
TRAININGS = ("generic", "teacher", "mixed", "tagged", "student", "sequence_kd", "word_and_sequence_kd")
"""Steps that take all cores: side by side with all threads each, trainings slow each other down tenfold."""
ALL_CORES = (*TRAININGS, "transfer", "translate", "uniform_ensemble")
FIRST_IN_LINE = (
    "generic", "teacher", "mixed", "decode", "gap", "transfer", "capture", "student", "sweep",
    "tagged", "translate", "sequence_kd", "word_and_sequence_kd", "uniform_ensemble",
)  # fmt: skip
"""Of two steps that could run, the one further left does, so that a missing gap shows before the student trains."""

HashFile = Callable[[Path], str]


@dataclass(frozen=True)
class Node:
    """One step applied to one target, e.g. `teacher` to `religion`."""

    name: str
    step: str
    target: str | None
    parents: tuple[str, ...]
    slice: dict[str, Any]
    """All of the recipe that this node's outputs depend on, beyond its parents; files by their SHA-256."""
    key: str
    """Names the directory."""

    @property
    def all_cores(self) -> bool:
        """Whether the step wants every core of the run; else it wants one."""
        return self.step in ALL_CORES

    @property
    def priority(self) -> int:
        """Snakemake's: the larger goes first."""
        line = FIRST_IN_LINE[::-1]
        return line.index(self.step) + 1 if self.step in line else 0


@dataclass(frozen=True)
class Plan:
    """The nodes of one recipe by name, parents before children."""

    nodes: dict[str, Node]
    systems: dict[str, tuple[str, ...]]
    """The models (node names) that each system of the recipe consists of."""

    def select(self, name: str) -> list[Node]:
        """The node of that name, or all nodes of that step.

        Raises:
            UsageError: there is none.
        """
        found = [node for node in self.nodes.values() if name in (node.name, node.step)]
        if not found:
            names = dict.fromkeys([node.step for node in self.nodes.values()] + list(self.nodes))
            raise UsageError(f"no step '{name}'{did_you_mean(name, names)}")
        return found

    def with_ancestors(self, nodes: Iterable[Node]) -> list[Node]:
        """The nodes and all they need, in the plan's order."""
        wanted = {node.name for node in nodes}
        for node in reversed(self.nodes.values()):
            if node.name in wanted:
                wanted.update(node.parents)
        return [node for node in self.nodes.values() if node.name in wanted]


class Table:
    """Nodes by name, in the order they were added; a parent is added before its children."""

    def __init__(self, hash_file: HashFile) -> None:
        self.nodes: dict[str, Node] = {}
        self._hash_file = hash_file

    def add(self, name: str, parents: Iterable[str], /, **slice_: Any) -> None:
        """Add the node `name` (`step` or `step.target`)."""
        step, _, target = name.partition(".")
        content = _plain(slice_, self._hash_file)
        parents = tuple(parents)
        identity = {
            "step": step,
            "version": STEP_VERSIONS[step],
            "slice": content,
            "parents": {parent: self.nodes[parent].key for parent in parents},
        }
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        key = hashlib.sha256(canonical.encode()).hexdigest()[:KEY_DIGITS]
        self.nodes[name] = Node(name, step, target or None, parents, content, key)


def _plain(value: Any, hash_file: HashFile) -> Any:
    """`value` as JSON types, every file replaced by the hash of its content."""
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(), hash_file)
    if isinstance(value, Mapping):
        return {key: _plain(item, hash_file) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, hash_file) for item in value]
    return f"sha256:{hash_file(value)}" if isinstance(value, Path) else value
