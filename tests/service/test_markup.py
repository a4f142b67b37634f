"""Tags stay, text is translated: over well-formed, sloppy and hostile markup."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from service.markup import KINDS, MarkupError, translate_markup

WEBLATE = 'Delete <x id="7"></x> of <x id="12"></x>?'


class Recorder:
    """A translator that turns letters to capitals, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    async def __call__(self, texts):
        self.asked.append(list(texts))
        return [text.upper() for text in texts]


async def echo(texts):
    return list(texts)


def run(translate, text, **options):
    (output,) = asyncio.run(translate_markup(translate, [text], **options))
    return output


def upper(text, **options):
    return run(Recorder(), text, **options)


def asked(text, **options):
    recorder = Recorder()
    run(recorder, text, **options)
    return recorder.asked[0] if recorder.asked else []


NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
letters = st.one_of(st.sampled_from("ab Z.\n\t\u00a0\u2003é😀&<>]'\""), st.characters(exclude_categories=["Cs"]))
words = st.text(letters, max_size=12)
names = st.sampled_from(["a", "b", "x", "ns:tag", "ünï", "script", "pre"])


@st.composite
def xml_fragments(draw, depth=3):
    """Well-formed XML, written with every freedom that XML leaves."""
    parts = []
    for kind in draw(
        st.lists(st.sampled_from(["text", "cdata", "comment", "empty", "element", "reference"]), max_size=4)
    ):
        text = NOT_XML.sub("", draw(words))
        name, space = draw(names), draw(st.sampled_from(["", " ", "\n "]))
        quote = draw(st.sampled_from("\"'"))
        value = text.replace("&", "&amp;").replace("<", "&lt;").replace(quote, "&#34;" if quote == '"' else "&#39;")
        attribute = draw(st.sampled_from(["", f" id{space}={space}{quote}{value}{quote}"]))
        if kind == "text":
            parts.append(text.replace("&", "&amp;").replace("<", "&lt;").replace("]]>", "]]&gt;"))
        elif kind == "cdata":
            parts.append(f"<![CDATA[{text.replace(']]>', '')}]]>")
        elif kind == "comment":
            parts.append(f"<!--{text.replace('-', '')}-->")
        elif kind == "empty":
            parts.append(f"<{name}{attribute}{space}/>")
        elif kind == "reference":
            parts.append(draw(st.sampled_from(["&amp;", "&#65;", "&#x1F600;", "&nbsp;", "&eacute;", "&unknown;"])))
        elif depth:
            parts.append(f"<{name}{attribute}{space}>{draw(xml_fragments(depth - 1))}</{name}{space}>")
    return "".join(parts)


loose = st.lists(
    st.one_of(
        words,
        st.sampled_from(
            ["<", ">", "</", "<b", "<b>", "</b>", "<B CLASS='a>b'>", '<a title="', "<!--", "-->", "<!-->", "<!",
             "<?x", "<script>", "</script>", "<style>", "<textarea>", "</textarea >", "<pre>", "<br/>", "&amp",
             "&#0;", "&nbsp;", "<i translate=no>", "</i>", "<a =x=y / z>", "=", "'", '"', "]]>", "<![CDATA[",
             "<x id=7></x>"]
        ),
    ),
    max_size=15,
).map("".join)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(xml_fragments())
def test_an_echo_of_xml_is_the_xml(markup):
    assert run(echo, markup, kind="xml") == markup


@settings(max_examples=100, deadline=None)
@given(loose)
def test_an_echo_of_anything_as_html_is_that(markup):
    assert run(echo, markup, kind="html") == markup
    assert "".join(piece.raw for piece in KINDS["html"](markup, [])) == markup


def tree(markup):
    """Every node's name and attributes, its text and the text behind it, as another parser reads them."""
    known = markup.replace("&nbsp;", "\u00a0").replace("&eacute;", "é").replace("&unknown;", "<?unknown?>")
    root = etree.fromstring(f'<r xmlns:ns="ns">{known}</r>', etree.XMLParser(resolve_entities=False))
    return [(str(node.tag), dict(node.attrib), node.text or "", node.tail or "") for node in root.iter()]


@settings(max_examples=100, deadline=None)
@given(xml_fragments())
def test_a_translation_of_xml_differs_in_its_text_only(markup):
    before, after = tree(markup), tree(upper(markup, kind="xml"))
    own_text = [name.startswith("<") for name, _, _, _ in before]  # a comment's or instruction's
    assert after == [
        (name, attributes, text if own else text.upper(), tail.upper())
        for own, (name, attributes, text, tail) in zip(own_text, before, strict=True)
    ]


@settings(max_examples=100, deadline=None)
@given(xml_fragments())
def test_no_translation_adds_a_tag_or_breaks_one(markup):
    async def hostile(texts):
        return ["<b>]]>&amp;</a>" for _ in texts]

    output = run(hostile, markup, kind="xml")
    assert [node[:2] for node in tree(output)] == [node[:2] for node in tree(markup)]


@pytest.mark.parametrize("kind", ["xml", "html"])
def test_placeholders_of_weblate_stay_exactly_once(kind):
    expected = 'DELETE <x id="7"></x> OF <x id="12"></x>?'
    assert upper(WEBLATE, kind=kind, ignore_tags=["x"]) == expected
    assert upper(WEBLATE, kind=kind) == expected


@pytest.mark.parametrize("kind", ["xml", "html"])
def test_text_within_ignored_tags_stays_and_the_rest_does_not(kind):
    text = "a <x>b <i>c</i> <x>d</x> e</x> f<x/>g<xx>h</xx>"
    assert upper(text, kind=kind, ignore_tags=["x"]) == "A <x>b <i>c</i> <x>d</x> e</x> F<x/>G<xx>H</xx>"


def test_names_of_tags_ignore_case_in_html_only():
    assert upper("<X>a</x>", kind="html", ignore_tags=["x"]) == "<X>a</x>"
    assert upper("<X>a</X>", kind="xml", ignore_tags=["x"]) == "<X>A</X>"


def test_entities_are_text_to_the_translator_and_entities_again_afterwards():
    text = "Tom &amp; Jerry&#39;s caf&eacute; &lt;3 &nbsp;now"
    assert asked(text, kind="html") == ["Tom & Jerry's café <3 \u00a0now"]
    assert upper(text, kind="html") == "TOM &amp; JERRY'S CAFÉ &lt;3 &nbsp;NOW"
    assert upper(text, kind="xml") == "TOM &amp; JERRY'S CAFÉ &lt;3 \u00a0NOW"


def test_what_looks_like_an_entity_to_the_reader_only_is_not_decoded_twice():
    assert upper("write &amp;lt; here", kind="html") == "WRITE &amp;LT; HERE"


def test_plain_text_is_never_decoded():
    assert upper("a &amp; <b>", kind="text") == "A &AMP; <B>"


def test_an_unknown_entity_of_xml_stays_where_it_is():
    assert upper("price: &euro;5 by &company; today", kind="xml") == "PRICE: €5 BY &company; TODAY"


def test_cdata_is_text_and_stays_cdata():
    async def closes(texts):
        return ["a ]]> b" for _ in texts]

    assert upper("<![CDATA[ a <b> & c ]]> d", kind="xml") == "<![CDATA[ A <B> & C ]]> D"
    output = run(closes, "<r><![CDATA[x]]></r>", kind="xml")
    assert etree.fromstring(output).text == "a ]]> b"


def test_a_document_keeps_declaration_doctype_and_instructions():
    document = '\ufeff<?xml version="1.0"?>\r\n<!DOCTYPE html>\n<!-- a -->{}<?php a ?><p>{}</p>\n'
    assert upper(document.format("", "b"), kind="xml") == document.format("", "B")
    assert upper('<?xml version="1.0"?><p>b</p>', kind="xml") == '<?xml version="1.0"?><p>B</p>'


def test_no_control_character_of_a_translation_breaks_xml():
    async def dirty(texts):
        return ["a\x00\x0b\ufffeb" for _ in texts]

    assert run(dirty, "<p>x</p><![CDATA[y]]>", kind="xml") == "<p>ab</p><![CDATA[ab]]>"


@pytest.mark.parametrize(
    "markup",
    ["<a>", "</a>", "<a></b>", "<a><b></a></b>", "a & b", "a < b", "<a b=c/>", "<a b='<'/>", "<a b='1' b='2'/>", "]]>",
     "&#0;", "\x01", "</r><r>", "x</r>", "<![CDATA[", "<!--", "<!-- -- -->", "<br>", "&amp",
     '<?xml version="1.0"?><?xml version="1.0"?>', "a<!DOCTYPE a>"],
)  # fmt: skip
def test_xml_that_is_not_well_formed_is_refused_without_quoting_it(markup):
    with pytest.raises(MarkupError, match=r"^text 2, line 2: ") as refusal:
        asyncio.run(translate_markup(echo, ["fine", f"secret\n{markup}"], kind="xml"))
    assert "secret" not in str(refusal.value)


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><a>&b;</a>'


@pytest.mark.parametrize(
    "markup",
    [
        BOMB,
        '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><a>&a;</a>',
        '<!DOCTYPE a [<!ENTITY % a "b">%a;]><a/>',
    ],
)
def test_declared_entities_are_refused(markup):
    with pytest.raises(MarkupError):
        run(echo, markup, kind="xml")


def test_a_doctype_elsewhere_is_not_fetched():
    document = '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a c="&x;">&x; b</a>'
    assert upper(document, kind="xml") == document.replace(" b", " B")


def seconds(markup, kind):
    refused, times = ((MarkupError,) if kind == "xml" else ()), []
    gc.disable()  # Full collections, set off by a long text, walk all that a thousand tests have left.
    for _ in range(2):
        begun = time.thread_time()
        with suppress(*refused):
            assert run(echo, markup, kind=kind, ignore_tags=["x"], unwrap=True) == markup
        times.append(time.thread_time() - begun)
    gc.enable()
    return min(times)


@pytest.mark.parametrize(
    "hostile",
    [lambda n: "<a>" * n + "</a>" * n, lambda n: "<x>" * n + "</b>" * n, lambda n: "<a " * n, lambda n: '<a b="' * n,
     lambda n: "<!--" * n, lambda n: "<" * 4 * n, lambda n: "a" + " " * 4 * n + "b", lambda n: "<script>" * n,
     lambda n: "<a" + " b=c" * n, lambda n: "<a" + " =" * 2 * n, lambda n: "<x translate=no " * n,
     lambda n: "&" * 4 * n, lambda n: "<a b= " * n, lambda n: "</" * 2 * n, lambda n: "\n" * n + "a" + " \n" * n,
     lambda n: "<!DOCTYPE " * n, lambda n: "<? " * n, lambda n: "<!-- -->" * n, lambda n: "<?a?>" * n + "b"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["xml", "html"])
def test_hostile_markup_takes_linear_time(kind, hostile):
    # Against itself at a quarter of the size, not the clock: quadratic time would be sixteen times as long; below the
    # tenth of a second nothing is told apart from noise.
    assert seconds(hostile(40_000), kind) < 8 * seconds(hostile(10_000), kind) + 0.1


def test_all_texts_and_nodes_are_one_call():
    recorder = Recorder()
    texts = ["<p>a</p> b", "", " ", "<br/>", "c"]
    assert asyncio.run(translate_markup(recorder, texts, kind="xml")) == ["<p>A</p> B", "", " ", "<br/>", "C"]
    assert recorder.asked == [["a", "b", "c"]]


def test_without_text_nothing_is_asked():
    assert asked("<p> <br/>\n</p>", kind="html") == []


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("a < b <c>d", "A &lt; B <c>D"),
        ("<p title='a > b'>c", "<p title='a > b'>C"),
        ("<p title=it's>c</p>", "<p title=it's>C</p>"),
        ("<!-- a > --> b", "<!-- a > --> B"),
        ("<!-->a<!-- b", "<!-->A<!-- b"),
        ("<script>if (a<b) c</script>d", "<script>if (a<b) c</script>D"),
        ("<STYLE>a</scripty></Style >d", "<STYLE>a</scripty></Style >D"),
        ("<title>a <b></title>c", "<title>A &lt;B&gt;</title>C"),
        ("<p translate='no'>a<br>b<p>c</p>d</p>e", "<p translate='no'>a<br>b<p>c</p>d</p>E"),
        ("<i><b class='x notranslate'>a</i>b</b>c", "<i><b class='x notranslate'>a</i>b</b>C"),
        ("<b data-translate=no class=translate>a</b>", "<b data-translate=no class=translate>A</b>"),
        ("<br translate=no>a", "<br translate=no>A"),
        ("</ a>b", "</ a>B"),
        ("a <b", "A <b"),
        ("<!DOCTYPE html><p>a", "<!DOCTYPE html><p>A"),
    ],
)
def test_html_is_cut_as_a_browser_does(markup, expected):
    assert upper(markup, kind="html") == expected


def test_wrapped_lines_are_one_in_html_but_not_in_pre():
    text = "<p>one\n   two\r\nthree\n\nfour<pre>five\nsix</pre>\nseven\neight"
    assert asked(text, kind="html") == ["one two three\n\nfour", "five\nsix", "seven eight"]
    assert asked(text, kind="html", unwrap=False)[0] == "one\n   two\r\nthree\n\nfour"
    assert asked("one\ntwo", kind="text") == ["one\ntwo"]
    assert asked(" one\ntwo ", kind="text", unwrap=True) == ["one two"]
    assert upper(" one\ntwo ", kind="text", unwrap=True) == " ONE TWO "
