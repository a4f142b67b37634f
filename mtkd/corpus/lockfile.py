"""What a recipe's archives were when its counts were taken: the file `archives.lock.json` beside it.

What it owns: the form of that file, and what is said when an archive is another one now.
What it must not know: how archives are fetched, how pairs are counted.
Why beside the recipe: mirrors replace packages; with hashes and counts committed, whoever runs the recipe later sees
that the text is not what the scores were made with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mtkd.corpus.textfile import write_json
from mtkd.errors import CorpusError

Pairs = Mapping[str, Mapping[str, Mapping[str, int]]]
"""By group and a corpus' number in it: how many pairs were `read` and `kept`."""


class Archive(BaseModel):
    """An archive as it was fetched: by which name of the recipe, which file, how large, with which content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: str
    file: str = Field(pattern=r"^[^/\\]+$")
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    def __str__(self) -> str:
        return f"{self.file} ({self.bytes / 1e6:.1f} MB, sha256 {self.sha256[:8]})"


class _Lock(BaseModel):
    model_config = ConfigDict(extra="forbid")

    archives: list[Archive]
    pairs: dict[str, dict[str, dict[str, int]]]


def read_lock(path: Path) -> dict[str, Archive]:
    """The archives of a lock, by their name in the recipe; none where there is no lock.

    Raises:
        CorpusError: the file cannot be read as a lock.
    """
    return {archive.spec: archive for archive in _read(path).archives}


def read_locked_pairs(path: Path) -> dict[str, dict[str, dict[str, int]]]:
    """The counts of a lock, as `write_lock` got them; none where there is no lock.

    Raises:
        CorpusError: the file cannot be read as a lock.
    """
    return _read(path).pairs


def write_lock(path: Path, archives: Mapping[str, Archive], pairs: Pairs) -> None:
    """Write the lock of a recipe: its archives, sorted so that a difference reads well, and its counts."""
    rows: list[Any] = [archives[spec].model_dump() for spec in sorted(archives)]
    write_json(path, {"archives": rows, "pairs": pairs})


def changes(lock: Mapping[str, Archive], archives: Mapping[str, Archive]) -> list[str]:
    """A line for each archive that is not the locked one; nothing is said where there is no lock."""
    if not lock:
        return []
    lines = []
    for spec in sorted(archives):
        new, old = archives[spec], lock.get(spec)
        if old is None:
            lines.append(f"{spec}: not in the lock, now {new}")
        elif old.sha256 != new.sha256:
            lines.append(f"{spec}: {old} -> {new}")
    return lines


def _read(path: Path) -> _Lock:
    try:
        return _Lock.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return _Lock(archives=[], pairs={})
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise CorpusError(
            f"{path}: {where}: {error.errors()[0]['msg']}; delete the file to have it made anew"
        ) from None
    except ValueError as error:
        raise CorpusError(f"{path}: no JSON ({error}); delete the file to have it made anew") from None
