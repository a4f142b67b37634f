"""All that can be known of a recipe before anything is trained.

What it owns: `mtkd check`: the corpora's counts, disk and time estimates, and the list of everything that is wrong.
What it must not know: how a model is trained. Why: an error after two days of training was there before them.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtkd.commands import KEPT_CHECKPOINTS, verify_fairseq_args
from mtkd.corpus.clean import clean_corpora
from mtkd.corpus.located import files_of, needs_fetching, with_fetched
from mtkd.corpus.split import split_corpora
from mtkd.corpus.transfer import describe_transfer
from mtkd.errors import CorpusError, UsageError
from mtkd.graph import TRAININGS, Node, Plan
from mtkd.presets import PRESETS
from mtkd.recipe import Recipe, Training
from mtkd.recipe_text import Domain
from mtkd.workspace import Workspace

BYTES_PER_TOKEN = 4
"""UTF-8 bytes of text that one subword token stands for, roughly and on the safe side."""
ADAM_BYTES = 12
"""A training checkpoint holds each parameter and Adam's two moments of it, in float32."""
SHORT_ROW = 2
"""Target tokens of a row, on the safe side: a store keeps 2 bytes a row, so at most 1 a token."""
MATMUL_SIZE = 1024


@dataclass(frozen=True)
class Findings:
    """What `mtkd check` found: facts by heading, and problems that would stop a run."""

    facts: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def check_recipe(recipe: Recipe, plan: Plan, root: Path) -> Findings:
    """Clean and split the corpora into a temporary folder, and estimate the rest; `root` is the workspace."""
    found = Findings()
    recipe = with_fetched(recipe, Workspace(root, plan).fetched())
    to_fetch = {name: group for name, group in recipe.corpora_groups().items() if needs_fetching(group)}
    for name, group in to_fetch.items():
        archives = ", ".join(archive for corpus in group.corpora for archive in corpus.archives)
        found.facts[name] = [f"to be fetched, and counted then ('mtkd run RECIPE --until fetch'): {archives}"]
    if not to_fetch:
        with tempfile.TemporaryDirectory() as folder:
            _check_corpora(recipe, Path(folder), found)
    found.facts["models"] = _models(recipe)
    if recipe.model.fairseq_args:
        try:
            verify_fairseq_args(recipe)
        except UsageError as error:
            found.problems.append(str(error))
    wanted, free = sum(disk_bytes(node, recipe) for node in plan.nodes.values()), free_bytes(root)
    found.facts["disk"] = [f"about {readable(wanted)} for the whole run, {readable(free)} free"]
    if wanted > free:
        found.problems.append(disk_problem(wanted, free, root))
    seconds = training_seconds(recipe, plan, matmul_flops())
    found.facts["time"] = [f"roughly {seconds / 60:.0f} min of training here, from matrix products alone"]
    return found


def disk_bytes(node: Node, recipe: Recipe) -> int:
    """Roughly what a step will leave on disk, by the sizes of the corpora and of the models."""
    if "checkpoint" in node.slice:
        return _brought(node, recipe).stat().st_size
    text = {name: _text_bytes(group) for name, group in recipe.corpora_groups().items()}
    size = 0.0
    match node.step:
        case "clean" | "split":
            size = sum(text.values())
        case "binarize":
            size = 3 * sum(text.values())
        case step if step in TRAININGS:
            kept = max(KEPT_CHECKPOINTS, node.slice["training"]["average_checkpoints"])
            # The last, the best and the final one come on top of those that are kept.
            size = (kept + 3) * ADAM_BYTES * _parameters(node.slice["preset"], recipe)
        case "transfer" | "translate":
            size = 3 * text[node.slice["domain"]] + 8 * _parameters(recipe.model.teacher, recipe)
        case "capture":
            a_token = _store_bytes(node.slice["top_k"], len(node.slice["temperatures"]), recipe.subword.vocab_size)
            size = text[node.slice["domain"]] / 2 / BYTES_PER_TOKEN * a_token
        case "decode":
            preset = recipe.model.teacher if str(node.target).startswith("teacher") else recipe.model.student
            size = 8 * _parameters(preset, recipe)
        case "export":
            size = 9 * _parameters(recipe.model.student, recipe)
    return int(size)


def training_seconds(recipe: Recipe, plan: Plan, flops: float) -> float:
    """Six operations for each parameter and token (forward and backward), were every batch full."""
    seconds = 0.0
    for node in plan.nodes.values():
        if node.step in TRAININGS and "training" in node.slice:
            training = Training.model_validate(node.slice["training"])
            tokens = training.updates * training.update_freq * training.max_tokens
            seconds += 6 * tokens * _parameters(node.slice["preset"], recipe) / flops
    return seconds


def matmul_flops() -> float:
    """Operations a second of this machine's float32 matrix product: the best of five, after one to warm up."""
    import numpy as np  # noqa: PLC0415 - `run` needs this module, but no numpy

    square = np.ones((MATMUL_SIZE, MATMUL_SIZE), dtype=np.float32)
    best_s = float("inf")
    for _ in range(6):
        start_s = time.perf_counter()
        square @ square
        best_s = min(best_s, time.perf_counter() - start_s)
    return 2 * MATMUL_SIZE**3 / best_s


def free_bytes(path: Path) -> int:
    """Free space where `path` is or will be."""
    path = path.absolute()
    return shutil.disk_usage(next(folder for folder in (path, *path.parents) if folder.exists())).free


def disk_problem(wanted: int, free: int, path: Path) -> str:
    """The message for a disk that is too small."""
    return f"{path}: about {readable(wanted)} needed, {readable(free)} free: free some, or choose another --workspace"


def readable(size: float) -> str:
    """Bytes for people: `1.5 GB`."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _check_corpora(recipe: Recipe, folder: Path, found: Findings) -> None:
    """Clean and split; if cleaning fails, clean each group alone, so that all that is wrong is listed."""
    try:
        cleaned = clean_corpora(recipe, folder / "clean")
    except CorpusError as error:
        problems = [problem for one in _one_group_each(recipe) for problem in _cleaning_problems(one, folder)]
        found.problems.extend(problems or str(error).splitlines())
        return
    for group, counts in cleaned.items():
        dropped = ", ".join(f"{name} {count}" for name, count in counts["dropped"].items() if count) or "none"
        licences = ", ".join(counts["licences"])
        found.facts[group] = [f"{counts['read']} pairs read, {counts['kept']} kept (dropped: {dropped}); {licences}"]
    try:
        sides = split_corpora(recipe, folder / "clean", folder / "split")
    except CorpusError as error:
        found.problems.extend(str(error).splitlines())
        return
    for group, counts in sides.items():
        found.facts[group].append(f"train {counts['train']}, dev {counts['dev']}, test {counts['test']}")
        found.facts[group].append(f"taken out because held-out text gives it away: {_purged(counts['purged'])}")
    try:
        transfer = describe_transfer(recipe, folder / "split")
    except CorpusError as error:
        found.problems.extend(str(error).splitlines())
        return
    for domain, facts in transfer.items():
        found.facts[domain].extend(facts)


def _one_group_each(recipe: Recipe) -> Iterable[Recipe]:
    for name, group in recipe.corpora_groups().items():
        yield recipe.with_groups({name: group})


def _cleaning_problems(recipe: Recipe, folder: Path) -> list[str]:
    try:
        clean_corpora(recipe, folder / "alone")
    except CorpusError as error:
        return str(error).splitlines()
    return []


def _purged(purged: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{sum(kinds.values())} from {side}" for side, kinds in purged.items())


def _models(recipe: Recipe) -> list[str]:
    roles = {"teacher": recipe.model.teacher, "student": recipe.model.student}
    return [
        f"{role} {preset}: {_parameters(preset, recipe) / 1e6:.1f}M parameters with {recipe.subword.vocab_size} pieces"
        for role, preset in roles.items()
    ]


def _parameters(preset: str, recipe: Recipe) -> int:
    return PRESETS[preset].parameters(recipe.subword.vocab_size)


def _text_bytes(group: Domain) -> int:
    return sum(file.stat().st_size for corpus in group.corpora for files in files_of(corpus).values() for file in files)


def _store_bytes(top_k: int, temperatures: int, vocab_size: int) -> float:
    from mtkd.distill.topk import bytes_per_token  # noqa: PLC0415 - numpy

    return bytes_per_token(top_k, temperatures, vocab_size, SHORT_ROW)


def _brought(node: Node, recipe: Recipe) -> Path:
    """The checkpoint that a node brings instead of training one."""
    path = recipe.generic.checkpoint if node.step == "generic" else recipe.teachers[str(node.target)].checkpoint
    assert path is not None, f"{node.name} has a checkpoint in its slice and none in the recipe"
    return path
