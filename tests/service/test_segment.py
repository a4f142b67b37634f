from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from service.engines.echo import EchoEngine
from service.segment import Segment, sentences, split, translate_lines, translate_texts

SPACES = " \t\n\r\u000b\u0085\u00a0\u2028\u3000\u200b\ufeff"


def everything_fits(segment: str) -> bool:
    return True


def up_to_20(segment: str) -> bool:
    return len(segment) <= 20


def translated(text: str, fits=up_to_20) -> list[str]:
    return [segment.text for segment in split(text, "en", fits) if segment.text]


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(SPACES + ".!?;, Aa1")), max_size=120),
    st.sampled_from(["en", "de", "ja", "xx"]),
)
def test_segments_joined_are_the_text_and_fit(text, language):
    segments = split(text, language, up_to_20)
    assert "".join(map("".join, segments)) == text
    assert all(len(segment.text) <= 20 and segment.text == segment.text.strip() for segment in segments)


def test_sentences_are_cut_but_abbreviations_are_not():
    assert translated("Ask Dr. Smith.  He is in. Or not?", everything_fits) == [
        "Ask Dr. Smith.",
        "He is in.",
        "Or not?",
    ]


def test_a_line_break_ends_a_segment():
    assert translated("one\ntwo\r\nthree\n\nfour", everything_fits) == ["one", "two", "three", "four"]


def test_outer_spaces_stay_outside():
    assert split("\t hello \n", "en", everything_fits) == [Segment("\t ", "hello", " \n")]


def test_text_without_letter_or_digit_is_not_translated():
    assert translated(" --- \n😀 !\n\u2581\n", everything_fits) == []


def test_a_long_sentence_is_cut_after_a_clause_first():
    assert translated("a short clause, then the rest of it") == ["a short clause,", "then the rest of it"]


def test_without_clauses_it_is_cut_at_spaces_near_the_middle():
    assert translated("one two three four five six") == ["one two three", "four five six"]


def test_a_decimal_comma_is_no_clause():
    assert translated("it costs 1234,56 euros") == ["it costs", "1234,56 euros"]


def test_without_spaces_it_is_cut_anywhere():
    assert "".join(translated("x" * 61)) == "x" * 61


def test_a_character_that_never_fits_ends_the_cutting():
    assert translated("abc", lambda segment: False) == ["a", "b", "c"]


def test_very_long_lines_are_cut_in_linear_depth():
    text = "a, " * 7000 + "b" * 20_000 + " " * 20_000
    assert "".join(map("".join, split(text, "en", up_to_20))) == text


def test_texts_share_one_call_and_keep_their_order():
    calls = []

    class Recording(EchoEngine):
        def translate(self, segments, decoding):
            calls.append(list(segments))
            return super().translate([segment.upper() for segment in segments], decoding)

    assert translate_texts(Recording(), ["One. Two.", "", "\n", " three "]) == ["ONE. TWO.", "", "\n", " THREE "]
    assert calls == [["One.", "Two.", "three"]]


def test_lines_are_translated_as_they_come():
    seen = []

    def lines():
        for number in range(200):
            seen.append(number)
            yield f"line {number}\n"

    stream = translate_lines(EchoEngine(), lines())
    assert next(stream) == "line 0\n"
    assert len(seen) < 200
    assert list(stream) == [f"line {number}\n" for number in range(1, 200)]


def test_what_is_not_translated_goes_to_its_neighbour():
    blank, one, two = Segment("\n", "", ""), Segment(" ", "one", "\n"), Segment("", "two", "")
    assert sentences([blank, blank, one, blank, two]) == [Segment("\n\n ", "one", "\n\n"), two]
    assert sentences([blank, blank]) == [Segment("\n", "", "\n")]
    assert sentences([]) == []
