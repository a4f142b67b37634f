from __future__ import annotations

import pytest

from service.engines.base import Hypothesis
from service.sanity import FLAGS, Pair, badness, flags_of


def flags(source: str, target: str, *, truncated=False) -> tuple[str, ...]:
    return flags_of(Pair(source, Hypothesis(target, 0.0, truncated), ("en", "de")))


GOOD = [
    ("The printer is on the second floor.", "Der Drucker steht im zweiten Stock."),
    ("Please switch off the light before you leave.", "Bitte schalten Sie das Licht aus, bevor Sie gehen."),
    ("John Smith", "John Smith"),
    ("OK", "OK"),
    ("no no no no no no no", "nein nein nein nein nein nein nein"),
    ("very, very, very good", "sehr, sehr, sehr gut"),
    ("---------------- Inhalt", "---------------- content"),
    ("Settings", "Einstellungen"),
    ("Donaudampfschifffahrt", "Danube steam navigation"),
]


@pytest.mark.parametrize(("source", "target"), GOOD)
def test_a_good_translation_has_no_flag(source, target):
    assert flags(source, target) == ()


@pytest.mark.parametrize(
    ("flag", "source", "target"),
    [
        ("empty", "Hello", ""),
        ("empty", "Hello", "..."),
        ("repetition", "The light is on.", "Das Licht ist ist ist ist an."),
        ("repetition", "The light is on.", "Das Licht an und das Licht an und das Licht an und"),
        ("repetition", "Ah", "Aaaaaaaaaaaaa"),
        ("repetition", "Ha", "hahahahahahaha"),
        ("repetition", "sit", "Die Behandlung wurde nach der zweiten Woche wegen der Wirkungen am Herzen abgebrochen."),
        ("truncated", "Please switch off the light in the kitchen before you leave the house.", "Bitte"),
        ("copied", "PLEASE SWITCH OFF THE LIGHT", "PLEASE SWITCH OFF THE LIGHT"),
        ("wrong_language", "Bitte", "Please switch off the light in the kitchen before you leave the house"),
    ],
)
def test_each_sign_is_told(flag, source, target):
    assert flag in flags(source, target)


def test_an_unfinished_translation_is_told():
    assert flags("Hello there", "Hallo da", truncated=True) == ("truncated",)


def test_a_short_text_in_the_source_language_may_be_right():
    assert flags("Download the file", "Download the File") == ()


def test_a_source_without_words_may_stay_without():
    assert "empty" not in flags("---", "---")


def test_fewer_and_milder_flags_are_better():
    ranked = [(), ("copied",), ("truncated",), ("empty",), ("copied", "truncated")]
    assert sorted(ranked, key=badness) == ranked


def test_the_flags_are_those_that_the_interface_names():
    assert sorted(FLAGS) == ["copied", "empty", "repetition", "truncated", "wrong_language"]
