"""Where a run keeps its files, and which of its steps are done.

What it owns: every file name of a run, `done.json`, the state of each step, locks.
What it must not know: what is inside the files, how a step works, Snakemake.
Why a step is done only by its `done.json`: it is written last and renamed, so a killed step is never taken for done.

    WORKSPACE/
      corpora.html, report, bundle   links to the current ones
      steps/<node>/<key>/            one step's outputs, log.txt, begun.json, and done.json last
      .mtkd/                         recipe.json, run.json, hashes.json, archives.lock.json, lock
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mtkd.bundle import sha256_of
from mtkd.errors import MtkdError
from mtkd.graph import Node, Plan

DONE, BEGUN, LOG, LOCK = "done.json", "begun.json", "log.txt", ".lock"
ARCHIVE_LOCK = "archives.lock.json"
"""Beside a recipe: which archives it was made with."""
LOCKED_VARIABLE = "MTKD_LOCKED"
"""Set for the steps of `mtkd run --locked`."""
_LINKS = {"corpora.html": ("corpora", "index.html"), "report": ("report", ""), "bundle": ("export", "bundle")}
"""Stable name -> the step and what of it the name means."""
_NOT_OUTPUTS = {DONE, BEGUN, LOG, LOCK}
_VERSIONED = ("mtkd", "torch", "fairseq-fixed", "sentencepiece", "sacrebleu", "ctranslate2", "snakemake", "numpy")


@dataclass(frozen=True)
class State:
    """Whether a node is `done`, or else `missing`, `interrupted`, `damaged` or `stale`, and why."""

    kind: str
    why: str = ""

    @property
    def done(self) -> bool:
        """Whether nothing has to be run."""
        return self.kind == "done"


class FileHashes:
    """SHA-256 by path, remembered in a JSON file for as long as size and time of the file stay the same."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._known: dict[str, list[Any]] = read_json(cache) or {}

    def __call__(self, path: Path) -> str:
        """Hash of the content."""
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(str(path))
        if known is None or known[:2] != stamp:
            self._known[str(path)] = known = [*stamp, sha256_of(path)]
            write_json(self._cache, self._known)
        digest: str = known[2]
        return digest


class Workspace:
    """Names every file of a run, and tells which steps are done."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.root = root.absolute()
        self.plan = plan

    @staticmethod
    def hashes(root: Path) -> FileHashes:
        """The workspace's cache of file hashes, for `build_plan`."""
        return FileHashes(root.absolute() / ".mtkd" / "hashes.json")

    @property
    def private(self) -> Path:
        """What only `mtkd run` reads: recipe, graph and lock of the run."""
        return self.root / ".mtkd"

    @property
    def archive_lock(self) -> Path:
        """A copy of the recipe's lock, by which archives are held against what they were."""
        return self.private / ARCHIVE_LOCK

    @property
    def snakemake_log(self) -> Path:
        """Whatever Snakemake says."""
        return self.root / "snakemake.log"

    @property
    def report_page(self) -> Path:
        """The page to open, under its stable name."""
        return self.root / "report" / "index.html"

    @property
    def corpora_page(self) -> Path:
        """The page about the text, under its stable name."""
        return self.root / "corpora.html"

    @property
    def results(self) -> Path:
        """The scores as JSON, under their stable name."""
        return self.root / "report" / "results.json"

    @property
    def bundle(self) -> Path:
        """The bundle to serve, under its stable name."""
        return self.root / "bundle"

    def dir(self, name: str) -> Path:
        """A node's directory."""
        node = self.plan.nodes[name]
        return self.root / "steps" / node.name / node.key

    def done_file(self, name: str) -> Path:
        """Exists once a node is done."""
        return self.dir(name) / DONE

    def log(self, name: str) -> Path:
        """A node's log."""
        return self.dir(name) / LOG

    def done(self, name: str) -> dict[str, Any] | None:
        """Content of done.json; None where there is none that can be read."""
        content: dict[str, Any] | None = read_json(self.done_file(name))
        return content

    def states(self) -> dict[str, State]:
        """State of every node of the plan, in its order."""
        states: dict[str, State] = {}
        runs: dict[str, str] = {}
        for name, node in self.plan.nodes.items():
            done = self.done(name)
            states[name] = self._state(node, done, states, runs)
            if done is not None and states[name].done:
                runs[name] = done["run"]
        return states

    def _state(self, node: Node, done: dict[str, Any] | None, states: dict[str, State], runs: dict[str, str]) -> State:
        """State of a node whose parents' states and run numbers are known."""
        if waits := [parent for parent in node.parents if not states[parent].done]:
            kind = "missing" if done is None else "stale"
            return State(kind, f"waits for {waits[-1]}" if done is None else f"{waits[-1]} has to be made first")
        if done is None:
            begun = (self.dir(node.name) / BEGUN).exists()
            return State("interrupted", "continues where it stopped") if begun else State("missing", "not made yet")
        for name, output in done["outputs"].items():
            path = self.dir(node.name) / name
            if not path.is_file():
                return State("damaged", f"{name} is missing")
            if path.stat().st_size != output["bytes"]:
                return State("damaged", f"{name} has another size")
        for parent in node.parents:
            if done["parent_runs"].get(parent) != runs[parent]:
                return State("stale", f"{parent} was made again")
        return State("done")

    def fetched(self) -> dict[str, Path]:
        """Folders of unpacked archives by group, as far as they are done."""
        done = (name for name, state in self.states().items() if state.done)
        return {str(self.plan.nodes[name].target): self.dir(name) for name in done if name.startswith("fetch.")}

    def wipe(self, name: str) -> None:
        """Empty a node's directory, so that its step starts from nothing; a lock that is held stays."""
        # done.json goes first: killed in between, the step is taken for interrupted, and begun.json must not vouch
        # for what is left.
        for first in (DONE, BEGUN):
            (self.dir(name) / first).unlink(missing_ok=True)
        for path in self.dir(name).glob("*"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()

    def begin(self, name: str) -> float:
        """Prepare a node's directory: keep what an interrupted run of it left, unless a parent was made again since.

        The caller holds the step's lock and has seen that all parents are done. Returns the seconds that went into
        what is kept: of each interrupted run those until it last wrote a file.
        """
        parents = {parent: (self.done(parent) or {})["run"] for parent in self.plan.nodes[name].parents}
        begun = self.dir(name) / BEGUN
        before = read_json(begun) or {}
        if before.get("parent_runs") == parents:
            earlier_s = float(before.get("earlier_s", 0.0)) + self._seconds_since(begun)
        else:
            self.wipe(name)
            earlier_s = 0.0
        write_json(begun, {"parent_runs": parents, "earlier_s": round(earlier_s, 3)})
        return earlier_s

    def _seconds_since(self, begun: Path) -> float:
        """From when `begun` was written to when the last file beside it was."""
        started = begun.stat().st_mtime
        written = (path.stat().st_mtime for path in begun.parent.rglob("*") if path.is_file() and path.name != LOCK)
        return max(written, default=started) - started

    def finish(self, name: str, **measured: Any) -> None:
        """Write done.json, with `measured` (seconds, memory, commands) beside what it always says."""
        node, folder = self.plan.nodes[name], self.dir(name)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        names = {path.relative_to(folder).as_posix(): path for path in paths if path.name not in _NOT_OUTPUTS}
        done = {
            "name": name,
            "step": node.step,
            "key": node.key,
            "run": uuid.uuid4().hex,
            "slice": node.slice,
            "parents": {parent: self.plan.nodes[parent].key for parent in node.parents},
            **(read_json(folder / BEGUN) or {}),
            "outputs": {output: {"bytes": path.stat().st_size} for output, path in names.items()},
            "versions": _versions(),
            **measured,
        }
        write_json(folder / DONE, done)

    def lock_step(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Hold a node's directory for this process.

        Raises:
            MtkdError: another process holds it.
        """
        return _locked(self.dir(name) / LOCK, f"step '{name}' is still running as pid {{pid}}; wait for it or end it")

    def lock_run(self) -> contextlib.AbstractContextManager[None]:
        """Hold the workspace for this `mtkd run`.

        Raises:
            MtkdError: another process holds it.
        """
        message = f"another mtkd run is using {self.root} (pid {{pid}}); wait for it or choose another --workspace"
        return _locked(self.private / "lock", message)

    def link_results(self) -> None:
        """Let the stable names point at what this plan made, as far as it is done."""
        states = self.states()
        for link, (name, inside) in _LINKS.items():
            if not states[name].done:
                continue
            target = self.dir(name) / inside
            beside = self.root / f".{link}.tmp"
            beside.unlink(missing_ok=True)
            beside.symlink_to(target.relative_to(self.root), target_is_directory=target.is_dir())
            beside.replace(self.root / link)


def read_json(path: Path) -> Any:
    """Content of a JSON file; None where there is none or it is cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON, beside first and then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    beside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


@contextlib.contextmanager
def _locked(path: Path, message: str) -> Iterator[None]:
    """Hold `path` by flock, which the kernel lets go of however the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise MtkdError(message.format(pid=file.read().strip() or "unknown")) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@cache
def _versions() -> dict[str, str]:
    """Installed versions of what decides a step's outputs."""
    found = {}
    for name in _VERSIONED:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
