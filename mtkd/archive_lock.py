"""Holds the archives of a run against the lock beside its recipe, and writes that lock.

What it owns: where a run keeps its copy of the lock, and what `--locked` asks. What it must not know: the lock's form,
how archives are fetched. Why a copy: a step sees its workspace and never the recipe's folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtkd.corpus.fetch import ARCHIVES
from mtkd.corpus.lockfile import Archive, changes, read_lock, read_locked_pairs, write_lock
from mtkd.errors import CorpusError, UsageError
from mtkd.workspace import ARCHIVE_LOCK, Workspace, read_json


def lock_beside(recipe: Path) -> Path:
    """Where the lock of a recipe (a file, or its folder) is kept."""
    return (recipe if recipe.is_dir() else recipe.parent) / ARCHIVE_LOCK


def take_lock(recipe: Path, workspace: Workspace, *, locked: bool) -> None:
    """Let the steps of a run know the recipe's lock; with `locked`, hold what was fetched before against it too.

    Raises:
        UsageError: `locked`, and the recipe has archives but no lock.
        CorpusError: `locked`, and an archive that was fetched before is another one.
    """
    path = lock_beside(recipe)
    if not path.is_file():
        if locked and any(node.step == "fetch" for node in workspace.plan.nodes.values()):
            raise UsageError(f"--locked: there is no {path}; 'mtkd lock' writes it from a finished run")
        workspace.archive_lock.unlink(missing_ok=True)
        return
    lock = read_lock(path)
    if locked:
        refuse_changed(changes(lock, fetched_archives(workspace)))
    workspace.archive_lock.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, workspace.archive_lock)


def refuse_changed(changed: list[str]) -> None:
    """Stop where an archive is not the locked one.

    Raises:
        CorpusError: with a line for each.
    """
    if changed:
        raise CorpusError(
            "\n".join([f"not the archives of {ARCHIVE_LOCK}:", *changed, "without --locked they are used"])
        )


def fetched_archives(workspace: Workspace) -> dict[str, Archive]:
    """The archives of every finished step `fetch`, by their name in the recipe."""
    return archives_of(read_json(folder / ARCHIVES) for folder in workspace.fetched().values())


def archives_of(found: Any) -> dict[str, Archive]:
    """The archives of several `archives.json`, by their name in the recipe."""
    return {spec: Archive(spec=spec, **archive) for content in found for spec, archive in content["archives"].items()}


def write_recipe_lock(recipe: Path, workspace: Workspace) -> Path:
    """Write the lock beside a recipe from its workspace, and return its path.

    Raises:
        UsageError: the recipe has no archives, or they were not fetched and cleaned yet.
    """
    nodes, states = workspace.plan.nodes, workspace.states()
    wanted = [name for name, node in nodes.items() if node.step in ("fetch", "clean")]
    if not any(name.startswith("fetch.") for name in wanted):
        raise UsageError("the recipe has no archives, so there is nothing to lock")
    if missing := [name for name in wanted if not states[name].done]:
        raise UsageError(f"{', '.join(missing)} not done yet; first: mtkd run RECIPE --until clean")
    counts = read_json(workspace.dir("clean") / "clean.json")
    pairs = {group: counts[group]["corpora"] for group in workspace.fetched()}
    write_lock(lock_beside(recipe), fetched_archives(workspace), pairs)
    return lock_beside(recipe)


def pair_changes(lock: Path, counts: Mapping[str, Any]) -> list[str]:
    """A line for each corpus whose number of pairs is not the lock's (`counts` is `clean.json`)."""
    lines = []
    for group, corpora in read_locked_pairs(lock).items():
        for index, before in corpora.items():
            now = counts.get(group, {}).get("corpora", {}).get(index)
            if now is not None and now != before:
                was, kept = before["kept"], now["kept"]
                read = f"{before['read']:,} -> {now['read']:,} pairs read"
                lines.append(f"{group}, corpus {index}: {read}, {was:,} -> {kept:,} kept ({kept - was:+,})")
    return lines
