"""Which files a name in the recipe means."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mtkd.corpus.sources import Source, document_name, expand, paired, to_regex, within
from mtkd.errors import CorpusError


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("pattern", "name", "document"),
    [
        ("a/{document}.po", "a/b/c.po", "b/c"),
        ("a/*/{document}.po", "a/b/c.po", "c"),
        ("a/*/{document}.po", "a/b/c/d.po", "c/d"),
        ("a/*/c.po", "a/b/x/c.po", None),
        ("a/*.po", "a/.po", ""),
        ("a/*.po", "a/bxpo", None),
        ("a.po", "axpo", None),
        ("a.po", "a.po.gz", None),
        ("a(1)+[x]/{document}.po", "a(1)+[x]/d.po", "d"),
        ("{document}/{document}.po", "a/a.po", "a"),
        ("{document}/{document}.po", "a/b.po", None),
        ("{document}.po", ".po", None),
        ("{document}.po", "line\nline.po", "line\nline"),
    ],
)
def test_patterns_fit_whole_names(pattern: str, name: str, document: str | None) -> None:
    match = to_regex(pattern).fullmatch(name)
    assert (match and match.groupdict().get("document", "")) == document


def test_a_name_without_a_pattern_is_taken_as_it_is(tmp_path: Path) -> None:
    assert expand(tmp_path / "gone.tsv") == [Source(tmp_path / "gone.tsv", "")]


def test_expanded_files_are_sorted_and_know_their_document(tmp_path: Path) -> None:
    files(tmp_path, "x/b.de.po", "x/a.de.po", "x/y/c.de.po", "x/a.fr.po", "z/d.de.po")
    found = expand(tmp_path / "x" / "{document}.de.po")
    assert [(str(path.relative_to(tmp_path)), document) for path, document in found] == [
        ("x/a.de.po", "a"),
        ("x/b.de.po", "b"),
        ("x/y/c.de.po", "y/c"),
    ]
    assert [path.name for path, _ in expand(tmp_path / "*" / "*.de.po")] == ["a.de.po", "b.de.po", "d.de.po"]


def test_white_space_in_a_file_name_does_not_reach_the_document(tmp_path: Path) -> None:
    files(tmp_path, "a\tb\n c.po")
    assert [source.document for source in expand(tmp_path / "{document}.po")] == ["a b c"]
    assert document_name("  a\u2028b ") == "a b"
    assert [within(*parts) for parts in (("a", "b"), ("a", ""), ("", "b\t"), ("", ""))] == ["a/b", "a", "b", ""]


def test_nothing_that_fits_is_an_error_that_names_the_pattern(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"\*\.po: no file fits this name"):
        expand(tmp_path / "*.po")
    with pytest.raises(CorpusError, match="gone: no such folder"):
        expand(tmp_path / "gone" / "*.po")


def test_files_are_paired_by_document_and_the_rest_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files(tmp_path, "en/1.html", "en/s/2.html", "en/3.html", "1.de.html", "s/2.de.html", "4.de.html")
    with caplog.at_level(logging.INFO):
        found = paired(tmp_path / "en" / "{document}.html", tmp_path / "{document}.de.html")
    assert [(document, source.name, target.name) for document, source, target in found] == [
        ("1", "1.html", "1.de.html"),
        ("s/2", "2.html", "2.de.html"),
    ]
    assert "unpaired_documents=2" in caplog.text


def test_files_without_documents_are_one_pair(tmp_path: Path) -> None:
    files(tmp_path, "a-1f.json", "b-2e.json")
    found = paired(tmp_path / "a-*.json", tmp_path / "b-2e.json")
    assert found == [("", tmp_path / "a-1f.json", tmp_path / "b-2e.json")]


def test_two_files_of_one_document_are_refused(tmp_path: Path) -> None:
    files(tmp_path, "a-1f.json", "a-GB-1f.json", "b.json")
    with pytest.raises(CorpusError, match=r"a-1f\.json and .*a-GB-1f\.json, which are one document by their names"):
        paired(tmp_path / "a-*.json", tmp_path / "b.json")


def test_documents_of_which_none_is_there_twice_are_refused(tmp_path: Path) -> None:
    files(tmp_path, "1.en", "2.en", "3.de")
    with pytest.raises(CorpusError, match=r"fits 2 files and .* 1, but no two have the same \{document\}"):
        paired(tmp_path / "{document}.en", tmp_path / "{document}.de")
