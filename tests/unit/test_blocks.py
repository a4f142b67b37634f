"""Which blocks of two editions of a page are taken for each other's translation."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from mtkd.corpus.blocks import Block, align

BLOCKS = st.lists(
    st.builds(Block, st.sampled_from(["p", "h1", "h2", "td"]), st.text("abc 12", min_size=1, max_size=30))
)


def paragraphs(*texts: str) -> list[Block]:
    return [Block("p", text) for text in texts]


def manual(seed: int, count: int) -> tuple[list[Block], list[Block]]:
    """Two editions of the same length that share a name or a number in every block, as manuals do."""
    draw = random.Random(seed)
    words = [f"{draw.randrange(16**4):04x}" for _ in range(count)]
    lengths = [draw.randrange(1, 12) for _ in range(count)]
    sides = [
        [
            Block("p", " ".join([f"{word}{number}", *[filler] * length]))
            for number, (word, length) in enumerate(zip(words, lengths, strict=True))
        ]
        for filler in ("some text", "ein Wort ")
    ]
    return sides[0], sides[1]


def test_pages_of_one_structure_are_paired_by_it_alone() -> None:
    source = [Block("h1", "A"), Block("p", "one"), Block("p", "a much longer paragraph than its translation")]
    target = [Block("h1", "B"), Block("p", "a paragraph that is much longer than its source"), Block("p", "zwei")]
    assert align(source, target) == list(zip(source, target, strict=True))


def test_a_paragraph_that_one_edition_lacks_shifts_nothing() -> None:
    source, target = manual(0, 20)
    expected = [pair for number, pair in enumerate(zip(source, target, strict=True)) if number not in (4, 5, 11)]
    assert align(source, target[:4] + target[6:11] + target[12:]) == expected
    assert align(source[:4] + source[6:11] + source[12:], target) == expected


def test_additions_at_either_end_are_left_out() -> None:
    source, target = manual(1, 8)
    assert align(source[2:], target[:-1]) == list(zip(source[2:-1], target[2:-1], strict=True))


def test_blocks_of_different_kinds_are_never_paired_but_headings_of_different_levels_are() -> None:
    source = [Block("h2", "Figure 7"), Block("td", "Figure 8"), Block("p", "Figure 9")]
    target = [Block("h3", "Abbildung 7"), Block("p", "Abbildung 8"), Block("p", "Abbildung 9")]
    assert align(source, target) == [(source[0], target[0]), (source[2], target[2])]


def test_a_number_that_only_one_block_has_speaks_against_the_pair() -> None:
    source = paragraphs("See table 4 below.", "See table 5 below.")
    target = paragraphs("Siehe unten Tafel 5.")
    assert align(source, target) == [(source[1], target[0])]


def test_blocks_of_very_different_length_are_not_paired() -> None:
    source = paragraphs("Short.", "The second paragraph goes on and on, and says what the other one says as well.")
    target = paragraphs("Der zweite Absatz nimmt kein Ende, und sagt doch nur, was der andere auch schon sagte.")
    assert align(source, target) == [(source[1], target[0])]


def test_lengths_are_compared_by_the_ratio_of_the_languages() -> None:
    source = paragraphs("x" * 300, "y" * 90)
    target = paragraphs("z" * 90)
    assert align(source, target) == [(source[1], target[0])]
    assert align(source, target, length_ratio=0.3) == [(source[0], target[0])]


def test_an_empty_page_has_no_pairs() -> None:
    assert align([], paragraphs("x")) == align(paragraphs("x"), []) == align([], []) == []


@given(BLOCKS, BLOCKS)
@settings(max_examples=60, deadline=None)
def test_no_block_is_used_twice_and_the_order_is_kept(source: list[Block], target: list[Block]) -> None:
    numbered = [[Block(block.tag, f"{block.text} {i}") for i, block in enumerate(side)] for side in (source, target)]
    pairs = align(numbered[0], numbered[1])
    for side, found in zip(numbered, zip(*pairs, strict=True), strict=False):
        places = [side.index(block) for block in found]
        assert places == sorted(set(places))
