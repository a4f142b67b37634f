"""What a corpus file may look like, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from mtkd.corpus.pair import Pair
from mtkd.corpus.readers import READERS, count_pairs, read_corpus
from mtkd.corpus.textfile import count_lines, read_lines, writing
from mtkd.errors import CorpusError
from mtkd.recipe_text import READER_FILES, Corpus
from tests.unit.reading import COMPRESSIONS, EN_DE, corpus_of, pairs_of, peak_memory, refusal


def tsv(path: Path, content: bytes, **columns: str) -> Corpus:
    path.write_bytes(content)
    return Corpus.model_validate({"path": path, "columns": columns, "licence": "CC0-1.0"})


def moses(folder: Path, source: bytes, target: bytes) -> Corpus:
    (folder / "a.en").write_bytes(source)
    (folder / "a.de").write_bytes(target)
    return Corpus(reader="moses", source=folder / "a.en", target=folder / "a.de", licence="CC0-1.0")


def test_every_reader_of_the_recipe_has_a_row() -> None:
    assert set(READERS) == set(READER_FILES) == set(get_args(Corpus.model_fields["reader"].annotation))


def test_tsv_finds_its_columns_by_name(tmp_path: Path) -> None:
    corpus = tsv(tmp_path / "a.tsv", b"file\ttgt\tsrc\nd1\tja\tyes\n", document="file")
    assert list(read_corpus(corpus, EN_DE)) == [Pair("yes", "ja", "d1")]


def test_quotes_are_text(tmp_path: Path) -> None:
    corpus = tsv(tmp_path / "a.tsv", b'src\ttgt\n"open\tauf"\nsay ""\t"zu"\n')
    assert list(read_corpus(corpus, EN_DE)) == [Pair('"open', 'auf"', ""), Pair('say ""', '"zu"', "")]


def test_only_newline_ends_a_line(tmp_path: Path) -> None:
    text = "a\u2028b\u0085c\rd\x0be\x0cf\x1cg"
    assert list(read_corpus(tsv(tmp_path / "a.tsv", f"src\ttgt\n{text}\tx\n".encode()), EN_DE)) == [Pair(text, "x", "")]
    assert list(read_corpus(moses(tmp_path, f"{text}\n".encode(), b"x\n"), EN_DE)) == [Pair(text, "x", "")]


def test_windows_line_ends_byte_order_mark_and_missing_last_newline_are_read(tmp_path: Path) -> None:
    corpus = tsv(tmp_path / "a.tsv", b"\xef\xbb\xbfsrc\ttgt\r\none\teins\r\ntwo\tzwei")
    assert list(read_corpus(corpus, EN_DE)) == [Pair("one", "eins", ""), Pair("two", "zwei", "")]
    assert count_pairs(corpus) == 2


def test_moses_pairs_line_by_line(tmp_path: Path) -> None:
    corpus = moses(tmp_path, b"one\n\nthree\n", b"eins\nzwei\ndrei")
    assert [pair[:2] for pair in read_corpus(corpus, EN_DE)] == [("one", "eins"), ("", "zwei"), ("three", "drei")]
    assert count_pairs(corpus) == 3


def test_text_without_references_needs_only_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("file\tsrc\nd1\tone\nd2\t\n")
    (tmp_path / "a.en").write_text("one\n\ntwo\n")
    table = {"path": tmp_path / "a.tsv", "columns": {"document": "file"}}
    files = {"reader": "moses", "source": tmp_path / "a.en"}
    found = []
    for fields in (table, files):
        corpus = Corpus.model_validate({**fields, "references": "none", "licence": "CC0-1.0"})
        found.append(list(read_corpus(corpus, EN_DE)))
        assert count_pairs(corpus) == len(found[-1])
    assert found[0] == [Pair("one", "", "d1"), Pair("", "", "d2")]
    assert found[1] == [Pair("one", "", ""), Pair("", "", ""), Pair("two", "", "")]


def test_a_target_column_beside_text_without_references_is_not_read(tmp_path: Path) -> None:
    corpus = tsv(tmp_path / "a.tsv", b"src\ttgt\none\teins\n").model_copy(update={"references": "none"})
    assert list(read_corpus(corpus, EN_DE)) == [Pair("one", "", "")]


@pytest.mark.parametrize("sizes", [(3, 2), (2, 5)])
def test_unequal_length_names_both_counts(tmp_path: Path, sizes: tuple[int, int]) -> None:
    message = refusal(moses(tmp_path, b"x\n" * sizes[0], b"y\n" * sizes[1]))
    assert f"a.en has {sizes[0]} lines" in message
    assert f"a.de has {sizes[1]}:" in message


def test_missing_file_is_named(tmp_path: Path) -> None:
    corpus = Corpus(path=tmp_path / "gone.tsv", licence="CC0-1.0")
    assert refusal(corpus) == f"{tmp_path}/gone.tsv: no such file; check the path in the recipe"
    with pytest.raises(CorpusError, match="no such file"):
        count_pairs(corpus)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(Corpus(path=tmp_path, licence="CC0-1.0"))


def test_empty_file_and_lone_header_are_refused(tmp_path: Path) -> None:
    assert refusal(tsv(tmp_path / "a.tsv", b"")).endswith("a.tsv: the file is empty")
    assert refusal(tsv(tmp_path / "a.tsv", b"src\ttgt\n")).endswith("a.tsv: a header and no rows")
    assert refusal(moses(tmp_path, b"", b"x\n")).endswith("a.en: the file is empty")


def test_other_encodings_are_refused_with_line_and_byte(tmp_path: Path) -> None:
    message = refusal(tsv(tmp_path / "a.tsv", b"src\ttgt\none\teins\nover\t\xfcber\n"))
    assert "a.tsv: line 3: not UTF-8 (byte 6 of the line is 0xfc)" in message


def test_missing_column_names_the_nearest(tmp_path: Path) -> None:
    message = refusal(tsv(tmp_path / "a.tsv", b"Source\tTarget\nx\ty\n", source="sorce"))
    assert "no column 'sorce' (did you mean 'Source'?); the header has: Source, Target" in message


def test_row_with_other_number_of_fields_is_refused(tmp_path: Path) -> None:
    message = refusal(tsv(tmp_path / "a.tsv", b"src\ttgt\nx\ty\nx\ty\tz\n"))
    assert "line 3: 3 tab-separated fields, but the header has 2" in message


def test_a_file_being_written_has_not_its_name_yet(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with pytest.raises(KeyboardInterrupt), writing(path) as file:  # noqa: PT012
        file.write("half")
        raise KeyboardInterrupt
    assert not path.exists()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_lines_are_read_and_counted_however_they_are_compressed(tmp_path: Path, compression: str) -> None:
    corpus = tsv(tmp_path / "a", COMPRESSIONS[compression](b"src\ttgt\none\teins\ntwo\tzwei\n"))
    assert pairs_of("tsv", path=corpus.path) == [Pair("one", "eins", ""), Pair("two", "zwei", "")]
    assert count_pairs(corpus) == 2


def test_a_line_without_an_end_in_sight_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(COMPRESSIONS["gzip"](b"short\n" + b"x" * (1 << 24)))
    with pytest.raises(CorpusError, match="line 2: longer than 16 MiB"):
        list(read_lines(tmp_path / "a.gz"))
    assert count_lines(tmp_path / "a.gz") == 2


def test_a_pattern_reads_every_table_and_keeps_their_documents_apart(tmp_path: Path) -> None:
    for name in ("b", "a"):
        tsv(tmp_path / f"{name}.tsv", f"src\ttgt\tpart\n{name}\tx\t1\n".encode())
    corpus = corpus_of("tsv", path=tmp_path / "{document}.tsv")
    assert list(read_corpus(corpus, EN_DE)) == [Pair("a", "x", "a"), Pair("b", "x", "b")]
    assert count_pairs(corpus) == 2
    parts = pairs_of("tsv", path=tmp_path / "{document}.tsv", columns={"document": "part"})
    assert [pair.document for pair in parts] == ["a/1", "b/1"]


def test_moses_pairs_the_files_of_equal_documents(tmp_path: Path) -> None:
    for name in ("2.en", "1.de", "1.en", "2.de", "3.en"):
        (tmp_path / name).write_text(f"{name}\n")
    files = {"source": tmp_path / "{document}.en", "target": tmp_path / "{document}.de"}
    assert pairs_of("moses", **files) == [Pair("1.en", "1.de", "1"), Pair("2.en", "2.de", "2")]
    alone = corpus_of("moses", source=tmp_path / "{document}.en", references="none")
    assert [pair[0] for pair in read_corpus(alone, EN_DE)] == ["1.en", "2.en", "3.en"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["guide/index", "guide/intro", "guide/usage"]),
        ({"skip": "index$"}, ["guide/intro", "guide/usage"]),
        ({"skip": "index$|intro"}, ["guide/usage"]),
        ({"document_pattern": "[^/]+$"}, ["index", "intro", "usage"]),
        ({"document_pattern": "/(in|us)"}, ["in", "in", "us"]),
        ({"document_pattern": "(zzz)?guide"}, ["guide", "guide", "guide"]),
        ({"document_pattern": "^in"}, ["guide/index", "guide/intro", "guide/usage"]),
        ({"document_pattern": "[^/]+$", "skip": "guide/us"}, ["index", "intro"]),
    ],
)
def test_documents_are_skipped_by_their_whole_name_and_then_renamed(
    tmp_path: Path, options: dict[str, str], expected: list[str]
) -> None:
    rows = "".join(f"x\ty\tguide/{name}\n" for name in ("index", "intro", "usage"))
    path = tsv(tmp_path / "a.tsv", b"src\ttgt\tfile\n" + rows.encode()).path
    assert [pair.document for pair in pairs_of("tsv", path=path, columns={"document": "file"}, **options)] == expected


def one(tmp_path: Path, source: str, target: str, **options: object) -> list[tuple[str, str]]:
    path = tsv(tmp_path / "a.tsv", f"src\ttgt\n{source}\t{target}\n".encode()).path
    return [pair[:2] for pair in pairs_of("tsv", path=path, **options)]


def test_strip_takes_every_expression_out_of_both_sides(tmp_path: Path) -> None:
    found = one(tmp_path, "menu|The <b>file</b>", "Die <i>Datei</i>", strip=[r"^\w+\|", r"</?\w>"])
    assert found == [("The file", "Die Datei")]


@pytest.mark.parametrize(
    ("mark", "text", "plain"),
    [
        ("_", "Save _as", "Save as"),
        ("&", "&File", "File"),
        ("&", "Black && &White", "Black & White"),
        ("_", "Open config_file_name", "Open config_file_name"),
        ("&", "Name & address", "Name & address"),
        ("_", "R&amp;D", "R&amp;D"),
    ],
)
def test_accelerators_are_taken_out_and_other_signs_are_not(tmp_path: Path, mark: str, text: str, plain: str) -> None:
    assert one(tmp_path, text, "Datei", accelerator=mark) == [(plain, "Datei")]


def test_pairs_are_cut_into_sentences_only_where_both_sides_have_equally_many(tmp_path: Path) -> None:
    equal = one(tmp_path, "Stop. Go on.", "Halt. Weiter, z. B. dort.", sentences=True)
    assert equal == [("Stop.", "Halt."), ("Go on.", "Weiter, z. B. dort.")]
    assert one(tmp_path, "Stop. Go on.", "Halt, weiter.", sentences=True) == [("Stop. Go on.", "Halt, weiter.")]
    assert one(tmp_path, "Stop.", "", sentences=True) == [("Stop.", "")]


def test_pairs_that_only_reading_would_count_are_not_counted(tmp_path: Path) -> None:
    assert count_pairs(corpus_of("tmx", path=tmp_path / "gone.tmx")) == 0


@pytest.mark.parametrize("reader", ["tsv", "moses"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, reader: str) -> None:
    (tmp_path / "a.tsv").write_text("src\ttgt\n" + "Some source, and more of it.\tEin Ziel.\n" * 250_000)
    (tmp_path / "a.en").write_text("Some source, and more of it.\n" * 350_000)
    (tmp_path / "a.de").write_bytes(COMPRESSIONS["zstd"](b"Ein Ziel.\n" * 350_000))
    names = {"path": "a.tsv"} if reader == "tsv" else {"source": "a.en", "target": "a.de"}
    corpus = corpus_of(reader, **{key: tmp_path / name for key, name in names.items()})
    assert next(iter(corpus.names().values())).stat().st_size > 9_000_000
    assert peak_memory(corpus) < 14 << 20
