"""Runs one step: locks its directory, measures it, words its failure, and writes done.json last.

What it owns: what happens around a step. What it must not know: what the steps do (`steps.py`, imported when one
runs), which step comes next (`pipeline.py`).
Why apart: the same command runs under `mtkd run`, by hand, and as a job on a cluster.
"""

from __future__ import annotations

import errno
import logging
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mtkd.context import StepContext
from mtkd.errors import MtkdError, UsageError
from mtkd.graph import Node
from mtkd.plan import build_plan
from mtkd.progress import Progress
from mtkd.recipe import Recipe
from mtkd.workspace import Workspace

logger = logging.getLogger(__name__)

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in getrusage's unit of memory."""


def run_step(name: str, recipe: Recipe, root: Path, *, threads: int) -> bool:
    """Run one node of the recipe's plan in the workspace `root`; whether it succeeded, which it has then told.

    A node that is done is left alone. An interrupted one continues, a damaged one starts from nothing.

    Raises:
        UsageError: no such node, or a parent is not done.
        MtkdError: another process runs the same node.
    """
    plan = build_plan(recipe, Workspace.hashes(root))
    node = _the_node(plan.select(name), name)
    workspace = Workspace(root, plan)
    states = workspace.states()
    if missing := [parent for parent in node.parents if not states[parent].done]:
        raise UsageError(f"step '{name}' needs {', '.join(missing)} first; 'mtkd run' makes every step in order")
    progress = Progress(node.name)
    with workspace.lock_step(node.name):
        state = workspace.states()[node.name]  # again: who held the lock may have changed it
        if state.done:
            progress.message(f"is done already: {workspace.dir(node.name)}")
            return True
        return _run(StepContext(recipe, plan, workspace, node, threads, progress), damaged=state.kind == "damaged")


def _run(context: StepContext, *, damaged: bool) -> bool:
    """Run the step and write done.json, or tell in one line why not."""
    name, workspace = context.node.name, context.workspace
    started, start_s = datetime.now(UTC), time.monotonic()
    try:
        if damaged:
            workspace.wipe(name)
        earlier_s = workspace.begin(name)
        context.progress.started()  # after `begin`: killed from here on, the step continues
        with _logging_to(context.log):
            _call(context)
        seconds = earlier_s + time.monotonic() - start_s
        workspace.finish(
            name,
            started=started.isoformat(timespec="seconds"),
            seconds=round(seconds, 3),
            peak_rss_bytes=_peak_rss_bytes(),
            commands=context.commands,
        )
    except MtkdError as error:
        context.progress.failed(str(error), str(context.log))
    except OSError as error:
        context.progress.failed(disk_full(error, context.dir) or _one_line(error), str(context.log))
    except Exception as error:
        context.progress.failed(_one_line(error), str(context.log))
    else:
        context.progress.finished(seconds)
        return True
    return False


def _call(context: StepContext) -> None:
    """The step itself; whatever it raises is also written to its log."""
    try:
        from mtkd.steps import STEPS  # noqa: PLC0415 - torch and fairseq, several seconds

        STEPS[context.node.step](context)
    except MtkdError as error:
        logger.error("step=%s error=%s", context.node.name, error)
        raise
    except Exception:
        logger.exception("step=%s failed", context.node.name)
        raise


def disk_full(error: OSError, path: Path) -> str | None:
    """What to do about a full disk below `path`; None for any other error."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    mount = next(folder for folder in (path, *path.parents) if folder.is_mount())
    return f"no space left on {mount} while writing {path}: free some and run the same command again, it continues"


def _one_line(error: Exception) -> str:
    """An error that no one foresaw; its traceback is in the log."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _the_node(found: list[Node], name: str) -> Node:
    exact = [node for node in found if node.name == name] or found
    if len(exact) > 1:
        raise UsageError(f"'{name}' is several steps; name one of {', '.join(node.name for node in exact)}")
    return exact[0]


class _StepLog(logging.FileHandler):
    """A log file that may be on the full disk which is about to be reported."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Send `logging` to a file for as long as the step runs."""
    handler = _StepLog(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


def _peak_rss_bytes() -> int:
    """The most memory that this process, or any one process it waited for, ever held."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(each).ru_maxrss for each in who) * _RSS_UNIT
