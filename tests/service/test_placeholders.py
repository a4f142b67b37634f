from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engines.base import PLACEHOLDERS
from service.placeholders import (
    _PATTERNS,
    _SIGN,
    Masked,
    around,
    keeps,
    mask,
    restore,
    without_kept,
    without_placeholders,
)

P0, P1, P2 = PLACEHOLDERS[:3]
ANY_TEXT = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("%s{}$1@.:/ d0<>")), max_size=80
).map(without_placeholders)


@pytest.mark.parametrize(
    "kept",
    [
        "%s",
        "%1$s",
        "%(name)s",
        "%-5.2f",
        "%@",
        "%ld",
        "{name}",
        "{}",
        "{0:>8}",
        "{{x}}",
        "{{user.name}}",
        "${HOME}",
        "12",
        "2026-11-21",
        "12:30",
        "1/2",
        "4711",
        "https://a.example/b?c=d&e=f",
        "www.a.example",
        "some.one+x@mail.example.org",
    ],
)
def test_what_must_be_kept_is_masked(kept):
    assert mask(f"Take {kept} now.") == Masked(f"Take {P0} now.", (kept,))


@pytest.mark.parametrize(
    "text", ["100% sicher", "50%discount", "1 file", "3.14", "1,000,000", "A4", "x < y > z", "<ph0>", "a @ b", "{", "%"]
)
def test_words_and_what_other_languages_write_otherwise_are_not_masked(text):
    assert mask(text) == Masked(text, ())


def test_equal_strings_share_a_placeholder_as_in_training():
    assert mask("%s and {a} and %s") == Masked(f"{P0} and {P1} and {P0}", ("%s", "{a}"))


def test_numbers_stay_text_where_that_is_asked_for():
    assert mask("12 of %d", numbers=False) == Masked(f"12 of {P0}", ("%d",))


def test_what_is_beyond_the_symbols_stays_text():
    masked = mask("{a} {b} {c}", symbols=2)
    assert masked == Masked(f"{P0} {P1} {{c}}", ("{a}", "{b}"))
    assert restore(f"{P1} {{c}} {P0}", masked) == "{b} {c} {a}"


@given(ANY_TEXT)
def test_masking_loses_nothing(text):
    masked = mask(text)
    assert restore(masked.text, masked) == text
    assert keeps(text, text)
    assert "".join(stretch + kept for stretch, kept in around(text)) == text


@pytest.mark.parametrize("broken", ["", P0, P0 + P1 + P1, P0 + P1 + P2, P0 + P0])
def test_a_placeholder_that_was_lost_doubled_or_invented_is_noticed(broken):
    assert restore(broken, mask("%s {a}")) is None


def test_kept_strings_may_change_places_but_not_their_form():
    assert keeps("{b} vor {a}", "{a} before {b}")
    assert not keeps("{ b } vor {a}", "{a} before {b}")
    assert not keeps("{a}", "{a} {a}")
    assert keeps("zwoelf", "12"), "numbers may be written otherwise"


def test_only_own_words_are_left():
    assert without_kept("Write to a@b.example at 12:30").split() == ["Write", "to", "at"]


def test_a_user_cannot_send_placeholders():
    assert without_placeholders(f"a{P0}b<ph0>") == "ab<ph0>"


@given(ANY_TEXT, st.booleans())
def test_whatever_is_kept_has_a_sign_that_is_looked_for_first(text, numbers):
    if not _SIGN.search(text):
        assert not _PATTERNS[numbers].search(text)
