"""The command line as a user types it, and what is seen of it from outside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from mtkd.pipeline import open_workspace, select
from mtkd.recipe_file import load_recipe
from mtkd.workspace import Workspace

ROOT = Path(__file__).parents[2]
RUN_LIMIT_S = 1200
"""Against hanging for ever, nothing else: a run of 21 steps takes a minute and a half, on a busy machine over six."""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "mtkd", *args]


def mtkd(folder: Path, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_LIMIT_S,
        env=environment(),
        **options,
    )


def workspace(folder: Path, *overrides: str) -> Workspace:
    return open_workspace(load_recipe(folder / "recipe.yaml", list(overrides)), folder / "runs" / "micro")


def processes_in(folder: Path) -> list[str]:
    """Command lines of processes that name or stand in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            here = (process / "cwd").readlink()
        except OSError:
            continue
        if process.name != str(os.getpid()) and (str(folder) in words or here.is_relative_to(folder)):
            found.append(words)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post(port: int, body: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/translate", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(request) as response:
                return json.load(response)
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def change(folder: Path, **changes: Any) -> None:
    """Set keys of a folder's recipe."""
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text()) | changes
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))


def pending(folder: Path, *overrides: str) -> list[str]:
    return [node.name for node in select(workspace(folder, *overrides)).pending]
