"""Untidy test sets hold untidy text only, with the references that it should be held against."""

from __future__ import annotations

import random

import pytest

from mtkd.corpus.robustness import SHORT_WORDS, VARIANTS, perturbed
from mtkd.recipe_text import Augmentation
from tests.unit.corpus_text import random_text

CHANGES = [name for name in VARIANTS if name != "short"]


def made_text(count: int) -> tuple[list[str], list[str]]:
    rng = random.Random(1)
    sides = [
        [f"{random_text(rng, rng.randint(1, 9), length=6)} {number}." for number in range(count)] for _ in range(2)
    ]
    return sides[0], sides[1]


def one(variant: str, source: str, reference: str) -> tuple[list[str], list[str]]:
    return perturbed([source], [reference], variant=variant, seed=1)


def test_every_change_is_one_that_training_makes() -> None:
    assert set(CHANGES) == set(Augmentation.model_fields) - {"placeholders"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pair_becomes_the_same_whatever_is_beside_it(variant: str) -> None:
    sources, references = made_text(60)
    whole = list(zip(*perturbed(sources, references, variant=variant, seed=1), strict=True))
    singly = [
        pair
        for source, reference in zip(sources, references, strict=True)
        for pair in zip(*one(variant, source, reference), strict=True)
    ]
    assert singly == whole
    assert whole


def test_another_seed_makes_other_typos() -> None:
    sources, references = made_text(40)
    first, again, other = (perturbed(sources, references, variant="typos", seed=seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("variant", CHANGES)
def test_no_source_is_left_as_it_was(variant: str) -> None:
    sources, references = made_text(200)
    found, _ = perturbed([*sources, "...", "§ 7"], [*references, "...", "§ 7"], variant=variant, seed=1)
    assert set(found).isdisjoint([*sources, "...", "§ 7"])
    assert len(found) > 100


@pytest.mark.parametrize(
    ("variant", "source", "reference", "expected"),
    [
        ("upper_case", "Press the {key} now.", "Große Taste {key}.", ("PRESS THE {key} NOW.", "GROSSE TASTE {key}.")),
        ("upper_case", "STOP!", "Halt!", None),
        ("title_case", "Press the key.", "Drücken Sie sie.", ("Press The Key.", "Drücken Sie Sie.")),
        ("title_case", "Press The Key.", "Drücken sie.", None),
        ("no_final_punctuation", "Press it.", "Drücken!", ("Press it", "Drücken")),
        ("no_final_punctuation", "Press it.", "Drücken", None),
        ("no_final_punctuation", "Press it", "Drücken.", None),
        ("typos", "it is so", "es ist so", None),
    ],
)
def test_references_change_where_the_translation_should(
    variant: str, source: str, reference: str, expected: tuple[str, str] | None
) -> None:
    assert one(variant, source, reference) == (([], []) if expected is None else ([expected[0]], [expected[1]]))


def test_typos_leave_the_reference_alone() -> None:
    sources, references = made_text(60)
    _, found = perturbed(sources, references, variant="typos", seed=1)
    assert found == [reference for reference in references if reference in set(found)]
    assert len(found) > 40


def test_capitals_are_composed_as_cleaned_text_is() -> None:
    # Iota with two marks becomes three characters, of which two belong together.
    assert one("upper_case", "\u0390a", "x")[0] == ["\u03aa\u0301A"]


def test_short_takes_the_short_pairs_as_they_are() -> None:
    sources = [" ".join("w" * words) for words in range(1, 12)]
    assert perturbed(sources, sources[::-1], variant="short", seed=1) == (
        sources[:SHORT_WORDS],
        sources[::-1][:SHORT_WORDS],
    )


def test_sides_of_different_lengths_are_a_programmers_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        perturbed(["one", "two"], ["eins"], variant="short", seed=1)
