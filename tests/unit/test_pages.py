"""Which pairs of blocks two editions of a page yield, and what is said of a page that cannot be read."""

from __future__ import annotations

import bz2
import gzip
import logging
from pathlib import Path

import pytest

from mtkd.corpus.blocks import Block
from mtkd.corpus.pages import read_blocks, read_pages
from mtkd.corpus.pair import Pair
from mtkd.corpus.readers import read_corpus
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus, Languages

DATA = Path(__file__).parents[1] / "data" / "pages"
ENGLISH_GERMAN = Languages(source="en", target="de")


def pages(folder: Path, suffix: str = "html", **options: object) -> Corpus:
    source, target = folder / "en" / f"{{document}}.{suffix}", folder / "de" / f"{{document}}.{suffix}"
    fields = {"reader": "pages", "source": source, "target": target, "licence": "CC0-1.0", **options}
    return Corpus.model_validate(fields)


def html(folder: Path, name: str, source: str, target: str) -> None:
    for language, text in (("en", source), ("de", target)):
        (folder / language).mkdir(exist_ok=True)
        (folder / language / name).write_text(f"<html><body>{text}</body></html>", "utf-8")


def blocks(folder: Path, content: str | bytes, name: str = "page.html") -> list[tuple[str, str]]:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return [tuple(block) for block in read_blocks(folder / name)]


def refusal(folder: Path, content: str | bytes, name: str = "page.html") -> str:
    with pytest.raises(CorpusError) as caught:
        blocks(folder, content, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_help_of_an_office_program_is_paired_block_by_block() -> None:
    pairs = [pair for pair in read_pages(pages(DATA), ENGLISH_GERMAN) if pair.document == "address_auto"]
    assert Pair("Recognizing Names as Addressing", "Name als Adressierung erkennen", "address_auto") in pairs
    assert Pair("Naming Cells", "Zellen benennen", "address_auto") in pairs
    assert len(pairs) == 11


def test_of_a_sentence_for_each_system_one_is_read() -> None:
    text = " ".join(block.text for block in read_blocks(DATA / "en" / "address_auto.html"))
    assert "choose Tools - Options - LibreOffice Calc - Calculate and clear" in text


def test_a_page_that_was_extended_is_paired_with_its_old_translation_in_latin_1() -> None:
    pairs = [pair for pair in read_pages(pages(DATA), ENGLISH_GERMAN) if pair.document == "mpm_winnt"]
    assert len(pairs) == len(read_blocks(DATA / "de" / "mpm_winnt.html")) == 11
    assert ("Summary", "Zusammenfassung") in [pair[:2] for pair in pairs]
    assert pairs[-1].source.startswith("This Multi-Processing Module (MPM) is the default")
    assert "für das Betriebssystem" in pairs[-1].target


def test_sentences_are_cut_where_both_sides_have_equally_many(tmp_path: Path) -> None:
    html(tmp_path, "a.html", "<p>One is here. Two is there.</p>", "<p>Eins ist hier. Zwei ist dort.</p>")
    assert list(read_corpus(pages(tmp_path, sentences=True), ENGLISH_GERMAN)) == [
        Pair("One is here.", "Eins ist hier.", "a"),
        Pair("Two is there.", "Zwei ist dort.", "a"),
    ]


def test_inline_markup_leaves_its_text_and_white_space_is_one_space(tmp_path: Path) -> None:
    found = blocks(tmp_path, "<p>Press\n  <b>En</b>ter,<br>then\xa0<a href='x'><code>q</code></a>.</p>")
    assert found == [("p", "Press Enter, then q.")]


def test_listings_navigation_scripts_and_footnote_marks_are_left_out(tmp_path: Path) -> None:
    page = """<html><head><title>no</title></head><body><nav>no</nav><div class="navheader"><p>no</p></div>
        <script>no()</script><div id="toc"><ul><li>no</li></ul></div><ul class="docnav top"><li>no</li></ul>
        <h1>Title<a class="headerlink" href="#">#</a></h1><p>Run<sup>[1]</sup> this:<pre>rm -r no</pre>and wait.</p>
        <p>E = mc<sup>2</sup></p><div class="highlight"><p>no</p></div><footer>no</footer><p>&mdash;</p>"""
    assert blocks(tmp_path, page) == [("h1", "Title"), ("p", "Run this:"), ("body", "and wait."), ("p", "E = mc2")]


def test_text_beside_blocks_is_a_block_of_its_own(tmp_path: Path) -> None:
    page = "<div>before<p>within</p>after<ul><li>item<ul><li>nested</li></ul></li></ul></div>"
    assert blocks(tmp_path, page) == [
        ("div", "before"),
        ("p", "within"),
        ("div", "after"),
        ("li", "item"),
        ("li", "nested"),
    ]


def test_docbook_is_read_with_entities_that_are_declared_elsewhere(tmp_path: Path) -> None:
    page = """<?xml version="1.0"?>
        <!DOCTYPE chapter PUBLIC "-//OASIS//DTD DocBook XML V4.5//EN" "docbookx.dtd" [
          <!ENTITY app "<application>Ledger &version;</application>"> <!ENTITY version '2'>
          <!ENTITY rest SYSTEM "rest.docbook"> <!ENTITY % more SYSTEM "more.ent"> %more; ]>
        <chapter><chapterinfo><author>No One</author></chapterinfo><title>About &app;</title>
          <para>A <quote>loan</quote><indexterm><primary>no</primary></indexterm>&nbsp;&ndash; see
            &other.manual;<footnote><para>A note.</para></footnote> &amp; ask.</para>
          <screen>no</screen>&rest;</chapter>"""
    assert blocks(tmp_path, page, "a.docbook") == [
        ("title", "About Ledger 2"),
        ("para", "A note."),
        ("para", "A loan \u2013 see other.manual & ask."),
        ("chapter", "rest"),
    ]


def test_no_file_is_read_that_an_entity_names(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root")
    page = f'<!DOCTYPE a [<!ENTITY secret SYSTEM "file://{tmp_path}/secret">]><para>a &secret; b</para>'
    assert blocks(tmp_path, page, "a.xml") == [("para", "a secret b")]


def test_mallard_is_read_without_credits_and_code(tmp_path: Path) -> None:
    page = """<page xmlns="http://projectmallard.org/1.0/" id="a"><info><desc>What it is</desc>
        <credit><name>No One</name></credit></info><title>Boxes</title><code mime="text/x-csrc">no();</code>
        <p>Use <link xref="b">a <code>box</code></link> here.</p></page>"""
    assert blocks(tmp_path, page, "a.page") == [("desc", "What it is"), ("title", "Boxes"), ("p", "Use a box here.")]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_pages_are_read(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    assert blocks(tmp_path, compress(b"<para>one</para>"), "index.docbook.packed") == [("para", "one")]


def test_an_unlike_page_is_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    html(tmp_path, "good.html", "<p>one</p>", "<p>eins</p>")
    html(tmp_path, "new.html", "<p>one</p>", "<h1>eins</h1>" + "<p>ein ganz anderer und viel längerer Satz 1</p>" * 4)
    with caplog.at_level(logging.INFO):
        assert list(read_pages(pages(tmp_path), ENGLISH_GERMAN)) == [Pair("one", "eins", "good")]
    assert "left_out=new blocks=1,5 paired=0" in caplog.text


def test_a_page_that_skip_names_is_not_opened(tmp_path: Path) -> None:
    html(tmp_path, "good.html", "<p>one</p>", "<p>eins</p>")
    (tmp_path / "en" / "broken.html").write_bytes(b"\xff")
    (tmp_path / "de" / "broken.html").write_bytes(b"\xff")
    with pytest.raises(CorpusError, match=r"broken\.html"):
        list(read_pages(pages(tmp_path), ENGLISH_GERMAN))
    assert len(list(read_pages(pages(tmp_path, skip="^broken$"), ENGLISH_GERMAN))) == 1


@pytest.mark.parametrize(
    "content",
    [
        '<meta charset="iso-8859-1"><p>für \x93uns\x94</p>'.encode("latin-1"),
        '<?xml version="1.0" encoding="ISO-8859-15"?><html><body><p>für “uns”</p></body></html>'.encode(
            "iso-8859-15", "xmlcharrefreplace"
        ),
        "<p>für “uns”</p>".encode("utf-16"),
        "<p>für “uns”</p>".encode("utf-8-sig"),
    ],
)
def test_the_encoding_that_a_page_names_is_honoured(tmp_path: Path, content: bytes) -> None:
    assert blocks(tmp_path, content) == [("p", "für “uns”")]


def test_another_encoding_than_the_page_names_is_refused(tmp_path: Path) -> None:
    assert "page.html: not UTF-8, and it declares no other" in refusal(tmp_path, b"<p>f\xfcr</p>")
    assert "not UTF-8, as it declares (byte 27 of" in refusal(tmp_path, b'<meta charset="UTF-8"><p>f\xfcr</p>')
    assert "declares the unknown encoding 'x-y'" in refusal(tmp_path, b'<meta charset="x-y"><p>a</p>')
    assert "not UNDEFINED, as it declares" in refusal(tmp_path, b'<meta charset="undefined"><p>a</p>')


def test_truncated_xml_is_refused_with_its_line(tmp_path: Path) -> None:
    message = refusal(tmp_path, '<?xml version="1.0"?>\n<!DOCTYPE a>\n<article>\n<para>one</para>\n<pa', "a.xml")
    assert "a.xml: not well-formed XML" in message
    assert "line 5" in message


def test_truncated_archives_are_refused(tmp_path: Path) -> None:
    for pack in (gzip.compress, bz2.compress):
        assert "truncated" in refusal(tmp_path, pack(b"<p>one</p>")[:-5])


def test_an_empty_page_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, b" \n").endswith("page.html: the file is empty")


@pytest.mark.parametrize(
    "page",
    [
        "<!DOCTYPE a [<!ENTITY a0 'ha'>"
        + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))
        + "]><para>&a11;</para>",
        f"<!DOCTYPE a [<!ENTITY a '{'x' * 9_999}'>]><para>{'&a;' * 2_000}</para>",
        "<!DOCTYPE a [<!ENTITY a '&b;'><!ENTITY b '&a;'>]><para>&a;</para>",
    ],
    ids=["billion laughs", "quadratic", "loop"],
)
def test_xml_bombs_are_refused(tmp_path: Path, page: str) -> None:
    assert "(an XML bomb)" in refusal(tmp_path, page, "a.xml")


@pytest.mark.parametrize("name", ["a.html", "a.xml"])
def test_elements_too_deep_in_each_other_are_refused(tmp_path: Path, name: str) -> None:
    assert "a." in refusal(tmp_path, "<div>" * 5_000 + "x" + "</div>" * 5_000, name)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert "page.html" in refusal(tmp_path, b"\x89PNG\r\n\x1a\n\x00\xff")


def test_headings_of_a_page_are_blocks() -> None:
    assert Block("h1", "Apache-MPM winnt") in read_blocks(DATA / "de" / "mpm_winnt.html")
