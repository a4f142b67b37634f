"""Which side a pair is on, and that nothing held out can be learnt by heart."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from mtkd.corpus.clean import clean_corpora
from mtkd.corpus.leakage import GroupedPair, HeldOut, fold, grams
from mtkd.corpus.split import SIDES, find_leaks, read_side, split_corpora
from mtkd.errors import CorpusError
from mtkd.recipe import Recipe
from tests.unit.corpus_text import random_text, recipe_of, write_tsv

SPLIT = {"test": 0.1, "dev": 0.1, "minimum": 1}


def corpus(path: Path, *, documents: bool = False) -> dict[str, Any]:
    return {"path": path, "licence": "CC0-1.0", "columns": {"document": "file"} if documents else {}}


def sentences(seed: int, count: int) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    return [(random_text(rng, 6), random_text(rng, 6)) for _ in range(count)]


def split(recipe: Recipe, folder: Path) -> dict[str, Any]:
    clean_corpora(recipe, folder / "clean")
    return split_corpora(recipe, folder / "clean", folder / "split")


def sides_of(recipe: Recipe, folder: Path) -> dict[str, str]:
    """Source sentence -> the side it is on, over all groups."""
    return {
        pair.source: side
        for group in recipe.corpora_groups()
        for side in SIDES
        for pair in read_side(folder / "split", group, side, recipe.languages)
    }


def similar(x: set[str], y: set[str]) -> bool:
    return 5 * len(x & y) >= 4 * len(x | y)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Click OK!", "click, ok"),
        ("Page 12 of 1 000", "page 3 of 7"),
        ("STRASSE", "Stra\u00dfe"),
        ("a\u2014b", "a b"),
    ],
)
def test_case_digits_and_punctuation_do_not_count(first: str, second: str) -> None:
    assert fold(first) == fold(second)


def test_texts_of_signs_only_stay_different() -> None:
    assert fold("???") != fold("!!!")


def test_vowel_signs_are_no_punctuation() -> None:
    assert fold("\u0915\u093f") != fold("\u0915\u0941")


def test_index_finds_exactly_what_brute_force_finds() -> None:
    rng = random.Random(7)
    held_out = [GroupedPair("x", random_text(rng, 5, letters="abc", length=3), f"t{i}") for i in range(120)]
    held_out += [GroupedPair("x", word, f"u{word}") for word in ("a", "ab", "abcde", "abcdef", "???")]
    index = HeldOut(held_out)
    texts = [grams(fold(pair.source)) for pair in held_out]
    near = 0
    for i in range(1500):
        letters = list(rng.choice(held_out).source)
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            letters[rng.randrange(len(letters))] = rng.choice("abc d")
        text = "".join(letters) + rng.choice(("", "", "a", " bc"))
        expected = any(similar(grams(fold(text)), other) for other in texts)
        assert (index.leak(GroupedPair("x", text, f"v{i}")) is not None) == expected
        near += expected
    assert 300 < near < 1400


def test_similarity_of_exactly_four_fifths_is_a_leak() -> None:
    held_out, longer = "abcdefghijkl", "abcdefghijklmn"
    assert len(grams(held_out)) * 5 == len(grams(longer)) * 4
    assert HeldOut([GroupedPair("x", held_out, "t")]).leak(GroupedPair("x", longer, "u")) == "near_within"
    assert HeldOut([GroupedPair("x", longer, "t")]).leak(GroupedPair("x", held_out, "u")) == "near_within"
    assert HeldOut([GroupedPair("x", longer, "t")]).leak(GroupedPair("x", held_out[1:], "u")) is None


def test_leaks_say_kind_and_place() -> None:
    index = HeldOut([GroupedPair("x", "the quick brown fox jumps", "t1"), GroupedPair("y", "over a lazy dog", "T 2")])
    assert index.leak(GroupedPair("x", "The quick brown fox jumps!", "new")) == "exact_within"
    assert index.leak(GroupedPair("z", "new", "t 3")) == "exact_across"
    assert index.leak(GroupedPair("x", "the quick brown fox jumps a", "new")) == "near_within"
    assert index.leak(GroupedPair("y", "the quick brown fox jumps a", "new")) == "near_across"
    assert index.leak(GroupedPair("x", "something else", "new")) is None


def test_split_keeps_every_pair_or_counts_it(tmp_path: Path) -> None:
    recipe = recipe_of({"x": {"corpora": [corpus(write_tsv(tmp_path / "x.tsv", sentences(1, 500)))], "split": SPLIT}})
    report = split(recipe, tmp_path)
    assert json.loads((tmp_path / "split" / "split.json").read_text()) == report
    rows = {side: list(read_side(tmp_path / "split", "x", side, recipe.languages)) for side in SIDES}
    assert {side: len(rows[side]) for side in SIDES} == {side: report["x"][side] for side in SIDES}
    purged = sum(sum(kinds.values()) for kinds in report["x"]["purged"].values())
    assert sum(len(pairs) for pairs in rows.values()) + purged == 500
    assert 25 < report["x"]["test"] < 75
    assert 25 < report["x"]["dev"] < 75
    assert report["x"]["documents"] == {"train": 0, "dev": 0, "test": 0}


def test_adding_a_corpus_moves_nothing(tmp_path: Path) -> None:
    rng = random.Random(3)
    first = write_tsv(
        tmp_path / "1.tsv", [(*pair, f"d{rng.randrange(60)}") for pair in sentences(1, 600)], "src\ttgt\tfile"
    )
    second = write_tsv(tmp_path / "2.tsv", sentences(2, 300))
    third = write_tsv(tmp_path / "3.tsv", sentences(3, 300))
    alone = recipe_of({"x": {"corpora": [corpus(first, documents=True)], "split": SPLIT}})
    more = recipe_of(
        {
            "x": {"corpora": [corpus(first, documents=True), corpus(second)], "split": SPLIT},
            "general": {"corpora": [corpus(third)], "split": SPLIT},
        }
    )
    split(alone, tmp_path / "alone")
    split(more, tmp_path / "more")
    before, after = sides_of(alone, tmp_path / "alone"), sides_of(more, tmp_path / "more")
    assert len(before) > 550
    assert {source: after[source] for source in before} == before


def test_documents_stay_whole_and_large_ones_in_train(tmp_path: Path) -> None:
    sizes = {f"doc{i}": 5 for i in range(80)} | {f"large{i}": 50 for i in range(10)}
    names = [name for name, size in sizes.items() for _ in range(size)]
    rows = [(*pair, name) for pair, name in zip(sentences(1, len(names)), names, strict=True)]
    path = write_tsv(tmp_path / "x.tsv", rows, "src\ttgt\tfile")
    # The quota is 0.1 * 900 = 90 pairs: documents of 5 pairs may be held out, documents of 50 may not.
    shares = {"test": 0.1, "dev": 0.1, "minimum": 1}
    recipe = recipe_of({"x": {"corpora": [corpus(path, documents=True)], "split": shares}})
    report = split(recipe, tmp_path)
    sides = sides_of(recipe, tmp_path)
    by_document = defaultdict(set)
    for source, _, name in rows:
        by_document[name].add(sides[source])
    assert all(len(found) == 1 for found in by_document.values())
    assert all(by_document[name] == {"train"} for name in sizes if name.startswith("large"))
    assert sum(report["x"]["documents"].values()) == 90
    assert report["x"]["test"] == 5 * report["x"]["documents"]["test"] > 0


def test_few_documents_are_split_by_sentence(tmp_path: Path) -> None:
    rows = [(*pair, f"d{i % 19}") for i, pair in enumerate(sentences(1, 400))]
    path = write_tsv(tmp_path / "x.tsv", rows, "src\ttgt\tfile")
    recipe = recipe_of({"x": {"corpora": [corpus(path, documents=True)], "split": SPLIT}})
    assert split(recipe, tmp_path)["x"]["documents"]["test"] == 0
    sides = sides_of(recipe, tmp_path)
    assert {sides[source] for source, _, name in rows if name == "d0"} > {"train"}


def test_nothing_held_out_is_left_in_training_text_of_any_group(tmp_path: Path) -> None:
    rng = random.Random(5)
    shared = sentences(1, 200)
    texts: dict[str, list[tuple[str, str]]] = {"x": [], "y": [], "general": []}
    for i, (source, target) in enumerate(shared):
        texts["x"].append((source, target))
        texts["y"].append((rng.choice((source.upper(), source + " a", source[:-1])), random_text(rng, 6)))
        texts["general"].append((random_text(rng, 6), rng.choice((target + "!", random_text(rng, 6)))))
        texts["x"].append((source[:-1] + "zz", f"{target} {i}"))
    paths = {name: write_tsv(tmp_path / f"{name}.tsv", rows) for name, rows in texts.items()}
    recipe = recipe_of({name: {"corpora": [corpus(path)], "split": SPLIT} for name, path in paths.items()})
    report = split(recipe, tmp_path)
    for kind in ("exact_across", "near_within", "near_across"):
        assert sum(report[group]["purged"]["train"][kind] for group in report) > 0, kind
    assert sum(sum(report[group]["purged"]["dev"].values()) for group in report) > 0
    assert find_leaks(tmp_path / "split", recipe.languages) == 0

    pairs = {
        side: [p for g in texts for p in read_side(tmp_path / "split", g, side, recipe.languages)] for side in SIDES
    }
    for side, held_out in (("dev", pairs["test"]), ("train", pairs["test"] + pairs["dev"])):
        sources, targets = {fold(pair.source) for pair in held_out}, {fold(pair.target) for pair in held_out}
        texts_of_grams = [grams(source) for source in sources]
        for pair in pairs[side]:
            assert fold(pair.source) not in sources
            assert fold(pair.target) not in targets
            assert not any(similar(grams(fold(pair.source)), other) for other in texts_of_grams)


def test_a_leak_put_back_is_found(tmp_path: Path) -> None:
    recipe = recipe_of({"x": {"corpora": [corpus(write_tsv(tmp_path / "x.tsv", sentences(1, 300)))], "split": SPLIT}})
    split(recipe, tmp_path)
    for language in ("en", "de"):
        folder = tmp_path / "split" / "x"
        held_out = (folder / f"test.{language}").read_text().split("\n")[0]
        with (folder / f"train.{language}").open("a") as file:
            file.write(held_out + "\n")
    assert find_leaks(tmp_path / "split", recipe.languages) == 1


def test_too_few_held_out_pairs_are_refused_for_all_groups_at_once(tmp_path: Path) -> None:
    paths = {name: write_tsv(tmp_path / f"{name}.tsv", sentences(i, 60)) for i, name in enumerate("xy")}
    recipe = recipe_of(
        {name: {"corpora": [corpus(path)], "split": SPLIT | {"minimum": 40}} for name, path in paths.items()}
    )
    with pytest.raises(CorpusError) as caught:
        split(recipe, tmp_path)
    lines = str(caught.value).split("\n")
    assert [line.split(" has ")[0] for line in lines] == ["'x': dev", "'x': test", "'y': dev", "'y': test"]
    assert lines[0].endswith("split.minimum is 40; add text or raise split.dev (now 0.1)")


def test_a_domain_smaller_than_its_test_set_is_refused(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "x.tsv", sentences(1, 200))
    recipe = recipe_of({"x": {"corpora": [corpus(path)], "split": {"test": 0.49, "dev": 0.3, "minimum": 1}}})
    with pytest.raises(CorpusError, match=r"'x' is smaller than its test set: train \d+, test \d+ pairs"):
        split(recipe, tmp_path)
    assert not (tmp_path / "split" / "split.json").exists()
