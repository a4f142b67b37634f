"""Normalising, filtering and counting."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from mtkd.corpus.clean import clean_corpora, normalise, read_cleaned
from mtkd.corpus.examples import EXAMPLES
from mtkd.errors import CorpusError
from tests.unit.corpus_text import recipe_of, write_tsv


@pytest.mark.parametrize("space", [*"\t\r\n\x0b\x0c\x1c\x85\xa0\u2009\u2028\u2029\u202f\u3000\ufeff\u2581", " \xa0 "])
def test_every_space_becomes_one_plain_space(space: str) -> None:
    assert normalise(f"{space}a{space}b{space}") == "a b"


def test_control_characters_vanish() -> None:
    assert normalise("a\x00b\x07 \x9f c\x7f") == "ab c"


def test_composed_and_decomposed_are_one() -> None:
    assert normalise("u\u0308ber") == "\u00fcber"


def test_joiners_within_words_are_text() -> None:
    assert (
        normalise("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645")
        == "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    )


def test_normalised_text_holds_no_white_space_but_single_plain_spaces_and_stays_as_it_is() -> None:
    rng = random.Random(1)
    alphabet = [chr(code) for code in range(0x3100) if unicodedata.category(chr(code))[0] in "ZCMLS"]
    for _ in range(3000):
        text = normalise("".join(rng.choices(alphabet, k=30)))
        assert re.sub(r"\s+", " ", text).strip() == text
        assert normalise(text) == text
        assert unicodedata.is_normalized("NFC", text)


def test_counts_say_what_became_of_every_pair(tmp_path: Path) -> None:
    rows = [("a b", "c d"), ("a\u00a0b", "c d"), ("a b", "c e"), ("", "x"), ("same", "same")]
    first = write_tsv(tmp_path / "1.tsv", [(*row, "doc") for row in rows], "src\ttgt\tfile")
    second = write_tsv(tmp_path / "2.tsv", [("a b", "c d"), ("f", "g h")])
    corpora = [
        {"path": first, "licence": "MIT", "columns": {"document": "file"}},
        {"path": second, "licence": "CC0-1.0"},
    ]
    seen: list[tuple[str, int, int]] = []
    counts = clean_corpora(
        recipe_of({"x": {"corpora": corpora}}), tmp_path / "out", progress=lambda *step: seen.append(step)
    )
    assert counts["x"]["read"] == 7
    assert counts["x"]["kept"] == 3
    dropped = {name: count for name, count in counts["x"]["dropped"].items() if count}
    assert dropped == {"empty": 1, "copies": 1, "duplicate": 2}
    assert counts["x"]["licences"] == ["CC0-1.0", "MIT"]
    assert counts["x"]["words"] == {"en": 5, "de": 6}
    assert json.loads((tmp_path / "out" / "clean.json").read_text()) == counts
    assert list(read_cleaned(tmp_path / "out" / "x.tsv")) == [
        ("a b", "c d", "doc", 0),
        ("a b", "c e", "doc", 0),
        ("f", "g h", "", 1),
    ]
    assert counts["x"]["corpora"] == {"0": {"read": 5, "kept": 2}, "1": {"read": 2, "kept": 1}}
    assert seen == [("x", 7, 7)]


def test_text_without_references_is_left_to_the_step_that_translates_it(tmp_path: Path) -> None:
    given = {"path": write_tsv(tmp_path / "a.tsv", [("one", "eins")]), "licence": "MIT"}
    alone = {"path": write_tsv(tmp_path / "b.tsv", [["two"]], "src"), "references": "none", "licence": "CC0-1.0"}
    counts = clean_corpora(recipe_of({"x": {"corpora": [alone, given]}}), tmp_path / "out")
    assert (counts["x"]["read"], counts["x"]["licences"]) == (1, ["MIT"])
    assert counts["x"]["corpora"] == {"1": {"read": 1, "kept": 1}}
    assert list(read_cleaned(tmp_path / "out" / "x.tsv")) == [("one", "eins", "", 1)]


def test_progress_is_told_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtkd.corpus.clean._REPORT_EVERY", 2)
    path = write_tsv(tmp_path / "a.tsv", [(f"s {i}", f"t {i}") for i in range(5)])
    seen: list[tuple[str, int, int]] = []
    clean_corpora(recipe_of({"x": path}), tmp_path / "out", progress=lambda *step: seen.append(step))
    assert seen == [("x", 2, 5), ("x", 4, 5), ("x", 5, 5)]


def test_a_group_with_nothing_left_is_refused_with_the_reasons(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "a.tsv", [("", "x"), ("same", "same"), ("too", "too")])
    with pytest.raises(CorpusError, match=r"'x': none of its 3 pairs passed the filters \(copies 2, empty 1\)"):
        clean_corpora(recipe_of({"x": path}), tmp_path / "out")


def test_two_groups_with_the_same_text_are_refused_whatever_the_order(tmp_path: Path) -> None:
    rows = [("one", "eins"), ("two", "zwei")]
    groups = {"x": write_tsv(tmp_path / "1.tsv", rows), "y": write_tsv(tmp_path / "2.tsv", reversed(rows))}
    with pytest.raises(CorpusError, match="'y' and 'x' are the same text"):
        clean_corpora(recipe_of(groups), tmp_path / "out")


def test_near_duplicates_are_one_within_a_group_only_and_where_the_recipe_says_so(tmp_path: Path) -> None:
    rows = [("The File.", "Die Datei"), ("the file", "die Datei!"), ("the file", "eine Datei"), ("a file", "die Datei")]
    path = write_tsv(tmp_path / "a.tsv", rows)
    other = write_tsv(tmp_path / "b.tsv", [("THE FILE", "DIE DATEI")])
    corpus = {"path": path, "licence": "MIT"}
    groups = {"x": path, "y": {"corpora": [corpus], "filters": {"near_duplicates": False}}, "z": other}
    counts = clean_corpora(recipe_of(groups), tmp_path / "out")
    assert [row.source for row in read_cleaned(tmp_path / "out" / "x.tsv")] == ["The File.", "the file", "a file"]
    assert counts["x"]["dropped"]["near_duplicate"] == 1
    assert counts["x"]["dropped"]["duplicate"] == 0
    assert [counts[group]["kept"] for group in "xyz"] == [3, 4, 1]


def test_examples_are_spread_the_same_at_every_run_and_short(tmp_path: Path) -> None:
    rows = [(text := f"copy {chr(97 + i % 26)} {'x' * i}", text) for i in range(200)]
    path = write_tsv(tmp_path / "a.tsv", [*rows, ("", "x"), ("one", "eins"), ("y" * 400, "y" * 400)])
    clean_corpora(recipe_of({"x": path}), tmp_path / "1")
    backwards = write_tsv(tmp_path / "b.tsv", [("one", "eins"), ("", "x"), ("y" * 400, "y" * 400), *reversed(rows)])
    clean_corpora(recipe_of({"x": backwards}), tmp_path / "2")
    examples = json.loads((tmp_path / "1" / "examples.json").read_text())
    assert examples == json.loads((tmp_path / "2" / "examples.json").read_text())
    assert {reason: len(kept) for reason, kept in examples["x"].items()} == {"copies": EXAMPLES, "empty": 1}
    lengths = sorted(len(example["source"]) for example in examples["x"]["copies"])
    assert lengths[0] < 60
    assert 150 < lengths[-1] <= 300


def aligned_corpora(folder: Path, threshold: float | None) -> dict[str, Any]:
    """Two groups of an invented language; every 40th target of the first corpus belongs to another source."""
    rng = random.Random(1)
    words = [f"{a}{b}{c}" for a in "bdfg" for b in "aei" for c in "klmnr"]
    sources = [" ".join(rng.sample(words, 6)) for _ in range(1200)]
    rows = [(source, source[::-1]) for source in sources]
    rows[:800] = [(source, rows[i + 1][1] if i % 40 == 0 else target) for i, (source, target) in enumerate(rows[:800])]
    first = {"path": write_tsv(folder / "1.tsv", rows[:800]), "licence": "MIT", "min_alignment": threshold}
    return {"x": {"corpora": [first]}, "y": write_tsv(folder / "2.tsv", rows[800:])}


def test_pairs_whose_words_do_not_explain_each_other_are_dropped_and_counted(tmp_path: Path) -> None:
    counts = clean_corpora(recipe_of(aligned_corpora(tmp_path, -4.0)), tmp_path / "out")
    assert counts["x"]["dropped"]["alignment"] == 20
    assert counts["x"]["kept"] == counts["x"]["corpora"]["0"]["kept"] == 780
    assert counts["y"]["kept"] == 400
    kept = list(read_cleaned(tmp_path / "out" / "x.tsv"))
    assert len(kept) == 780
    assert all(row.target == row.source[::-1] for row in kept)
    examples = json.loads((tmp_path / "out" / "examples.json").read_text())["x"]["alignment"]
    assert len(examples) == 20
    assert all(example["target"] != example["source"][::-1] for example in examples)


def test_a_threshold_that_nothing_reaches_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"'x': none of its 800 pairs passed the filters \(alignment 800\)"):
        clean_corpora(recipe_of(aligned_corpora(tmp_path, 1.0)), tmp_path / "out")


def test_without_a_threshold_no_alignment_is_trained_and_numpy_not_imported(tmp_path: Path) -> None:
    recipe = recipe_of({"y": aligned_corpora(tmp_path, None)["y"]}).model_dump_json()
    script = (
        "import sys; from pathlib import Path; from mtkd.corpus.clean import clean_corpora\n"
        "from mtkd.recipe import Recipe\n"
        "clean_corpora(Recipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]))\n"
        "assert 'numpy' not in sys.modules and 'mtkd.corpus.alignment' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, recipe, str(tmp_path / "out")], check=True)
