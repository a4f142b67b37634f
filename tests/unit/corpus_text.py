"""Small recipes and files for the tests of mtkd.corpus."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mtkd.recipe import Recipe

TRAINING = {role: {"updates": 1} for role in ("generic", "teacher", "student")}


def write_tsv(path: Path, rows: Iterable[Iterable[str]], header: str = "src\ttgt") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in [header, *("\t".join(row) for row in rows)]), "utf-8", newline="")
    return path


def recipe_of(groups: Mapping[str, Any], **rest: Any) -> Recipe:
    """A recipe whose groups are given as paths of TSV files, or as the recipe's own mappings."""
    domains = {
        name: {"corpora": [{"path": group, "licence": "CC0-1.0"}]} if isinstance(group, Path) else group
        for name, group in groups.items()
    }
    general = domains.pop("general", None)
    return Recipe.model_validate(
        {
            "name": "test",
            "languages": {"source": "en", "target": "de"},
            "domains": domains,
            "general": general,
            "training": TRAINING,
            **rest,
        }
    )


def random_text(rng: random.Random, words: int, *, letters: str = "abcdefghij", length: int = 6) -> str:
    return " ".join("".join(rng.choice(letters) for _ in range(length)) for _ in range(words))
