"""A folder of translations is found, whatever is in it, and what is not used is named with its reason."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

import pytest
import zstandard

from mtkd.corpus.discover import Discovery, discover, domain_name, domain_names
from mtkd.corpus.headers import HEADERS, Said, agreed_languages, primary
from mtkd.corpus.readers import READERS
from mtkd.errors import CorpusError, UsageError
from mtkd.recipe_text import Languages
from tests.memories import PAIRS, mo, moses, po, tmx, tsv, xliff

ENGLISH_GERMAN = Languages(source="en", target="de")


def pairs_by_group(found: Discovery) -> dict[str, list[int]]:
    return {group: [counted.pairs for counted in corpora] for group, corpora in found.groups.items()}


def reasons(found: Discovery) -> dict[str, str]:
    return {str(file.path): file.reason for file in found.unusable}


def test_every_kind_of_file_is_found_plain_and_compressed(tmp_path: Path) -> None:
    tmx(tmp_path / "legal" / "a.tmx")
    xliff(tmp_path / "legal" / "deep" / "er" / "b.xlf")
    po(tmp_path / "it" / "app.po")
    mo(tmp_path / "it" / "app.mo")
    tsv(tmp_path / "it" / "list.tsv")
    moses(tmp_path / "music" / "songs.en", tmp_path / "music" / "songs.de")
    moses(tmp_path / "music" / "more.en-GB.txt", tmp_path / "music" / "more.de_AT.txt")
    for path in (tmp_path / "legal" / "a.tmx", tmp_path / "it" / "list.tsv", tmp_path / "music" / "songs.en"):
        path.with_name(f"z{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.with_name(f"y{path.name}.zst").write_bytes(zstandard.compress(path.read_bytes()))
    (tmp_path / "music" / "zsongs.de").write_bytes((tmp_path / "music" / "songs.de").read_bytes())
    found = discover(tmp_path, "en", "de")
    count = len(PAIRS)
    assert pairs_by_group(found) == {"it": [count] * 5, "legal": [count] * 4, "music": [count] * 3}
    assert {counted.corpus.reader for of in found.groups.values() for counted in of} == HEADERS.keys() | {"moses"}
    assert reasons(found) == {"music/ysongs.en.zst": "no text of the same name in another language beside it"}


def test_every_header_belongs_to_a_reader() -> None:
    assert HEADERS.keys() <= READERS.keys()


def test_without_folders_files_name_the_domains(tmp_path: Path) -> None:
    tmx(tmp_path / "Contracts 2024.tmx")
    po(tmp_path / "app.po")
    moses(tmp_path / "general.en", tmp_path / "general.de")
    assert pairs_by_group(discover(tmp_path)).keys() == {"contracts_2024", "app", "general"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Legal", "legal"),
        ("Verträge & Co.", "vertrage_co"),
        ("2024", "domain_2024"),
        ("法律", "domain"),
        ("generic", "generic_text"),
        ("my_transfer", "my_transfer_text"),
        ("my_translated", "my_translated_text"),
        ("pooled", "pooled_text"),
        ("general", "general"),
    ],
)
def test_domain_names_are_made_valid(text: str, name: str) -> None:
    assert domain_name(text) == name


def test_clashing_domain_names_are_told_apart() -> None:
    assert domain_names(["A B", "a_b", "A-B", "c"]) == {"a_b": "a_b", "c": "c", "A B": "a_b_2", "A-B": "a_b_3"}


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("source\ttarget", ("source", "target", None)),
        ("id\tSRC\tTGT\tfile", ("SRC", "TGT", "file")),
        ("en-US\tde-DE", ("en-US", "de-DE", None)),
        ("DE\tEN\tdocument", ("EN", "DE", "document")),
    ],
)
def test_columns_are_found_by_their_names(tmp_path: Path, header: str, columns: tuple[str, str, str | None]) -> None:
    width = header.count("\t") + 1
    tsv(
        tmp_path / "a.tsv",
        header=header,
        rows=[[f"cell {row} {column}" for column in range(width)] for row in range(3)],
    )
    [counted] = discover(tmp_path, "en", "de").groups["a"]
    assert (counted.corpus.columns.source, counted.corpus.columns.target, counted.corpus.columns.document) == columns


def test_a_table_without_a_header_is_named_with_what_to_do(tmp_path: Path) -> None:
    tmx(tmp_path / "a.tmx")
    tsv(tmp_path / "b.tsv", header="Good morning\tGuten Morgen")
    assert "begin the file with a line that names them" in reasons(discover(tmp_path))["b.tsv"]


def test_what_cannot_be_used_is_named_with_its_reason(tmp_path: Path) -> None:
    tmx(tmp_path / "good.tmx")
    tmx(tmp_path / "french.tmx", target="fr")
    po(tmp_path / "french.po", language="fr")
    moses(tmp_path / "french.en", tmp_path / "french.fr")
    moses(tmp_path / "uneven.en", tmp_path / "uneven.de", dropped=1)
    (tmp_path / "broken.tmx").write_text("<tmx><body><tu>", encoding="utf-8")
    (tmp_path / "cut.tsv.gz").write_bytes(gzip.compress(b"source\ttarget\na\tb\n")[:-12])
    (tmp_path / "empty.mo").write_bytes(b"")
    (tmp_path / "notes.docx").write_bytes(b"PK")
    (tmp_path / "a*b.tmx").write_bytes((tmp_path / "good.tmx").read_bytes())
    (tmp_path / ".hidden.tmx").write_text("not looked at", encoding="utf-8")
    found = discover(tmp_path, "en", "de")
    assert list(found.groups) == ["good"]
    said = reasons(found)
    assert set(said) == {path.name for path in tmp_path.iterdir()} - {"good.tmx", ".hidden.tmx"}
    assert "no unit has both 'en' and 'de'" in said["french.tmx"]
    assert "translation into fr" in said["french.po"]
    assert "but en, fr" in said["french.en"]
    assert "must translate" in said["uneven.de"]
    assert "not well-formed" in said["broken.tmx"]
    assert "truncated" in said["cut.tsv.gz"]
    assert "rename it" in said["a*b.tmx"]
    assert "not TMX, XLIFF" in said["notes.docx"]
    assert not any(str(tmp_path) in reason for reason in said.values())


@pytest.mark.parametrize("content", [{}, {"notes.txt": b"hello"}, {"a.en": b"alone\n"}])
def test_a_folder_without_translations_is_refused(tmp_path: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(CorpusError, match="no translations"):
        discover(tmp_path, "en", "de")


def test_a_folder_of_which_nothing_can_be_used_says_why(tmp_path: Path) -> None:
    tmx(tmp_path / "a.tmx", target="fr")
    with pytest.raises(CorpusError, match=r"none of its files can be used\na.tmx: no unit has both"):
        discover(tmp_path, "en", "de")


def test_each_header_says_its_languages(tmp_path: Path) -> None:
    both = frozenset({"en", "de"})
    tmx(tmp_path / "a.tmx", source="en-US", target="de-DE")
    xliff(tmp_path / "b.xlf", source="en-GB", target="de")
    po(tmp_path / "c.po", language="de_DE")
    mo(tmp_path / "d.mo")
    po(tmp_path / "de.po", language="")
    tsv(tmp_path / "e.tsv", header="en-US\tde\tid")
    said = {path.name: HEADERS[path.suffix[1:].replace("xlf", "xliff")](path) for path in tmp_path.iterdir()}
    assert said["a.tmx"] == Said("en", "de", both)
    assert said["b.xlf"] == Said("en", "de")
    assert said["c.po"] == said["d.mo"] == said["de.po"] == Said(target="de")
    # `id` is also a language's code.
    assert said["e.tsv"].languages >= both


def test_a_memory_of_no_source_language_says_what_it_has(tmp_path: Path) -> None:
    tmx(tmp_path / "a.tmx", srclang="*all*")
    assert HEADERS["tmx"](tmp_path / "a.tmx") == Said(languages=frozenset({"en", "de"}))


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ([Said("en", "de")], (None, None)),
        ([Said("en", "de"), Said(target="de"), Said()], (None, None)),
        ([Said("en"), Said(languages=frozenset({"en", "de"}))], (None, None)),
        ([Said(languages=frozenset({"en", "de"}))], ("en", None)),
        ([Said(languages=frozenset({"en", "de"}))], (None, "de")),
        ([Said(languages=frozenset({"en", "de"})), Said(languages=frozenset({"ts", "cs"}))], ("en", None)),
        ([Said("de", "en"), Said("en", "fr")], ("en", "de")),
        ([], ("en", "de")),
    ],
)
def test_languages_are_what_is_given_and_agreed_on(said: Iterable[Said], given: tuple[str | None, str | None]) -> None:
    assert agreed_languages(said, *given) == ENGLISH_GERMAN


@pytest.mark.parametrize(
    ("said", "given", "problem"),
    [
        (
            [Said("en", "de"), Said("de", "en")],
            (None, None),
            "source de, en; target de, en.*give --source and --target",
        ),
        ([Said(target="de")], (None, None), "target de.*give --source$"),
        ([Said(languages=frozenset({"en", "de"}))], (None, None), "without a direction de, en"),
        ([], (None, None), "they say: nothing"),
        ([], ("en", "en"), "give --source and --target"),
        ([], ("en-US", "de"), "--source en-US: give the language alone"),
    ],
)
def test_languages_not_agreed_on_are_asked_for(
    said: Iterable[Said], given: tuple[str | None, str | None], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        agreed_languages(said, *given)


@pytest.mark.parametrize(("code", "language"), [("en-US", "en"), (" DE_at", "de"), ("german", ""), ("", "")])
def test_a_code_is_its_language(code: str, language: str) -> None:
    assert primary(code) == language
