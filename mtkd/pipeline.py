"""Runs a recipe: decides which steps are not done, lets Snakemake run them, and shows how it goes.

What it owns: one `mtkd run` and its files in WORKSPACE/.mtkd. What it must not know: what the steps do.
Why Snakemake sees only the steps that are not done: whether one is done is decided in one place, `Workspace.states`,
by content and never by the time of a file; Snakemake orders the rest and gives it cores.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO

from rich.console import Console

import mtkd
from mtkd.check import disk_bytes, disk_problem, free_bytes
from mtkd.commands import verify_fairseq_args
from mtkd.errors import MtkdError
from mtkd.graph import TRAININGS, Node, Plan
from mtkd.plan import build_plan
from mtkd.processes import die_with_parent, end_group
from mtkd.progress import EVENTS_VARIABLE, ProgressView, read_event
from mtkd.recipe import Recipe
from mtkd.recipe_file import resolved
from mtkd.workspace import LOCKED_VARIABLE, State, Workspace, write_json

SNAKEFILE = Path(__file__).parent / "workflow" / "Snakefile"
_GRACE_S = 10.0
"""How long steps may take to end when the run is interrupted."""


@dataclass(frozen=True)
class Selection:
    """What one `mtkd run` has to do: the nodes asked for, and why some of them are not done."""

    nodes: list[Node]
    states: dict[str, State]

    @property
    def pending(self) -> list[Node]:
        """The nodes that would run."""
        return [node for node in self.nodes if not self.states[node.name].done]


def open_workspace(recipe: Recipe, root: Path) -> Workspace:
    """The workspace of a recipe; file hashes are remembered in it where it exists."""
    root = root.absolute()
    return Workspace(root, build_plan(recipe, Workspace.hashes(root)))


def select(workspace: Workspace, *, until: str | None = None, force: str | None = None) -> Selection:
    """What has to run for everything, or for the step `until`; `force` makes a step anew, and what depends on it.

    Raises:
        UsageError: no such step.
    """
    plan = workspace.plan
    forced = {node.name for node in plan.select(force)} if force else set()
    nodes = plan.with_ancestors(plan.select(until) if until else plan.nodes.values())
    return Selection(nodes, _with_forced(plan, workspace.states(), forced))


def refuse_hopeless(recipe: Recipe, workspace: Workspace, selection: Selection) -> None:
    """Look at what would only be noticed hours later: the disk's size, and fairseq's opinion of its arguments.

    Raises:
        MtkdError: a disk that is too small.
        UsageError: arguments that fairseq does not take.
    """
    wanted = sum(disk_bytes(node, recipe) for node in selection.pending)
    if wanted > (free := free_bytes(workspace.root)):
        raise MtkdError(disk_problem(wanted, free, workspace.root))
    if recipe.model.fairseq_args and any(node.step in TRAININGS for node in selection.pending):
        verify_fairseq_args(recipe)


def run(
    recipe: Recipe,
    workspace: Workspace,
    selection: Selection,
    *,
    cores: int,
    jobs: int = 1,
    locked: bool,
    view: ProgressView,
) -> bool:
    """Make what `selection` names; whether all of it was made. What failed has been shown.

    Up to `jobs` steps that could use all cores run side by side, each on its share of them. With `locked`, no archive
    is taken that is not the lock's.

    Raises:
        MtkdError: another run uses the workspace.
        KeyboardInterrupt: by Ctrl-C or SIGTERM, once all processes have ended.
    """
    with workspace.lock_run(), _terminated_like_interrupted():
        for node in selection.pending:
            if selection.states[node.name].kind in ("damaged", "stale", "forced"):
                with workspace.lock_step(node.name):
                    workspace.wipe(node.name)
        write_json(workspace.private / "recipe.json", resolved(recipe))
        write_json(workspace.private / "run.json", _graph(workspace, selection.pending, max(1, cores // jobs)))
        with workspace.snakemake_log.open("w", encoding="utf-8") as log:
            returncode = _snakemake(workspace, cores, {LOCKED_VARIABLE: "1"} if locked else {}, view, log)
    for step in view.running:
        view.line(step, "error: ended without a word: was it killed, or the memory full?", style="red")
        view.line(step, f"log: {workspace.log(step)}")
    if returncode and not view.running and not view.failed:
        raise MtkdError(f"Snakemake failed before any step did: see {workspace.snakemake_log}")
    return returncode == 0


def make(
    recipe: Recipe,
    workspace: Workspace,
    selection: Selection,
    *,
    cores: int,
    jobs: int = 1,
    locked: bool,
    console: Console,
) -> bool:
    """Make what of `selection` is not done, showing it, and link the results; whether all of it was made.

    `cores` and `jobs` as `run` takes them.

    Raises:
        MtkdError: as `refuse_hopeless` and `run` say.
        KeyboardInterrupt: by Ctrl-C or SIGTERM, once all processes have ended.
    """
    if selection.pending:
        refuse_hopeless(recipe, workspace, selection)
        with ProgressView(console, steps=len(selection.pending)) as view:
            if not run(recipe, workspace, selection, cores=cores, jobs=jobs, locked=locked, view=view):
                return False
    workspace.link_results()
    return True


def _with_forced(plan: Plan, states: dict[str, State], forced: set[str]) -> dict[str, State]:
    """The states, were the forced nodes not done."""
    changed = dict(states)
    for node in plan.nodes.values():
        remade = [parent for parent in node.parents if not changed[parent].done]
        if node.name in forced and changed[node.name].kind != "missing":
            changed[node.name] = State("forced", "asked for by --force")
        elif remade and changed[node.name].done:
            changed[node.name] = State("stale", f"{remade[0]} has to be made first")
    return changed


def _graph(workspace: Workspace, pending: list[Node], threads: int) -> dict[str, object]:
    """What the Snakefile reads; paths from the workspace on, so that it may lie anywhere.

    `threads` is what a step has that could use all cores.
    """
    names = {node.name for node in pending}
    return {
        "command": shlex.join(["mtkd", *sys.argv[1:]]),  # as it was typed, for the report
        "threads": threads,
        "steps": {
            node.name: {
                "done": workspace.done_file(node.name).relative_to(workspace.root).as_posix(),
                "parents": [parent for parent in node.parents if parent in names],
                "all_cores": node.all_cores,
                "priority": node.priority,
            }
            for node in pending
        },
    }


def _snakemake(workspace: Workspace, cores: int, variables: dict[str, str], view: ProgressView, log: TextIO) -> int:
    """Run Snakemake to its end and show its steps' events; everything else goes to `log`."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE)]
    command += ["--directory", str(workspace.root), "--configfile", str(workspace.private / "run.json")]
    command += ["--cores", str(cores), "--scheduler", "greedy", "--rerun-triggers", "mtime"]
    # The lock is ours, and a done.json that exists is complete: it was renamed into place.
    command += ["--nolock", "--ignore-incomplete", "--drop-metadata"]
    source_cache = workspace.root / ".snakemake" / "source-cache"
    shutil.rmtree(source_cache, ignore_errors=True)  # or Snakemake runs the Snakefile that an older mtkd had
    command += ["--runtime-source-cache-path", str(source_cache)]
    package = str(Path(mtkd.__file__).parents[1])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        command,
        env={**os.environ, **variables, EVENTS_VARIABLE: "1", "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches only us, and we end the whole group
        preexec_fn=die_with_parent,  # noqa: PLW1509 - it is one system call
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            event = read_event(line)
            if event is not None:
                view.show(event)
            else:
                log.write(line)
                log.flush()
        return process.wait()
    finally:
        if process.poll() is None:
            end_group(process, _GRACE_S)
        process.stdout.close()


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM (a scheduler, a container's end) clean up as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
