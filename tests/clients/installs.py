"""Clients from the registries, each in a folder of its own under `.clients`, downloaded once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CLIENTS = Path(__file__).parents[2] / ".clients"


def from_pypi(requirement: str) -> Path:
    """The folder of a package and what it needs, for PYTHONPATH."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "install",
        requirement,
        "--target",
    ]
    return kept(requirement, lambda folder: subprocess.run([*command, str(folder)], check=True))


def from_npm(requirement: str) -> Path:
    """The folder of a package and what it needs, for NODE_PATH."""
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", requirement, "--prefix"]
    return kept(requirement, lambda folder: subprocess.run([*command, str(folder)], check=True)) / "node_modules"


def kept(name: str, make: Callable[[Path], object]) -> Path:
    """The folder of that name; made beside and renamed, so that half a download is never taken for a whole one."""
    folder, unfinished = CLIENTS / name, CLIENTS / f"{name}.unfinished"
    if not folder.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        make(unfinished)
        unfinished.rename(folder)
    return folder
