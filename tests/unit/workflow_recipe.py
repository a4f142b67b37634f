"""A small recipe file with its texts, for the tests of plan, workspace and command line."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml

from tests.unit.corpus_text import random_text, write_tsv

DOMAINS = ("it", "religion")


def recipe_dict(**changes: Any) -> dict[str, Any]:
    """A recipe as YAML would read it; `changes` replace its top-level keys."""
    domains = {name: {"corpora": [{"path": f"text/{name}.tsv", "licence": "CC0-1.0"}]} for name in DOMAINS}
    training = {role: {"updates": 10} for role in ("generic", "teacher", "student")}
    return {
        "name": "demo",
        "languages": {"source": "en", "target": "de"},
        "domains": domains,
        "model": {"teacher": "tiny", "student": "tiny"},
        "training": training,
    } | changes


def write_recipe(folder: Path, *, rows: int = 600, **changes: Any) -> Path:
    """Write `recipe.yaml` and one text a domain into `folder`; the recipe's path."""
    for name in DOMAINS:
        rng = random.Random(name)
        text = ((random_text(rng, 6), f"{random_text(rng, 6)} {name}") for _ in range(rows))
        write_tsv(folder / "text" / f"{name}.tsv", text)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_dict(**changes), sort_keys=False), encoding="utf-8")
    return path
