"""`mtkd init` writes a recipe that is valid, says what was found and why, and passes `mtkd check` untouched."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mtkd import cli
from mtkd.check import check_recipe
from mtkd.corpus.discover import discover
from mtkd.errors import CorpusError, UsageError
from mtkd.init_recipe import FEWEST_PAIRS, init_recipe
from mtkd.plan import build_plan
from mtkd.recipe_file import load_recipe
from tests.memories import Pairs, moses, po, tmx, tsv
from tests.unit.corpus_text import random_text


def pairs(count: int, seed: int, **shape: int) -> Pairs:
    rng = random.Random(seed)
    return [(random_text(rng, 4, **shape), random_text(rng, 4, **shape)) for _ in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Text of two domains and general text, and files that cannot be used."""
    text = tmp_path / "Our memories"
    tmx(text / "Legal" / "a.tmx", pairs(200, 1))
    tsv(text / "Legal" / "b.tsv", pairs(100, 2))
    po(text / "it" / "app.po", pairs(150, 3))
    moses(text / "general" / "x.en", text / "general" / "x.de", pairs(120, 4))
    tmx(text / "tiny" / "t.tmx", pairs(FEWEST_PAIRS - 1, 5))
    (text / "notes.docx").write_bytes(b"PK")
    return text


def test_the_recipe_is_valid_and_check_finds_no_problem(folder: Path, tmp_path: Path) -> None:
    made = init_recipe(folder)
    recipe = load_recipe(folder)
    assert recipe.name == "Our-memories"
    assert (recipe.languages.source, recipe.languages.target) == ("en", "de")
    assert list(recipe.domains) == ["it", "legal"]
    assert recipe.general is not None
    assert (recipe.model.teacher, recipe.model.student) == ("tiny", "tiny")
    assert made.path == folder / "recipe.yaml"
    found = check_recipe(recipe, build_plan(recipe), tmp_path / "runs")
    assert found.problems == []
    assert found.facts["legal"][1].startswith(f"train {made.sides['legal'].train}, dev {made.sides['legal'].dev}")


def test_counts_and_reasons_are_in_the_recipe(folder: Path) -> None:
    init_recipe(folder)
    text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    for words in (
        "reader: tmx  # 200 pairs",
        "path: Legal/a.tmx",
        "legal:  # 300 pairs, 300 of them left after cleaning",
        "# - notes.docx: not TMX, XLIFF",
        "# - tiny/t.tmx: 'tiny' has 49 pairs, fewer than 50",
        "licence: proprietary  # put right",
    ):
        assert words in text
    assert str(folder) not in text
    assert max(len(line) for line in text.splitlines()) <= 120 or "# - " in text


def test_the_recipe_may_lie_elsewhere(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "recipes" / "ours.yaml"
    init_recipe(folder, output, preset="nano")
    recipe = load_recipe(output)
    assert recipe.model.student == "nano"
    assert yaml.safe_load(output.read_text())["general"]["corpora"][0]["source"] == "../Our memories/general/x.en"


def test_an_existing_recipe_is_not_overwritten(folder: Path) -> None:
    (folder / "recipe.yaml").write_text("mine")
    with pytest.raises(UsageError, match=r"recipe.yaml: is there already"):
        init_recipe(folder)
    assert (folder / "recipe.yaml").read_text() == "mine"


def test_a_wrong_preset_names_the_nearest(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"--preset tinny: no such preset \(did you mean 'tiny'\?\)"):
        init_recipe(folder, preset="tinny")
    with pytest.raises(UsageError, match="no such folder"):
        init_recipe(folder / "gone")
    (folder / "alone.tmx").write_text("")
    with pytest.raises(UsageError, match="is a file; name the folder"):
        init_recipe(folder / "alone.tmx")
    assert not (folder / "recipe.yaml").exists()


def test_too_little_text_is_refused_with_its_files(tmp_path: Path) -> None:
    tmx(tmp_path / "a.tmx", pairs(10, 1))
    moses(tmp_path / "general.en", tmp_path / "general.de", pairs(100, 2))
    with pytest.raises(CorpusError, match=r"no domain with 50 pairs or more.*\na.tmx: 'a' has 10 pairs"):
        init_recipe(tmp_path)
    assert not (tmp_path / "recipe.yaml").exists()


def test_a_domain_of_which_cleaning_leaves_nothing_is_named(tmp_path: Path) -> None:
    tmx(tmp_path / "good.tmx", pairs(100, 1))
    tmx(tmp_path / "copies.tmx", [(source, source) for source, _ in pairs(100, 2)])
    made = init_recipe(tmp_path)
    assert list(load_recipe(tmp_path).domains) == list(made.sides) == ["good"]
    [unusable] = made.discovery.unusable
    assert str(unusable.path) == "copies.tmx"
    assert "none of its 100 pairs passed the filters (copies 100)" in unusable.reason


def test_two_domains_of_the_same_text_are_refused(tmp_path: Path) -> None:
    tmx(tmp_path / "a.tmx", pairs(100, 1))
    tmx(tmp_path / "b.tmx", pairs(100, 1))
    with pytest.raises(CorpusError, match="are the same text"):
        init_recipe(tmp_path)


@pytest.mark.parametrize("count", [FEWEST_PAIRS + 10, 3000])
def test_any_amount_of_text_can_be_split_and_fills_its_vocabulary(tmp_path: Path, count: int) -> None:
    moses(tmp_path / "a.en", tmp_path / "a.de", pairs(count, 1))
    made = init_recipe(tmp_path, source="en", target="de")
    recipe = load_recipe(tmp_path)
    split, sides = recipe.domains["a"].split, made.sides["a"]
    assert 1 <= split.minimum <= min(sides.dev, sides.test)
    assert sides.train > sides.test
    assert 400 <= recipe.subword.vocab_size <= 2000


def test_names_that_yaml_reads_as_something_else_are_kept(tmp_path: Path) -> None:
    tsv(tmp_path / "1e3" / "no: 'yes' # &.tsv", pairs(80, 1), header="no\tde")
    init_recipe(tmp_path, source="no", target="de", output=tmp_path / "r.yaml")
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.languages.source == "no"
    [corpus] = recipe.domains["domain_1e3"].corpora
    assert corpus.path == tmp_path / "1e3" / "no: 'yes' # &.tsv"
    assert corpus.columns.source == "no"


def test_the_command_prints_files_counts_and_what_is_next(folder: Path) -> None:
    done = CliRunner().invoke(cli.app, ["init", str(folder)])
    assert done.exit_code == 0, done.output
    for words in ("Legal/a.tmx", "200", "not used: notes.docx", f"next: mtkd check {folder}", f"mtkd run {folder}"):
        assert words in done.output
    assert re.search(r"^legal: \d+ pairs left after cleaning; about \d+ train", done.output, re.MULTILINE)


def test_finding_text_does_not_depend_on_where_one_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absolute = discover(folder)
    monkeypatch.chdir(folder.parent)
    assert discover(Path(os.path.relpath(folder))) == absolute
