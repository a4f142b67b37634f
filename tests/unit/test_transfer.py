"""Text without references: what is kept of it, what of its translations, and what is said of both."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mtkd.corpus.clean import clean_corpora
from mtkd.corpus.leakage import LEAKS
from mtkd.corpus.split import split_corpora
from mtkd.corpus.transfer import REASONS, clean_transfer, describe_transfer, reason_to_drop_translation
from mtkd.errors import CorpusError
from mtkd.recipe import Recipe
from mtkd.recipe_file import load_recipe
from mtkd.recipe_text import Filters, Languages
from tests.toy import write_micro
from tests.unit.corpus_text import random_text, recipe_of, write_tsv

FILTERS = {"min_words": 2, "max_words": 12}


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


class Run:
    """Two domains, split, and what the domain `it` may have beside its pairs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = random.Random(1)
        self.pairs = {
            name: write_tsv(folder / f"{name}.tsv", [(random_text(rng, 8), random_text(rng, 8)) for _ in range(300)])
            for name in ("it", "law")
        }
        recipe = self.recipe()
        clean_corpora(recipe, folder / "clean")
        split_corpora(recipe, folder / "clean", folder / "split")

    def recipe(self, *alone: dict[str, Any]) -> Recipe:
        given = {"path": self.pairs["it"], "licence": "CC0-1.0"}
        it = {"corpora": [given, *alone], "filters": FILTERS, "split": {"minimum": 5}}
        return recipe_of({"it": it, "law": {**it, "corpora": [{"path": self.pairs["law"], "licence": "CC0-1.0"}]}})

    def with_sentences(self, *sentences: str) -> Recipe:
        path = self.folder / "alone.en"
        path.write_text("".join(f"{sentence}\n" for sentence in sentences), encoding="utf-8", newline="")
        return self.recipe({"reader": "moses", "source": path, "references": "none", "licence": "CC-BY-4.0"})

    def clean(self, *sentences: str, **options: Any) -> tuple[dict[str, Any], list[str]]:
        out = self.folder / "sources.txt"
        counts = clean_transfer(self.with_sentences(*sentences), "it", self.folder / "split", out, **options)
        assert counts["read"] == len(sentences) == counts["kept"] + sum(counts["dropped"].values())
        return counts, lines(out)

    def side(self, group: str, side: str) -> str:
        return lines(self.folder / "split" / group / f"{side}.en")[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("transfer"))


def dropped(counts: dict[str, Any]) -> dict[str, int]:
    return {reason: count for reason, count in counts["dropped"].items() if count}


def test_sentences_are_normalised_filtered_and_kept_in_order(run: Run) -> None:
    too_long = " ".join("x" * 13)
    counts, kept = run.clean("quite\u00a0 new", "", "short", too_long, "u\u0308ber all", "\u200b \x00", "quite new")
    assert kept == ["quite new", "\u00fcber all"]
    assert dropped(counts) == {"empty": 1, "min_words": 2, "max_words": 1, "duplicate": 1}
    assert list(counts["dropped"]) == list(REASONS)
    assert counts["licences"] == ["CC-BY-4.0"]


def test_a_source_is_never_too_unequal_to_itself_nor_its_own_copy(run: Run) -> None:
    assert dropped(run.clean("a new sentence")[0]) == {}


def test_a_source_is_judged_by_its_own_language_only(run: Run) -> None:
    english, german = "this is a file of the user", "das ist eine Datei von dem Nutzer"
    counts, kept = run.clean(english, german)
    assert kept == [english]
    assert dropped(counts) == {"language": 1}


def test_a_source_that_train_has_with_a_reference_is_dropped(run: Run) -> None:
    own, of_others = run.side("it", "train"), run.side("law", "train")
    counts, kept = run.clean(f" {own}", of_others)
    assert kept == [of_others]
    assert dropped(counts) == {"has_reference": 1}


@pytest.mark.parametrize("side", ["dev", "test"])
@pytest.mark.parametrize(("group", "where"), [("it", "within"), ("law", "across")])
def test_what_dev_and_test_of_any_group_hold_is_purged(run: Run, side: str, group: str, where: str) -> None:
    held_out = run.side(group, side)
    counts, kept = run.clean(held_out, f"{held_out.upper()}!", f"{held_out} oh", "something else altogether")
    assert kept == ["something else altogether"]
    assert dropped(counts) == {f"exact_{where}": 2, f"near_{where}": 1}
    assert set(dropped(counts)) <= set(LEAKS)


def test_a_sentence_that_shares_half_its_words_with_a_held_out_one_stays(run: Run) -> None:
    half = " ".join(run.side("it", "test").split()[:4])
    _, kept = run.clean(f"{half} and four other words")
    assert len(kept) == 1


def test_nothing_left_is_refused_with_the_reasons(run: Run) -> None:
    why = r"'it': none of its 3 sentences without references is left \(empty 1, min_words 1, exact_within 1\)"
    with pytest.raises(CorpusError, match=why):
        run.clean("", "x", run.side("it", "test"))


def test_progress_is_told_on_the_way(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtkd.corpus.transfer._REPORT_EVERY", 2)
    seen: list[tuple[str, int, int]] = []
    run.clean(*(f"sentence number {i}" for i in "abcde"), progress=lambda *step: seen.append(step))
    assert seen == [("it", 2, 5), ("it", 4, 5)]


@pytest.mark.parametrize(
    ("source", "translation", "cut_off", "reason"),
    [
        ("one two", "eins zwei", False, None),
        ("one two", "eins zwei eins zwei", True, "cut_off"),
        ("one two", "", True, "cut_off"),
        ("one two", "", False, "untranslated"),
        ("one two", "eins zwei eins zwei eins zwei eins", False, "max_ratio"),
        ("one two", "One Two", False, "copies"),
        ("one two", "eins", False, "min_words"),
        ("we have 25 of them", "wir haben 26 davon", False, "numbers"),
        ("one two three of it", "eins eins eins eins eins eins eins", False, "repeats"),
    ],
)
def test_a_translation_must_be_whole_and_what_the_filters_let_pass(
    source: str, translation: str, cut_off: bool, reason: str | None
) -> None:
    filters = Filters(min_words=2)
    languages = Languages(source="en", target="de")
    assert reason_to_drop_translation(source, translation, filters, languages, cut_off=cut_off) == reason


def test_check_tells_what_the_run_will_count(run: Run) -> None:
    recipe = run.with_sentences("quite new", "quite new", run.side("law", "test"), "rather new")
    assert describe_transfer(recipe, run.folder / "split") == {
        "it": [
            "4 sentences without references read, 2 kept for its teacher to translate "
            "(dropped: duplicate 1, exact_across 1); CC-BY-4.0"
        ]
    }
    assert "3 kept for its teacher to translate (dropped: duplicate 1)" in describe_transfer(recipe)["it"][0]
    assert describe_transfer(run.recipe()) == {}


def test_check_names_a_file_that_cannot_be_used(run: Run) -> None:
    alone = {"path": run.folder / "gone.tsv", "references": "none", "licence": "CC0-1.0"}
    with pytest.raises(CorpusError, match=r"gone\.tsv: no such file"):
        describe_transfer(run.recipe(alone))


def test_toy_with_sentences_without_references_has_the_same_other_text(tmp_path: Path) -> None:
    plain, more = write_micro(tmp_path / "1"), write_micro(tmp_path / "2", transfer_sentences=30)
    for path in plain.parent.glob("*.tsv"):
        assert path.read_bytes() == (more.parent / path.name).read_bytes()
    recipe = load_recipe(more)
    assert recipe.transfer_domains() == ["bank"]
    (alone,) = recipe.domains["bank"].with_references(False)
    assert len(lines(alone.source)) == 30
    assert load_recipe(plain).transfer_domains() == []
