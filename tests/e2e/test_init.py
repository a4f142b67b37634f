"""A company's memories become a recipe in one step, and the recipe becomes a student as it is."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.e2e.typed import mtkd
from tests.memories import Pairs, po, tmx, tsv
from tests.toy import Language

FEWER_UPDATES = [
    option
    for role in ("generic", "teacher", "student")
    for option in ("--set", f"training.{role}.updates=4", "--set", f"training.{role}.warmup_updates=2")
]
NO_GATES = [
    option
    for gate in ("coverage", "reference_in_top_k", "fidelity")
    for option in ("--set", f"distill.gates.{gate}=null")
]
"""No teacher is worth learning from after 4 updates."""


def sentences(register: str, count: int, language: Language, rng: random.Random) -> Pairs:
    return [language.sentence(rng, register) for _ in range(count)]


def write_memories(folder: Path) -> None:
    """Two domains: translation memories and a table of one, messages of the other."""
    rng = random.Random(1)
    language = Language(rng)
    tmx(folder / "bank" / "contracts.tmx", sentences("bank", 120, language, rng))
    tsv(folder / "bank" / "letters.tsv", sentences("bank", 60, language, rng), header="en\tde")
    po(folder / "river" / "de.po", sentences("river", 150, language, rng))


def test_memories_of_two_domains_become_a_recipe_that_stands_every_check(tmp_path: Path) -> None:
    write_memories(tmp_path / "memories")
    made = mtkd(tmp_path, "init", "memories")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "next: mtkd check memories" in made.stdout
    checked = mtkd(tmp_path, "check", "memories")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "no problems; next: mtkd run memories" in checked.stdout
    augmented = ("--set", "augmentation.upper_case=0.5")
    run = mtkd(tmp_path, "run", "memories", "--until", "binarize", *augmented)
    assert run.returncode == 0, run.stdout + run.stderr
    [counts] = (tmp_path / "runs" / "memories" / "steps" / "binarize").glob("*/augment.json")
    assert 0 < json.loads(counts.read_text())["bank"]["upper_case"] < json.loads(counts.read_text())["bank"]["rows"]


@pytest.mark.proof
def test_memories_of_two_domains_become_a_student(tmp_path: Path) -> None:
    write_memories(tmp_path / "memories")
    assert mtkd(tmp_path, "init", "memories", "--preset", "tiny").returncode == 0
    run = mtkd(tmp_path, "run", "memories", *FEWER_UPDATES, *NO_GATES)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "next: mtkd serve runs/memories/bundle" in run.stdout
