"""What each filter drops, and what it must let pass."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mtkd.corpus.filters import FILTERS, placeholders, reason_to_drop
from mtkd.recipe_text import Filters, Languages

EN_DE = Languages(source="en", target="de")
OFF = Filters(
    script=0, markup=1, repeats=0, numbers=False, placeholders=False, language=1, copies=False, max_ratio=1000
)


def reason(source: str, target: str, languages: Languages = EN_DE, **filters: object) -> str | None:
    return reason_to_drop(source, target, Filters.model_validate(filters), languages)


def test_every_filter_of_the_recipe_has_a_row_but_the_one_that_needs_other_pairs() -> None:
    assert [*FILTERS, "near_duplicates"] == list(Filters.model_fields)


@pytest.mark.parametrize(
    ("source", "target", "dropped_by"),
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
def test_a_pair_is_dropped_by_the_first_rule_it_breaks(source: str, target: str, dropped_by: str | None) -> None:
    assert reason(source, target, min_words=2, max_words=4, max_ratio=1.9) == dropped_by


WRONG = [
    ("script", "The bank is closed", "\u0411\u0430\u043d\u043a \u0437\u0430\u043a\u0440\u044b\u0442 OK"),
    ("markup", "Press the button", "<b><i>&nbsp;</i></b> {$a->b} Taste"),
    ("repeats", "Press the button to continue the run", "Taste Taste Taste Taste Taste Taste"),
    ("repeats", "Press the button to go on with the run", "auf der auf der auf der auf der auf der"),
    ("numbers", "There are 25 files", "Es gibt 35 Dateien"),
    ("numbers", "There were 2500 files", "Es gab Dateien"),
    ("numbers", "The value is 1.5", "Der Wert ist 1,6"),
    ("placeholders", "Open the file %s now", "Die Datei jetzt \u00f6ffnen"),
    ("placeholders", "Open {file} now", "Jetzt {datei} \u00f6ffnen"),
    ("placeholders", "See https://example.org/a for more", "Mehr dazu steht dort"),
    ("language", "What you see is what you get", "What you have is what you see"),
    ("language", "Se o servidor n\u00e3o for encontrado, o programa para", "Fehlt der Server, endet das Programm"),
]


@pytest.mark.parametrize(("name", "source", "target"), WRONG)
def test_a_filter_drops_what_it_is_for_and_nothing_where_it_is_switched_off(
    name: str, source: str, target: str
) -> None:
    assert reason(source, target) == name
    assert reason_to_drop(source, target, OFF, EN_DE) is None


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("Pay 1,234.50 dollars", "1.234,50 Dollar zahlen"),
        ("On 12/31/2020 at noon", "Am 31.12.2020 um zw\u00f6lf"),
        ("On 5/1/2020 it began", "Am 01.05.2020 begann es"),
        ("Take 3 apples", "Nimm drei \u00c4pfel"),
        ("1. Open the file", "\u00d6ffnen Sie die Datei"),
        ("Wait 10 minutes", "Warten Sie \u0661\u0660 Minuten"),
        ("Only 100 % of it", "Nur 100 %ige davon"),
        ("%1$s kicks %2$s", "%s tritt %s"),
        ("The coat of %s", "%ss Mantel"),
        ("See https://example.org/en/a", "Siehe https://example.org/de/a"),
        ("{n, plural, one {day} other {days}}", "{n, plural, one {Tag} other {Tage}}"),
        ("Ha ha ha ha ha ha", "Ha ha ha ha ha ha!"),
        ("The \u03b1 value", "Der \u03b1-Wert"),
        ("OpenThread border router URL", "URL des OpenThread-Border-Routers"),
        ("List of Apache modules", "event, worker, prefork, perchild, leader"),
        ("Carcinoma of skin, unspecified", "Carcinoma in situ der Haut"),
    ],
)
def test_good_pairs_stay(source: str, target: str) -> None:
    assert reason(source, target) is None


@pytest.mark.parametrize(
    ("language", "text", "own"),
    [
        ("ru", "\u0424\u0430\u0439\u043b \u043d\u0435 \u043d\u0430\u0439\u0434\u0435\u043d", True),
        ("ja", "\u30d5\u30a1\u30a4\u30eb\u3092\u958b\u304f", True),
        ("zh", "\u30d5\u30a1\u30a4\u30eb\u3092", False),
        ("hi", "\u092b\u093c\u093e\u0907\u0932 \u0928\u0939\u0940\u0902 \u092e\u093f\u0932\u0940", True),
        ("el", "The file was lost", False),
        ("xx", "The file was lost", True),
    ],
)
def test_scripts_are_those_of_the_language_and_unknown_languages_pass(language: str, text: str, own: bool) -> None:
    filters = OFF.model_copy(update={"script": 0.5})
    dropped = reason_to_drop("the file", text, filters, Languages(source="en", target=language))
    assert dropped == (None if own else "script")


@pytest.mark.parametrize("text", ["Bonjour", "Der die das", "sv_SE 42", "%s %s %s %s"])
def test_short_texts_are_not_judged_by_their_language(text: str) -> None:
    assert reason_to_drop("the text", text, OFF.model_copy(update={"language": 0.5}), EN_DE) is None


def test_a_close_language_is_no_other_language() -> None:
    languages, filters = Languages(source="en", target="no"), OFF.model_copy(update={"language": 0.5})
    danish = "Jeg ved ikke, hvad der er sket med den fil efter det m\u00f8de i g\u00e5r"
    assert reason_to_drop("I do not know what happened", danish, filters, languages) is None
    english = "I do not know what has happened to the file"
    assert reason_to_drop("I do not know what happened", english, filters, languages) == "language"


@pytest.mark.parametrize("source", [source for name, source, _ in WRONG if source[:2] != "Se"])
def test_a_text_alone_is_never_at_odds_with_itself(source: str) -> None:
    assert reason(source, source, Languages(source="en", target="en"), copies=False) is None


@pytest.mark.parametrize("piece", ["a", "1", "@", "{", "<", "%", "a.", "http://", "{a", "&a", "a-", "$"])
def test_one_endless_word_is_no_endless_work(piece: str) -> None:
    text = "x and of the 1 " + piece * 30_000
    assert reason(text, text + " und") in (*FILTERS, None)


def test_placeholders_of_programs_are_told_from_text() -> None:
    text = "%d of %(name)s: {} {0:.2f} {{user}} $HOME ${HOME} %2 <ph3> a@b.org, {count, number}; 50% down, 5 $ {a b}"
    assert placeholders(text) == {
        *("%d", "%(name)s", "{}", "{0:.2f}", "{{user}}", "$HOME", "${HOME}", "%2", "<ph3>", "@"),
    }


def test_language_identification_is_loaded_only_when_a_text_leaves_doubt() -> None:
    script = (
        "import sys; from mtkd.corpus.filters import *; from mtkd.recipe_text import *\n"
        "languages = Languages(source='en', target='de')\n"
        "ask = lambda text: reason_to_drop('This is the file of the user', text, Filters(), languages)\n"
        "assert ask('Das ist die Datei des Benutzers') is None and 'numpy' not in sys.modules\n"
        "assert ask('This was a file for the user') == 'language' and 'py3langid' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
