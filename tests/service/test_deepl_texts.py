"""What DeepL's dialect keeps inside a text: tags, placeholders, line breaks, its whole length."""

from __future__ import annotations

import re

import pytest

from mtkd.bundle import ModelBundle
from service.engines import ENGINES
from service.settings import Settings
from tests.service.deepl_answers import refused, translated
from tests.service.doubles import Upper

WEBLATE = {"tag_handling": "xml", "ignore_tags": ["x"], "source_lang": "EN"}


@pytest.fixture(scope="module")
def engine():
    return Upper()


@pytest.fixture(scope="module")
def client(serving, engine):
    with serving(engine, Settings(cache_chars=0)) as client:
        yield client


def asked(client, engine, text, **parameters) -> list[str]:
    engine.asked.clear()
    translated(client, text, **parameters)
    return engine.asked


def test_placeholders_of_weblate_stay_exactly_once(client):
    text = 'Delete <x id="7"></x> of <x id="12"></x> &amp; more?'
    assert translated(client, text, **WEBLATE) == 'DELETE <x id="7"></x> OF <x id="12"></x> &amp; MORE?'


def test_tags_are_text_unless_they_are_handled(client):
    assert translated(client, "a <b>c</b> &amp;") == "A <B>C</B> &AMP;"
    assert translated(client, "a <b>c</b> &amp;", tag_handling="xml") == "A <b>C</b> &amp;"
    assert translated(client, "a <br> <b translate=no>c</b>", tag_handling="html") == "A <br> <b translate=no>c</b>"


def test_malformed_xml_is_refused_and_malformed_html_is_not(client):
    parameters = {"text": ["fine", "canary\n<b>"], "target_lang": "DE", "tag_handling": "xml"}
    message = refused(client.post("/v2/translate", json=parameters))
    assert message.startswith("Tag handling parsing failed, please check input. (text 2, line 2: ")
    assert "canary" not in message
    assert client.post("/v2/translate", json=parameters | {"tag_handling": "html"}).status_code == 200


def test_split_sentences_says_what_a_line_break_means(client, engine):
    text = "One line\nwrapped. Two.\n\nThree"
    assert asked(client, engine, text) == ["One line", "wrapped.", "Two.", "Three"]
    assert asked(client, engine, text, split_sentences="1", tag_handling="html") == [
        "One line",
        "wrapped.",
        "Two.",
        "Three",
    ]
    for options in ({"split_sentences": "nonewlines"}, {"split_sentences": "0"}, {"tag_handling": "html"}):
        assert asked(client, engine, text, **options) == ["One line wrapped.", "Two.", "Three"]
    assert translated(client, text, split_sentences="nonewlines") == "ONE LINE WRAPPED. TWO.\n\nTHREE"


@pytest.mark.parametrize("split_sentences", ["0", "1", "nonewlines"])
def test_a_long_text_is_never_cut_off(serving, bundle_dir, split_sentences):
    engine = ENGINES["echo"](ModelBundle.open(bundle_dir), Settings(threads=1))
    text = " ".join(f"word{number}" for number in range(2000))
    with serving(engine, Settings()) as client:
        assert translated(client, text, split_sentences=split_sentences) == text


def test_the_student_translates_between_the_tags(serving, endless_bundle_dir):
    engine = ENGINES["ctranslate2"](ModelBundle.open(endless_bundle_dir), Settings(threads=1))
    text = '<p title="a &gt; b">The printer.<br/>\n <b>Light</b> <x id="7"></x>&amp; off</p>'
    with serving(engine, Settings()) as client:
        output = translated(client, text, tag_handling="xml")
    assert re.findall(r"<[^>]*>", output) == re.findall(r"<[^>]*>", text)
    assert output != text
