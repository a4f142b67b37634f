"""The small package recipe on the real text: fetched, counted as its lock says, free of leaks, and stable.

Wants a network, apt-get, pip and npm; minutes: `make prove`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mtkd.corpus.split import SIDES, find_leaks, read_side
from mtkd.pipeline import open_workspace
from mtkd.recipe_file import load_recipe
from mtkd.recipe_text import Languages
from tests.proofs.toy_run import ROOT

pytestmark = pytest.mark.proof
RECIPE = ROOT / "data_recipes" / "packages_en_de_small"
ENGLISH_GERMAN = Languages(source="en", target="de")
MINUTES = 5
DING = {
    "reader": "ding",
    "archives": ["deb:trans-de-en"],
    "path": "usr/share/trans/de-en",
    "licence": "GPL-2.0-or-later",
}


def run(recipe: Path, workspace: Path, until: str) -> str:
    command = [sys.executable, "-m", "mtkd", "run", str(recipe), "--workspace", str(workspace), "--until", until]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the recipe ran until binarize, in the time that it promises."""
    workspace = tmp_path_factory.mktemp("packages")
    started = time.monotonic()
    run(RECIPE, workspace, "binarize")
    assert time.monotonic() - started < 60 * MINUTES
    return workspace


def split_of(recipe: Path, workspace: Path) -> Path:
    return open_workspace(load_recipe(recipe), workspace).dir("split")


def test_counts_are_those_of_the_lock(built: Path) -> None:
    counts = json.loads((open_workspace(load_recipe(RECIPE), built).dir("clean") / "clean.json").read_text("utf-8"))
    lock = json.loads((RECIPE / "archives.lock.json").read_text(encoding="utf-8"))
    for group, corpora in lock["pairs"].items():
        for index, before in corpora.items():
            assert counts[group]["corpora"][index]["kept"] == pytest.approx(before["kept"], rel=0.05)


def test_a_second_run_fetches_nothing(built: Path) -> None:
    assert "nothing to do" in run(RECIPE, built, "binarize")


def test_no_held_out_pair_is_given_away(built: Path) -> None:
    assert find_leaks(split_of(RECIPE, built), ENGLISH_GERMAN) == 0


def test_a_further_corpus_moves_no_pair_between_train_dev_and_test(built: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load((RECIPE / "recipe.yaml").read_text(encoding="utf-8"))
    recipe["domains"]["religion"]["corpora"].append(DING)
    more = tmp_path / "recipe.yaml"
    more.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    run(more, tmp_path / "run", "split")

    def sides(split: Path) -> dict[tuple[str, str, str], str]:
        return {
            (group, pair.source, pair.target): side
            for group in recipe["domains"]
            for side in SIDES
            for pair in read_side(split, group, side, ENGLISH_GERMAN)
        }

    before, after = sides(split_of(RECIPE, built)), sides(split_of(more, tmp_path / "run"))
    common = before.keys() & after.keys()
    assert len(common) > 0.95 * len(before)
    moved = {pair: (before[pair], after[pair]) for pair in common if before[pair] != after[pair]}
    assert moved == {}
    assert len(after) > len(before)
