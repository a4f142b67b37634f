r"""The DAG of a run as a table: which steps there are, what each needs, and the key that names its directory.

What it owns: `SYSTEMS`, the nodes, their parents, and what of the recipe each depends on (its slice).
What it must not know: where files are kept, how a step works, Snakemake.
Why a Merkle tree: a node's key hashes its own slice and its parents' keys, so a changed recipe makes new
directories for exactly what it changes, and sweeps share the rest. Paths are no part of a key, contents are.

    clean > split > subword > binarize > generic > teacher.* > capture.* > student > decode.* > evaluate > export
                                               \> mixed > decode.* > gap                                 > report
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mtkd.bundle import sha256_of
from mtkd.errors import UsageError
from mtkd.recipe import Recipe
from mtkd.recipe_file import did_you_mean

KEY_DIGITS = 8
STEP_VERSIONS = {
    "clean": 1,
    "split": 1,
    "subword": 1,
    "binarize": 1,
    "generic": 1,
    "teacher": 1,
    "mixed": 1,
    "decode": 1,
    "gap": 1,
    "capture": 1,
    "student": 1,
    "evaluate": 1,
    "export": 1,
    "report": 1,
}
"""Every step; raise its number when its outputs change their meaning, and older ones are not used again."""
TRAININGS = ("generic", "teacher", "mixed", "student")
"""Steps that take all cores: side by side on one small machine, trainings slow each other down tenfold."""
FIRST_IN_LINE = ("generic", "teacher", "mixed", "decode", "gap", "capture", "student")
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
        return self.step in TRAININGS

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


SYSTEMS: dict[str, Callable[[Recipe], tuple[str, ...]]] = {
    "generic": lambda recipe: (generic_node(recipe, recipe.model.student),),
    "mixed": lambda recipe: ("mixed",),
    "teachers": lambda recipe: tuple(f"teacher.{domain}" for domain in recipe.domains),
    "student": lambda recipe: ("student",),
}
"""System -> the models that must be made and decoded to compare it."""


def generic_node(recipe: Recipe, preset: str) -> str:
    """Name of the generic model of one preset; teachers and student of one shape share theirs."""
    return "generic" if recipe.model.teacher == recipe.model.student else f"generic.{preset}"


def build_plan(recipe: Recipe, hash_file: HashFile = sha256_of) -> Plan:
    """The plan of a recipe; `hash_file` may be a cached SHA-256 (`workspace.FileHashes`)."""
    systems: dict[str, tuple[str, ...]] = {name: SYSTEMS[name](recipe) for name in recipe.systems}
    table = _Table(hash_file)
    _add_corpora(table, recipe)
    distilled = recipe.distill.kd_weight > 0
    _add_trainings(table, recipe, teachers=distilled or "teachers" in systems, mixed="mixed" in systems)
    models = [model for names in systems.values() for model in names]
    for model in models:
        if model != "student":
            _add_decoding(table, recipe, model)
    if {"mixed", "teachers"} <= systems.keys():
        decoded = [f"decode.{model}" for system in ("mixed", "teachers") for model in systems[system]]
        table.add("gap", ["split", *decoded], languages=recipe.languages)
    _add_student(table, recipe, list(recipe.domains) if distilled else [])
    _add_results(table, recipe, [f"decode.{model}" for model in models])
    return Plan(table.nodes, systems)


class _Table:
    """Nodes by name, in the order they were added; a parent is added before its children."""

    def __init__(self, hash_file: HashFile) -> None:
        self.nodes: dict[str, Node] = {}
        self._hash_file = hash_file

    def add(self, name: str, parents: Iterable[str], /, **slice_: Any) -> None:
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


def _add_corpora(table: _Table, recipe: Recipe) -> None:
    groups = recipe.corpora_groups()
    # Without the licences: correcting one must not train everything anew. Export and report have them in theirs.
    texts = {
        name: {
            "corpora": [corpus.model_dump(exclude={"licence"}) for corpus in group.corpora],
            "filters": group.filters,
        }
        for name, group in groups.items()
    }
    table.add("clean", [], languages=recipe.languages, texts=texts)
    table.add("split", ["clean"], split={name: group.split for name, group in groups.items()})
    table.add("subword", ["split"], subword=recipe.subword, domains=sorted(recipe.domains), seed=recipe.seed)
    table.add("binarize", ["split", "subword"])


def _add_trainings(table: _Table, recipe: Recipe, *, teachers: bool, mixed: bool) -> None:
    """Generic models of the presets that are needed, teachers, mixed fine-tuning."""
    trained = [domain for domain in recipe.domains if teachers and domain not in recipe.teachers]
    presets = {recipe.model.teacher: None} if trained else {}
    for preset in presets | {recipe.model.student: None}:
        name = generic_node(recipe, preset)
        if recipe.generic.checkpoint is not None:
            table.add(name, ["binarize"], checkpoint=recipe.generic.checkpoint)
        else:
            table.add(name, ["binarize"], text=recipe.generic.text, **_training(recipe, "generic", preset))
    for domain in recipe.domains if teachers else ():
        if domain in trained:
            start = generic_node(recipe, recipe.model.teacher)
            settings = _training(recipe, "teacher", recipe.model.teacher)
            table.add(f"teacher.{domain}", ["binarize", start], domain=domain, **settings)
        else:
            brought = recipe.teachers[domain].checkpoint
            table.add(f"teacher.{domain}", ["binarize"], domain=domain, checkpoint=brought)
    if mixed:
        table.add("mixed", _student_parents(recipe), **_student_training(recipe))


def _add_student(table: _Table, recipe: Recipe, taught: list[str]) -> None:
    """Captures of the domains' teachers, the student, its hypotheses."""
    distill = recipe.distill
    for domain in taught:
        captured = distill.model_dump(include={"top_k", "temperature", "weighting"})
        table.add(f"capture.{domain}", ["binarize", f"teacher.{domain}"], domain=domain, distill=captured)
    # The teachers too, so that the student can hold each store against the model it must be of.
    taught_by = [f"{step}.{domain}" for step in ("teacher", "capture") for domain in taught]
    table.add("student", [*_student_parents(recipe), *taught_by], distill=distill, **_student_training(recipe))
    _add_decoding(table, recipe, "student")


def _add_decoding(table: _Table, recipe: Recipe, model: str) -> None:
    parents = ["split", "subword", "binarize", model]
    table.add(f"decode.{model}", parents, decoding=recipe.decoding, languages=recipe.languages)


def _add_results(table: _Table, recipe: Recipe, decoded: list[str]) -> None:
    named = {"name": recipe.name, "licences": _licences(recipe)}
    table.add("evaluate", ["split", *decoded], systems=recipe.systems, languages=recipe.languages, seed=recipe.seed)
    needed = ["split", "subword", "binarize", "student", "decode.student", "evaluate"]
    table.add("export", needed, decoding=recipe.decoding, languages=recipe.languages, **named)
    told = ["clean", "split", "gap", *TRAININGS, "capture", "evaluate", "export"]
    parents = [node.name for node in table.nodes.values() if node.step in told]
    table.add("report", parents, systems=recipe.systems, model=recipe.model, **named)


def _training(recipe: Recipe, role: str, preset: str) -> dict[str, Any]:
    return {
        "preset": preset,
        "fairseq_args": recipe.model.fairseq_args,
        "training": getattr(recipe.training, role),
        "seed": recipe.seed,
    }


def _student_parents(recipe: Recipe) -> list[str]:
    return ["binarize", generic_node(recipe, recipe.model.student)]


def _student_training(recipe: Recipe) -> dict[str, Any]:
    """What student and mixed fine-tuning share, so that only the loss differs."""
    return _training(recipe, "student", recipe.model.student) | {"sampling": recipe.sampling}


def _licences(recipe: Recipe) -> dict[str, list[str]]:
    return {
        name: sorted({corpus.licence for corpus in group.corpora}) for name, group in recipe.corpora_groups().items()
    }


def _plain(value: Any, hash_file: HashFile) -> Any:
    """`value` as JSON types, every file replaced by the hash of its content."""
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(), hash_file)
    if isinstance(value, Mapping):
        return {key: _plain(item, hash_file) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, hash_file) for item in value]
    return f"sha256:{hash_file(value)}" if isinstance(value, Path) else value
