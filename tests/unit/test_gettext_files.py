"""Programs' messages: which entries are pairs, in which charset, and what is said of a damaged file."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import polib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtkd.corpus.gettext_files import read_mo, read_po
from mtkd.corpus.pair import Pair
from mtkd.errors import CorpusError
from tests.unit.reading import COMPRESSIONS, DATA, EN_DE, corpus_of, pairs_of, refusal

HUMANIZE = DATA / "gettext" / "humanize.po"
COMPILED = DATA / "gettext" / "humanize.mo"
HEADER = (
    'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset={}\\n"\n"Plural-Forms: nplurals={}; plural=n != 1;\\n"\n\n'
)
UTF8 = HEADER.format("UTF-8", 2)
READERS = {"po": HUMANIZE, "mo": COMPILED}


def po(folder: Path, content: str | bytes) -> Path:
    path = folder / "de.po"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def mo(folder: Path, content: str) -> Path:
    polib.pofile(content).save_as_mofile(folder / "de.mo")
    return folder / "de.mo"


def test_a_real_file_and_what_was_compiled_of_it_hold_the_same_pairs() -> None:
    source = pairs_of("po", path=HUMANIZE, columns={"document": "msgctxt"})
    assert len(source) == 85
    assert sorted(source) == sorted(pairs_of("mo", path=COMPILED, columns={"document": "msgctxt"}))
    assert Pair("one", "eins", "") in source
    assert Pair("{}th", "{}.", "ordinal 0") in source


@pytest.mark.parametrize("reader", READERS)
def test_german_plural_forms_pair_with_the_singular_and_the_plural(reader: str) -> None:
    found = [pair for pair in pairs_of(reader, path=READERS[reader]) if "million" in pair.source]
    assert sorted(found) == [
        Pair("%(value)s million", "%(value)s Million", ""),
        Pair("%(value)s million", "%(value)s Millionen", ""),
    ]


@pytest.mark.parametrize(
    ("plurals", "expected"),
    [
        (1, [("%d day", "form 0")]),
        (2, [("%d day", "form 0"), ("%d days", "form 1")]),
        (3, [("%d day", "form 0")]),
    ],
)
def test_the_plural_is_paired_only_where_there_are_two_forms(
    tmp_path: Path, plurals: int, expected: list[tuple[str, str]]
) -> None:
    forms = "".join(f'msgstr[{form}] "form {form}"\n' for form in range(plurals))
    content = HEADER.format("UTF-8", plurals) + f'msgid "%d day"\nmsgid_plural "%d days"\n{forms}'
    for reader, path in (("po", po(tmp_path, content)), ("mo", mo(tmp_path, content))):
        assert [pair[:2] for pair in pairs_of(reader, path=path)] == expected


def test_fuzzy_obsolete_and_untranslated_entries_are_left_out(tmp_path: Path) -> None:
    entries = (
        '#, fuzzy\nmsgid "one"\nmsgstr "zwei"\n\n'
        'msgid "two"\nmsgstr ""\n\n'
        'msgid "three"\nmsgid_plural "threes"\nmsgstr[0] "drei"\nmsgstr[1] ""\n\n'
        '#~ msgid "four"\n#~ msgstr "vier"\n'
    )
    assert pairs_of("po", path=po(tmp_path, UTF8 + entries)) == [Pair("three", "drei", "")]


@pytest.mark.parametrize("reader", READERS)
def test_contexts_name_documents_within_that_of_the_file(tmp_path: Path, reader: str) -> None:
    content = UTF8 + 'msgctxt "model,name:A00"\nmsgid "Cholera"\nmsgstr "Cholera"\n\nmsgid "x"\nmsgstr "y"\n'
    path = (po if reader == "po" else mo)(tmp_path, content)
    pattern = path.with_stem("{document}")
    assert [pair.document for pair in pairs_of(reader, path=pattern)] == ["de", "de"]
    found = pairs_of(reader, path=pattern, columns={"document": "msgctxt"})
    assert sorted(pair.document for pair in found) == ["de", "de/model,name:A00"]
    named = pairs_of(reader, path=path, columns={"document": "msgctxt"}, document_pattern=r"name:(\w\d)")
    assert sorted(pair.document for pair in named) == ["", "A0"]


@pytest.mark.parametrize("charset", ["UTF-8", "ISO-8859-1", "KOI8-R"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_header_names_the_charset(tmp_path: Path, charset: str, compression: str) -> None:
    word = "\u0441\u043b\u043e\u0432\u043e" if charset == "KOI8-R" else "\u00fcber"
    content = (HEADER.format(charset, 2) + f'msgid "x"\nmsgstr "{word}"\n').encode(charset)
    assert pairs_of("po", path=po(tmp_path, COMPRESSIONS[compression](content))) == [Pair("x", word, "")]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_compiled_file_may_be_compressed(tmp_path: Path, compression: str) -> None:
    (tmp_path / "a.mo").write_bytes(COMPRESSIONS[compression](COMPILED.read_bytes()))
    assert pairs_of("mo", path=tmp_path / "a.mo") == pairs_of("mo", path=COMPILED)


def test_line_separators_within_a_message_are_text(tmp_path: Path) -> None:
    path = po(tmp_path, "\ufeff" + UTF8 + 'msgid "a\u2028b\u0085c"\nmsgstr "d\\n"\n"e"\n')
    assert pairs_of("po", path=path) == [Pair("a\u2028b\u0085c", "d\ne", "")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (UTF8 + 'msgid "x"\nmsgstr ""\n', "no entry is translated"),
        (UTF8 + 'msgid "x"\nmsgstr "y" z"\n', "line 7: not a PO file, or a damaged one"),
        (UTF8 + 'msgid "x"\nplain text\n', "line 7: not a PO file, or a damaged one"),
        (b"/etc/hostname", "line 1: not a PO file"),
        (COMPILED.read_bytes(), "not a PO file but a compiled one, which has `reader: mo`"),
        (
            UTF8.encode() + b'msgid "x"\nmsgstr "\xfcber"\n',
            "line 7: not UTF-8, which the header says it is (byte 0xfc)",
        ),
        (HEADER.format("KLINGON", 2) + 'msgid "x"\nmsgstr "y"\n', "names the charset 'KLINGON', which nobody knows"),
        (HEADER.format("hex", 2) + 'msgid "x"\nmsgstr "y"\n', "names the charset 'hex', which nobody knows"),
    ],
)
def test_what_is_wrong_with_a_po_file_is_said(tmp_path: Path, content: str | bytes, said: str) -> None:
    assert said in refusal(corpus_of("po", path=po(tmp_path, content)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\xde\x12\x04\x95", "truncated or damaged"),
        (COMPILED.read_bytes()[:-300], "truncated or damaged"),
        (COMPILED.read_bytes()[:100], "truncated or damaged"),
        (HUMANIZE.read_bytes(), "not an MO file (compiled by msgfmt); a PO file has `reader: po`"),
        (b"/etc/hostname", "not an MO file"),
        (COMPILED.read_bytes().replace(b"UTF-8", b"ASCII"), "not ASCII, which the header says it is (byte 0x"),
    ],
)
def test_what_is_wrong_with_an_mo_file_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.mo").write_bytes(content)
    assert said in refusal(corpus_of("mo", path=tmp_path / "a.mo"))


def test_an_mo_file_whose_messages_are_all_the_same_long_one_is_refused(tmp_path: Path) -> None:
    """So that a small file cannot fill the memory."""
    count, text = 1000, b"x" * 100_000
    table = 28 + 8 * count
    head = b"".join(number.to_bytes(4, "little") for number in (0x950412DE, 0, count, 28, 28, 0, 0))
    place = len(text).to_bytes(4, "little") + table.to_bytes(4, "little")
    (tmp_path / "a.mo").write_bytes(head + place * count + text)
    assert "truncated or damaged" in refusal(corpus_of("mo", path=tmp_path / "a.mo"))


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_a_damaged_file_is_read_or_refused_but_breaks_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = random.Random(seed)
    for reader, read in (("po", read_po), ("mo", read_mo)):
        content = bytearray(READERS[reader].read_bytes())
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path = tmp_path_factory.getbasetemp() / f"damaged.{reader}"
        path.write_bytes(content[: rng.randint(1, len(content))])
        with suppress(CorpusError):
            assert all(pair.source and pair.target for pair in read(corpus_of(reader, path=path), EN_DE))
