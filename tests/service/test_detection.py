"""Which language a text is in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from service.detection import detect
from service.languages import canonical, find_language, language_name

SENTENCES = {
    "en": "Please switch the light off before you leave the house.",
    "de": "Bitte schalten Sie das Licht aus, bevor Sie das Haus verlassen.",
    "fr": "Veuillez éteindre la lumière avant de quitter la maison.",
    "it": "Spegnete la luce prima di uscire di casa, per favore.",
    "pl": "Proszę zgasić światło przed wyjściem z domu.",
    "ru": "Пожалуйста, выключите свет перед выходом из дома.",
    "el": "Παρακαλώ σβήστε το φως πριν φύγετε από το σπίτι.",
    "he": "נא לכבות את האור לפני שיוצאים מהבית.",
    "ja": "家を出る前に電気を消してください。",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_told_with_confidence(language):
    found, confidence = detect(SENTENCES[language], ("en", "de"))[0]
    assert found == language
    assert confidence > 90


@pytest.mark.parametrize("text", ["OK", "Hallo", "Berlin", "HP LaserJet", "sitt", "Café", "Error 404", "x"])
def test_a_short_text_is_never_told_with_confidence(text):
    assert detect(text, ("en", "de"))[0][1] < 60


@pytest.mark.parametrize(
    "text", ["", " \n", "😀👍🏽", "123,45 %", "https://example.org/der/die/das", "<br/>", "&nbsp;"]
)
def test_what_has_no_words_is_the_source_with_confidence_0(text):
    assert detect(text, ("de", "en")) == [("de", 0.0)]


def test_markup_and_addresses_have_no_say():
    text = '<div class="the and of this">Das Licht ist noch an, siehe https://example.org/the/light/is/still/on</div>'
    assert detect(text, ("en", "de"))[0][0] == "de"


def test_a_number_does_not_hide_a_text_without_spaces():
    assert detect("2025年我们在北京开了第3家工厂。", ("en", "de"))[0][0] == "zh"


def test_the_best_come_first_and_are_few():
    found = detect("la casa", ("en", "de"))
    assert 1 <= len(found) <= 3
    assert found == sorted(found, key=lambda entry: -entry[1])
    assert sum(confidence for _, confidence in found) <= 100.1


def test_a_language_of_the_model_is_a_candidate_under_its_own_name():
    assert detect("Vinsamlegast slökktu ljósið áður en þú ferð að heiman.", ("en", "is"))[0][0] == "is"
    assert detect("Por favor, apague a luz antes de sair de casa.", ("pt-br", "de"))[0][0] == "pt-br"
    assert detect("Vennligst slå av lyset før du forlater huset.", ("nb", "de"))[0][0] == "nb"


def test_a_model_in_unknown_languages_still_tells_others():
    assert detect(SENTENCES["fr"], ("xq", "qx"))[0][0] == "fr"


def test_a_long_text_is_judged_by_its_beginning():
    assert detect(SENTENCES["de"] * 30 + SENTENCES["en"] * 10_000, ("en", "de"))[0][0] == "de"


def test_many_threads_agree():
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: detect(SENTENCES["fr"], ("de", "fr")), range(32)))
    assert answers == [answers[0]] * 32


@pytest.mark.parametrize(
    ("given", "known", "found"),
    [
        ("EN", ["en", "de"], "en"),
        ("en-US", ["en", "de"], "en"),
        ("de_AT", ["en", "de"], "de"),
        ("es-419", ["es"], "es"),
        ("pb", ["pt-br", "pt"], "pt-br"),
        ("pt-PT", ["pt-br", "pt"], "pt"),
        ("pt", ["pt-br"], None),
        ("zh-TW", ["zh"], None),
        ("zt", ["zh-Hant"], "zh-Hant"),
        ("zh-CN", ["zh"], "zh"),
        ("iw", ["he"], "he"),
        ("english", ["en"], None),
        ("", ["en"], None),
    ],
)
def test_spellings_of_a_language(given, known, found):
    assert find_language(given, known) == found


def test_names_of_languages():
    assert [language_name(code) for code in ("de", "PT-BR", "zt", "xq")] == [
        "German",
        "Portuguese (Brazil)",
        "Chinese (traditional)",
        "xq",
    ]
    assert canonical("zh_TW") == "zh-hant"
