"""Normalising, filtering and counting."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from pathlib import Path

import pytest

from mtkd.corpus.clean import FILTERS, clean_corpora, normalise, read_cleaned, reason_to_drop
from mtkd.errors import CorpusError
from mtkd.recipe_text import Filters
from tests.unit.corpus_text import recipe_of, write_tsv


def test_every_filter_of_the_recipe_has_a_row() -> None:
    assert list(FILTERS) == list(Filters.model_fields)


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


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("", "x", "empty"),
        ("x", "", "empty"),
        ("one", "zwei Worte", "min_words"),
        ("one two three four five", "eins zwei", "max_words"),
        ("one two", "eins zwei drei vier", "max_ratio"),
        ("The Same", "the same", "copies"),
        ("one two", "eins zwei drei", None),
    ],
)
def test_a_pair_is_dropped_by_the_first_rule_it_breaks(source: str, target: str, reason: str | None) -> None:
    assert reason_to_drop(source, target, Filters(min_words=2, max_words=4, max_ratio=1.9)) == reason


def test_copies_stay_where_the_recipe_says_so() -> None:
    assert reason_to_drop("same", "same", Filters(copies=False)) is None


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
    assert seen == [("x", 7, 7)]


def test_text_without_references_is_left_to_the_step_that_translates_it(tmp_path: Path) -> None:
    given = {"path": write_tsv(tmp_path / "a.tsv", [("one", "eins")]), "licence": "MIT"}
    alone = {"path": write_tsv(tmp_path / "b.tsv", [["two"]], "src"), "references": "none", "licence": "CC0-1.0"}
    counts = clean_corpora(recipe_of({"x": {"corpora": [alone, given]}}), tmp_path / "out")
    assert (counts["x"]["read"], counts["x"]["licences"]) == (1, ["MIT"])
    assert list(read_cleaned(tmp_path / "out" / "x.tsv")) == [("one", "eins", "", 0)]


def test_progress_is_told_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtkd.corpus.clean._REPORT_EVERY", 2)
    path = write_tsv(tmp_path / "a.tsv", [(f"s {i}", f"t {i}") for i in range(5)])
    seen: list[tuple[str, int, int]] = []
    clean_corpora(recipe_of({"x": path}), tmp_path / "out", progress=lambda *step: seen.append(step))
    assert seen == [("x", 2, 5), ("x", 4, 5), ("x", 5, 5)]


def test_a_group_with_nothing_left_is_refused_with_the_reasons(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "a.tsv", [("same", "same"), ("", "x")])
    with pytest.raises(CorpusError, match=r"'x': none of its 2 pairs passed the filters \(empty 1, copies 1\)"):
        clean_corpora(recipe_of({"x": path}), tmp_path / "out")


def test_two_groups_with_the_same_text_are_refused_whatever_the_order(tmp_path: Path) -> None:
    rows = [("one", "eins"), ("two", "zwei")]
    groups = {"x": write_tsv(tmp_path / "1.tsv", rows), "y": write_tsv(tmp_path / "2.tsv", reversed(rows))}
    with pytest.raises(CorpusError, match="'y' and 'x' are the same text"):
        clean_corpora(recipe_of(groups), tmp_path / "out")
