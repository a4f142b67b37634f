"""Translation memories and documents in translation: what is a pair, what is markup, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtkd.corpus.pair import Pair
from mtkd.corpus.xml_stream import elements
from mtkd.recipe_text import Languages
from tests.unit.reading import COMPRESSIONS, DATA, corpus_of, pairs_of, peak_memory, read_corpus, refusal

MEMORY = DATA / "tmx" / "memory.tmx"
TMX = '<tmx version="1.4"><header/><body>{}</body></tmx>'
XLIFF = (
    '<xliff version="1.2"><file original="f" source-language="{}" target-language="{}"><body>{}</body></file></xliff>'
)
UNIT = '<tu><tuv xml:lang="en"><seg>{}</seg></tuv><tuv xml:lang="de"><seg>Ziel</seg></tuv></tu>'
TRANS_UNIT = "<trans-unit><source>{}</source><target>Ziel</target></trans-unit>"
FORMS = {"tmx": TMX.format(UNIT), "xliff": XLIFF.format("en", "de", TRANS_UNIT)}
BOMB = (
    """<!DOCTYPE bomb [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>"""
)
OTHER_FILE = """<!DOCTYPE spy [<!ENTITY c SYSTEM "file:///etc/hostname">]>"""
OTHER_DTD = """<!DOCTYPE spy [<!ENTITY % c SYSTEM "file:///etc/hostname"> %c;]>"""


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "memory.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_memory_of_several_languages_is_read() -> None:
    assert pairs_of("tmx", path=MEMORY) == [
        Pair(
            "Requests a new image capture from a camera device.",
            "Fordert eine neue Bildaufnahme von einem Kamerager\u00e4t an.",
            "",
        ),
        Pair("Setting to change.", "Einstellung, die ge\u00e4ndert werden soll.", ""),
        Pair("MFA code (6 digits)", "MFA-Code\n(6-stellig)", ""),
    ]
    french = read_corpus(corpus_of("tmx", path=MEMORY), Languages(source="fr", target="en"))
    assert [pair[:2] for pair in french][1] == ("\u00c9chec de connexion", "Failed to connect")


def test_the_languages_of_a_memory_are_listed_where_none_fits() -> None:
    with pytest.raises(Exception, match="no unit has both 'en' and 'pl'; its languages are ") as caught:
        list(read_corpus(corpus_of("tmx", path=MEMORY), Languages(source="en", target="pl")))
    assert str(caught.value).endswith("de-at, de-de, en, en-gb, en-us, fr-fr")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "windows-1252"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("reader", FORMS)
def test_encodings_and_compressions_are_told(tmp_path: Path, encoding: str, compression: str, reader: str) -> None:
    name = encoding.removesuffix("-sig")
    text = f'<?xml version="1.0" encoding="{name}"?>\n' + FORMS[reader].format("f\u00fcr")
    path = written(tmp_path, COMPRESSIONS[compression](text.encode(encoding)))
    assert [pair[:2] for pair in pairs_of(reader, path=path)] == [("f\u00fcr", "Ziel")]


def test_translated_segments_of_xliff_1_2_are_read() -> None:
    assert pairs_of("xliff", path=DATA / "xliff" / "memory_1.2.xlf") == [
        Pair("Failed to connect", "Verbindung fehlgeschlagen", "abode/strings.txt"),
        Pair("Setting to change.", "Einstellung, die ge\u00e4ndert werden soll.", "abode/strings.txt"),
        Pair("Value of the setting.", "Wert der Einstellung.", "abode/strings.txt"),
        Pair("Press Return.", "Return dr\u00fccken.", "abode/strings.txt"),
    ]


def test_translated_segments_of_xliff_2_0_are_read() -> None:
    assert pairs_of("xliff", path=DATA / "xliff" / "memory_2.0.xlf") == [
        Pair("Triggers an Abode automation.", "L\u00f6st eine Abode-Automatisierung aus.", "abode.md"),
        Pair("Invalid authentication", "Ung\u00fcltige Authentifizierung", "abode.md"),
    ]


def test_a_pattern_names_the_document_before_the_file_does() -> None:
    found = pairs_of("xliff", path=DATA / "xliff" / "memory_{document}.xlf")
    assert {pair.document for pair in found} == {"1.2", "2.0"}
    assert len(found) == 6


def test_files_of_other_languages_are_passed_over_but_not_all_of_them(tmp_path: Path) -> None:
    unit = TRANS_UNIT.format("text")
    for source, target in (("en-GB", "DE_de"), ("en", "fr"), ("fr", "de")):
        (tmp_path / f"{source}-{target}.xlf").write_text(XLIFF.format(source, target, unit))
    assert len(pairs_of("xliff", path=tmp_path / "*.xlf")) == 1
    said = refusal(corpus_of("xliff", path=tmp_path / "*fr*.xlf"))
    assert said.endswith("no translated unit from 'en' into 'de'; its units are en to fr, fr to de")


def test_a_file_need_not_name_its_target_language(tmp_path: Path) -> None:
    content = XLIFF.format("en", "de", TRANS_UNIT.format("text")).replace(' target-language="de"', "")
    assert len(pairs_of("xliff", path=written(tmp_path, content))) == 1


def test_comments_and_character_data_are_text_in_one_piece(tmp_path: Path) -> None:
    path = written(tmp_path, FORMS["tmx"].format("a<!-- note -->b<?pi?><![CDATA[<c>]]>&amp;&#100;"))
    assert pairs_of("tmx", path=path) == [Pair("ab<c>&d", "Ziel", "")]


@pytest.mark.parametrize("reader", FORMS)
@pytest.mark.parametrize("declaration", [BOMB, OTHER_FILE, OTHER_DTD])
def test_files_that_declare_entities_are_refused_unread(tmp_path: Path, reader: str, declaration: str) -> None:
    path = written(tmp_path, declaration + FORMS[reader].format("&c;"))
    assert refusal(corpus_of(reader, path=path)).endswith(
        "memory.xml: declares XML entities, which are not read from corpora; write the text itself"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n\n<b>", "line 3: not well-formed XML (Opening and ending tag mismatch: b line 3 and"),
        ("\nx&nbsp;y", "line 2: not well-formed XML (Entity 'nbsp' not defined)"),
        ("\n\x01", "line 2: not well-formed XML (PCDATA invalid Char value 1)"),
        ("\n&#31;", "line 2: not well-formed XML (xmlParseCharRef: invalid xmlChar value 31)"),
        ("<b>" * 300 + "</b>" * 300, "line 1: not well-formed XML (Excessive depth in document"),
    ],
)
@pytest.mark.parametrize("reader", FORMS)
def test_text_that_is_not_well_formed_is_refused(tmp_path: Path, reader: str, text: str, said: str) -> None:
    assert said in refusal(corpus_of(reader, path=written(tmp_path, FORMS[reader].format(text))))


def test_an_entity_of_a_declaration_that_is_not_fetched_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, '<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n' + FORMS["tmx"].format("x&nbsp;y"))
    assert "line 2: the entity &nbsp; is not declared; write the character itself" in refusal(
        corpus_of("tmx", path=path)
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "memory.xml: the file is empty"),
        (b"one\teins\n", "line 1: not well-formed XML (Start tag expected, '<' not found)"),
        (b"PK\x03\x04", "line 1: not well-formed XML (Start tag expected, '<' not found)"),
        (b"<html>\n<body/></html>", "line 1: its outermost element is html, not "),
        (b'<?xml version="1.0" encoding="klingon"?><tmx/>', "line 1: not well-formed XML (Unsupported encoding"),
        (b'<?xml version="1.0" encoding="utf-16"?><tmx/>', "not well-formed XML ("),
    ],
)
@pytest.mark.parametrize("reader", FORMS)
def test_files_of_other_kinds_are_refused(tmp_path: Path, reader: str, content: bytes, said: str) -> None:
    assert said in refusal(corpus_of(reader, path=written(tmp_path, content)))


@pytest.mark.parametrize("reader", FORMS)
def test_another_encoding_than_the_file_says_is_refused_with_its_line(tmp_path: Path, reader: str) -> None:
    path = written(tmp_path, ("\n" + FORMS[reader].format("\n\u00fcber")).encode("latin-1"))
    assert "line 3: not well-formed XML (" in refusal(corpus_of(reader, path=path))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("reader", FORMS)
def test_a_truncated_file_is_refused(tmp_path: Path, reader: str, compression: str) -> None:
    content = FORMS[reader].format("text\n" * 1000).encode()
    said = refusal(corpus_of(reader, path=written(tmp_path, COMPRESSIONS[compression](content[:-30]))))
    assert "line 1001: not well-formed XML (" in said
    said = refusal(corpus_of(reader, path=written(tmp_path, COMPRESSIONS[compression](content)[:-9])))
    assert "truncated" in said or "line 1001" in said


@pytest.mark.parametrize("reader", FORMS)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, reader: str) -> None:
    """A tree of this file would hold ten times its size."""
    before, after = FORMS[reader].format("@").split(UNIT.format("@") if reader == "tmx" else TRANS_UNIT.format("@"))
    unit = UNIT if reader == "tmx" else f"<group>{TRANS_UNIT}</group>"
    path = written(tmp_path, before + unit.format("Some text.") * 40_000 + after)
    assert path.stat().st_size > 3_500_000
    assert peak_memory(corpus_of(reader, path=path)) < 12 << 20


def test_nothing_is_left_of_the_elements_before(tmp_path: Path) -> None:
    groups = "<group><note>n</note>" + TRANS_UNIT.format("text") * 3 + "</group>"
    path = written(tmp_path, XLIFF.format("en", "de", groups * 50))
    for unit in elements(path, "xliff", "trans-unit"):
        for element in (unit, *unit.iterancestors()):
            assert sum(1 for _ in element.itersiblings(preceding=True)) <= 1
