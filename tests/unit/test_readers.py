"""What a corpus file may look like, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from mtkd.corpus.readers import READERS, Pair, count_pairs, read_corpus
from mtkd.corpus.textfile import writing
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus


def tsv(path: Path, content: bytes, **columns: str) -> Corpus:
    path.write_bytes(content)
    return Corpus.model_validate({"path": path, "columns": columns, "licence": "CC0-1.0"})


def moses(folder: Path, source: bytes, target: bytes) -> Corpus:
    (folder / "a.en").write_bytes(source)
    (folder / "a.de").write_bytes(target)
    return Corpus(reader="moses", source=folder / "a.en", target=folder / "a.de", licence="CC0-1.0")


def refusal(corpus: Corpus) -> str:
    with pytest.raises(CorpusError) as caught:
        list(read_corpus(corpus))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_reader_of_the_recipe_has_a_row() -> None:
    assert set(READERS) == set(get_args(Corpus.model_fields["reader"].annotation))


def test_tsv_finds_its_columns_by_name(tmp_path: Path) -> None:
    corpus = tsv(tmp_path / "a.tsv", b"file\ttgt\tsrc\nd1\tja\tyes\n", document="file")
    assert list(read_corpus(corpus)) == [Pair("yes", "ja", "d1")]


def test_quotes_are_text(tmp_path: Path) -> None:
    corpus = tsv(tmp_path / "a.tsv", b'src\ttgt\n"open\tauf"\nsay ""\t"zu"\n')
    assert list(read_corpus(corpus)) == [Pair('"open', 'auf"', ""), Pair('say ""', '"zu"', "")]


def test_only_newline_ends_a_line(tmp_path: Path) -> None:
    text = "a\u2028b\u0085c\rd\x0be\x0cf\x1cg"
    assert list(read_corpus(tsv(tmp_path / "a.tsv", f"src\ttgt\n{text}\tx\n".encode()))) == [Pair(text, "x", "")]
    assert list(read_corpus(moses(tmp_path, f"{text}\n".encode(), b"x\n"))) == [Pair(text, "x", "")]


def test_windows_line_ends_byte_order_mark_and_missing_last_newline_are_read(tmp_path: Path) -> None:
    corpus = tsv(tmp_path / "a.tsv", b"\xef\xbb\xbfsrc\ttgt\r\none\teins\r\ntwo\tzwei")
    assert list(read_corpus(corpus)) == [Pair("one", "eins", ""), Pair("two", "zwei", "")]
    assert count_pairs(corpus) == 2


def test_moses_pairs_line_by_line(tmp_path: Path) -> None:
    corpus = moses(tmp_path, b"one\n\nthree\n", b"eins\nzwei\ndrei")
    assert [pair[:2] for pair in read_corpus(corpus)] == [("one", "eins"), ("", "zwei"), ("three", "drei")]
    assert count_pairs(corpus) == 3


def test_text_without_references_needs_only_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("file\tsrc\nd1\tone\nd2\t\n")
    (tmp_path / "a.en").write_text("one\n\ntwo\n")
    table = {"path": tmp_path / "a.tsv", "columns": {"document": "file"}}
    files = {"reader": "moses", "source": tmp_path / "a.en"}
    found = []
    for fields in (table, files):
        corpus = Corpus.model_validate({**fields, "references": "none", "licence": "CC0-1.0"})
        found.append(list(read_corpus(corpus)))
        assert count_pairs(corpus) == len(found[-1])
    assert found[0] == [Pair("one", "", "d1"), Pair("", "", "d2")]
    assert found[1] == [Pair("one", "", ""), Pair("", "", ""), Pair("two", "", "")]


def test_a_target_column_beside_text_without_references_is_not_read(tmp_path: Path) -> None:
    corpus = tsv(tmp_path / "a.tsv", b"src\ttgt\none\teins\n").model_copy(update={"references": "none"})
    assert list(read_corpus(corpus)) == [Pair("one", "", "")]


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
