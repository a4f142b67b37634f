"""Augmentation changes the rows it is asked to, in place, and nothing else."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from mtkd.corpus.augment import AUGMENTATIONS, Augmenter, mask
from mtkd.corpus.clean import normalise
from mtkd.corpus.leakage import GroupedPair
from mtkd.corpus.subword import PLACEHOLDERS, encode_corpora, train_subword
from mtkd.corpus.textfile import read_lines
from mtkd.errors import CorpusError
from mtkd.plan import build_plan
from mtkd.recipe_file import load_recipe
from mtkd.recipe_text import Augmentation, Languages
from tests.unit.corpus_text import random_text, recipe_of
from tests.unit.workflow_recipe import write_recipe

TEXTS = st.text(st.characters(categories=["L", "N", "P", "Zs", "M", "S"]), min_size=1).map(normalise).filter(bool)


def pairs(count: int, seed: int = 1) -> list[GroupedPair]:
    rng = random.Random(seed)
    return [GroupedPair("bank", f"{random_text(rng, 6)} {i}.", f"{random_text(rng, 6)} {i}.") for i in range(count)]


def augmented(rows: list[GroupedPair], seed: int = 1, **shares: float) -> tuple[list[GroupedPair], dict[str, int]]:
    augmenter = Augmenter(Augmentation(**shares), seed=seed, reserved=PLACEHOLDERS)
    return list(augmenter(rows)), dict(augmenter.counts["bank"])


def one(kind: str, source: str, target: str, seed: int = 1) -> tuple[str, str]:
    return AUGMENTATIONS[kind](source, target, random.Random(seed))


def test_every_share_is_a_row_of_the_table_in_the_same_order() -> None:
    assert list(Augmentation.model_fields) == list(AUGMENTATIONS)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_a_share_of_the_rows_is_changed_and_counted(kind: str) -> None:
    rows = pairs(1000)
    changed, counts = augmented(rows, **{kind: 0.3})
    assert len(changed) == len(rows)
    different = sum(row != before for row, before in zip(changed, rows, strict=True))
    assert counts == {"rows": 1000, **dict.fromkeys(AUGMENTATIONS, 0), kind: different}
    assert 240 <= different <= 360


def test_nothing_is_changed_where_nothing_is_asked_for() -> None:
    rows = pairs(50)
    assert augmented(rows) == (rows, {"rows": 50, **dict.fromkeys(AUGMENTATIONS, 0)})


def test_adding_text_changes_nothing_for_other_rows() -> None:
    rows, shares = pairs(300), {"upper_case": 0.2, "typos": 0.2, "placeholders": 0.2}
    alone, _ = augmented(rows, **shares)
    among, _ = augmented([*pairs(100, seed=2), *rows[:150], *pairs(7, seed=3), *rows[150:]], **shares)
    assert [row for row in among if row in set(alone)] == alone


def test_another_seed_changes_other_rows() -> None:
    rows = pairs(300)
    assert augmented(rows, upper_case=0.5)[0] == augmented(rows, upper_case=0.5)[0]
    assert augmented(rows, upper_case=0.5)[0] != augmented(rows, seed=2, upper_case=0.5)[0]


def test_a_row_is_changed_in_one_way_only() -> None:
    rows = pairs(200)
    _, counts = augmented(rows, placeholders=1, upper_case=1, typos=1)
    assert counts["placeholders"] == 200
    assert sum(counts.values()) == 400


def test_another_kind_has_a_row_in_which_there_is_nothing_to_change() -> None:
    rows = [GroupedPair("bank", "no numbers", "keine Zahlen")]
    changed, counts = augmented(rows, placeholders=1, upper_case=1)
    assert changed[0].source == "NO NUMBERS"
    assert (counts["placeholders"], counts["upper_case"]) == (0, 1)


@given(TEXTS, TEXTS, st.sampled_from(list(AUGMENTATIONS)))
def test_a_row_stays_a_clean_row_of_text(source: str, target: str, kind: str) -> None:
    [row], _ = augmented([GroupedPair("bank", source, target)], **{kind: 1})
    assert (normalise(row.source), normalise(row.target)) == (row.source, row.target)
    assert row.source
    assert row.target


@pytest.mark.parametrize(
    ("source", "target", "masked"),
    [
        ("Add 3 to 15.", "Zu 15 addiere 3.", ("Add <ph0> to <ph1>.", "Zu <ph1> addiere <ph0>.")),
        ("at 10:30 on 2024-01-05", "um 10:30 am 2024-01-05", ("at <ph0> on <ph1>", "um <ph0> am <ph1>")),
        ("1,000 dollars, 5 %", "1.000 Dollar, 5 %", ("1,000 dollars, <ph0> %", "1.000 Dollar, <ph0> %")),
        ("mail a.b@example.org now", "an a.b@example.org", ("mail <ph0> now", "an <ph0>")),
        ("see https://example.org/a?b=1.", "siehe https://example.org/a?b=1.", ("see <ph0>.", "siehe <ph0>.")),
        (
            "ask Peter, not Mary",
            "Bitte frag Peter, nicht Maria",
            ("ask <ph0>, not Mary", "Bitte frag <ph0>, nicht Maria"),
        ),
        ("7 is 7", "sieben ist 7", ("7 is 7", "sieben ist 7")),
        ("7 is 7", "7 ist 7", ("<ph0> is <ph0>", "<ph0> ist <ph0>")),
        ("In a house", "In einem Haus", ("In a house", "In einem Haus")),
        ("use {0} or %1$s, 12kg, 1.5kg", "{0} oder %1$s, 12kg, 1.5kg", None),
        ("keep <ph3> and 4", "behalte <ph3> und 4", None),
    ],
)
def test_what_both_sides_have_becomes_a_placeholder(source: str, target: str, masked: tuple[str, str] | None) -> None:
    assert mask(source, target, random.Random(1)) == (masked or (source, target))


def test_there_are_no_more_placeholders_than_are_reserved() -> None:
    text = " ".join(str(number) for number in range(100, 140))
    source, target = mask(text, text, random.Random(1))
    assert source == target == " ".join([*PLACEHOLDERS, *(str(number) for number in range(132, 140))])


def test_case_is_changed_on_both_sides_and_not_in_code() -> None:
    source, target = "don't use %s, {name} or <b>here</b>", "nicht \\kern-Befehl auf www.example.org/x"
    upper = ("DON'T USE %s, {name} OR <b>HERE</b>", "NICHT \\kern-BEFEHL AUF www.example.org/x")
    assert one("upper_case", source, target) == upper
    assert one("title_case", "don't (use) iPods", "nicht da") == ("Don't (Use) IPods", "Nicht Da")


@pytest.mark.parametrize("seed", range(20))
def test_typos_are_few_and_in_the_source_only(seed: int) -> None:
    source, target = "several longer words stand within {placeholder} this sentence", "unverändert"
    mistyped, same = one("typos", source, target, seed)
    assert same == target
    assert "{placeholder}" in mistyped
    words = zip(source.split(), mistyped.split(), strict=True)
    wrong = [(word, typed) for word, typed in words if word != typed]
    assert 0 <= len(wrong) <= 3
    assert all(word[0] == typed[0] and abs(len(word) - len(typed)) <= 1 for word, typed in wrong)


def test_every_slip_happens() -> None:
    typed = {one("typos", "abcd", "", seed)[0] for seed in range(200)}
    assert {"acbd", "acd", "abbcd", "avcd"} <= typed
    assert "abcd" not in typed


@pytest.mark.parametrize(
    ("source", "target", "bare"),
    [
        ("Stop!", "Halt.", ("Stop", "Halt")),
        ("Bonjour !", "Wait ...", ("Bonjour", "Wait")),
        ("Stop", "Halt.", None),
        ("...", "Halt.", None),
        ("Stop:", "Halt:", None),
    ],
)
def test_final_punctuation_goes_where_both_sides_have_it(
    source: str, target: str, bare: tuple[str, str] | None
) -> None:
    assert one("no_final_punctuation", source, target) == (bare or (source, target))


def test_a_vocabulary_without_placeholders_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"subword.model lacks the pieces <ph0> to <ph31>; set it to 0"):
        Augmenter(Augmentation(placeholders=0.1), seed=1, reserved=[])
    assert Augmenter(Augmentation(typos=0.1), seed=1, reserved=[]).shares == {"typos": 0.1}


def test_placeholders_are_single_pieces_of_train_and_of_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(1)
    folder = tmp_path / "split" / "bank"
    folder.mkdir(parents=True)
    for side, count in (("train", 400), ("dev", 20), ("test", 20)):
        for language in ("en", "de"):
            lines = (f"{random_text(rng, 6, letters='abcdef', length=4)} {i} x" for i in range(count))
            (folder / f"{side}.{language}").write_text("".join(f"{line}\n" for line in lines))
    languages = Languages(source="en", target="de")
    recipe = recipe_of({"bank": Path("unread.tsv")}, subword={"vocab_size": 480})
    model = train_subword(recipe, tmp_path / "split", tmp_path / "subword").model
    augmenter = Augmenter(Augmentation(placeholders=0.5), seed=1, reserved=PLACEHOLDERS)
    encode_corpora(tmp_path / "split", model, tmp_path / "out", languages, augment=augmenter)
    processor = SentencePieceProcessor(model_file=str(model))
    for side in ("train", "dev", "test"):
        encoded = {
            language: [line.split(" ") for line in read_lines(tmp_path / "out" / "bank" / f"{side}.{language}")]
            for language in ("en", "de")
        }
        text = list(read_lines(folder / f"{side}.en"))
        masked = [i for i, pieces in enumerate(encoded["en"]) if "<ph0>" in pieces]
        assert masked == [i for i, pieces in enumerate(encoded["de"]) if "<ph0>" in pieces]
        assert len(masked) == (augmenter.counts["bank"]["placeholders"] if side == "train" else 0)
        for i, (pieces, line) in enumerate(zip(encoded["en"], text, strict=True)):
            expected = re.sub(r"\d+", "<ph0>", line) if i in masked else line
            assert processor.decode(pieces) == expected
    assert 150 <= augmenter.counts["bank"]["placeholders"] <= 250


def test_a_changed_share_makes_binarize_anew_and_no_step_before(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, rows=5)
    before = build_plan(load_recipe(path)).nodes
    after = build_plan(load_recipe(path, ["augmentation.typos=0.1"])).nodes
    changed = {name for name in before if before[name].key != after[name].key}
    depends = {"binarize"}
    for name, node in before.items():
        if depends.intersection(node.parents):
            depends.add(name)
    assert changed == depends
