"""The toy recipe, run in one workspace by every proof: what two of them need is made once."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtkd.pipeline import open_workspace
from mtkd.recipe_file import load_recipe
from mtkd.steps.files import RESULTS, read_json
from mtkd.train import DONE, METRICS, read_metrics
from mtkd.workspace import Workspace

ROOT = Path(__file__).parents[2]
SYSTEMS = "systems=[generic, teachers, student]"


@dataclass(frozen=True)
class ToyRun:
    """A recipe, changed by `overrides`, after `mtkd run`."""

    recipe: Path
    root: Path
    overrides: tuple[str, ...]

    @property
    def workspace(self) -> Workspace:
        return open_workspace(load_recipe(self.recipe, list(self.overrides)), self.root)

    def dir(self, node: str) -> Path:
        return self.workspace.dir(node)

    def bleu(self, system: str) -> dict[str, float]:
        """Test set -> BLEU."""
        scores = read_json(self.dir("evaluate") / RESULTS)["scores"]["bleu"][system]
        return {name: of["score"] for name, of in scores.items()}

    def dev(self, node: str) -> dict[str, Any]:
        """The validation with the lowest loss, in bits a token."""
        rows = [row for row in read_metrics(self.dir(node) / METRICS) if row["split"] == "valid"]
        return min(rows, key=lambda row: row["loss"])


def run_toy(recipe: Path, root: Path, *overrides: str, until: str | None = None) -> ToyRun:
    """`mtkd run` as it is typed."""
    argv = [sys.executable, "-m", "mtkd", "run", str(recipe), "--workspace", str(root)]
    argv += [word for override in overrides for word in ("--set", override)]
    argv += ["--until", until] if until else []
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return ToyRun(recipe, root, overrides)


def retrain(run: ToyRun, save_dir: Path, changes: dict[str, str]) -> None:
    """Run the student's own fairseq-train command with some flags changed."""
    argv = shlex.split((run.dir("student") / "command.sh").read_text())[1:]
    for flag, value in {**changes, "--save-dir": str(save_dir)}.items():
        argv[argv.index(flag) + 1] = value
    command = [sys.executable, "-m", "fairseq_cli.train", *argv]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    output = done.stdout + done.stderr
    assert DONE in output, output[-3000:]
