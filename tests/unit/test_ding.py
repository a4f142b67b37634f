"""Which sentences a dictionary in the format of Ding yields."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mtkd.corpus.ding import read_ding
from mtkd.corpus.pair import Pair
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus, Languages

ENGLISH_GERMAN = Languages(source="en", target="de")


def dictionary(folder: Path, *lines: str, name: str = "de-en") -> Corpus:
    (folder / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return Corpus(reader="ding", path=folder / name, licence="GPL-2.0-or-later")


def sentences(folder: Path, line: str) -> list[tuple[str, str]]:
    return [pair[:2] for pair in read_ding(dictionary(folder, line), ENGLISH_GERMAN)]


def test_only_sentences_are_read_in_the_order_of_the_recipe(tmp_path: Path) -> None:
    corpus = dictionary(
        tmp_path,
        "# Version :: of the test",
        "Brot {n} [cook.] | ein Laib Brot | Das Brot ist frisch. :: bread | a loaf of bread | The bread is fresh.",
    )
    assert list(read_ding(corpus, ENGLISH_GERMAN)) == [Pair("The bread is fresh.", "Das Brot ist frisch.", "0000")]
    german_english = Languages(source="de", target="en")
    assert list(read_ding(corpus, german_english)) == [Pair("Das Brot ist frisch.", "The bread is fresh.", "0000")]


def test_notes_are_taken_out_and_what_may_be_left_out_stays(tmp_path: Path) -> None:
    line = "Er kam (sehr) spät. {vi} [ugs.] /Abk./ <kommen> :: He came (very) late. [coll.]"
    assert sentences(tmp_path, line) == [("He came very late.", "Er kam sehr spät.")]


def test_a_slash_within_a_sentence_is_text(tmp_path: Path) -> None:
    line = "Er/sie hat/hatte Zeit. :: He/she has/had time."
    assert sentences(tmp_path, line) == [("He/she has/had time.", "Er/sie hat/hatte Zeit.")]


def test_synonyms_are_paired_where_there_are_equally_many_else_the_first_of_each(tmp_path: Path) -> None:
    assert sentences(tmp_path, "Gut!; Fein! :: Good!; Fine!") == [("Good!", "Gut!"), ("Fine!", "Fein!")]
    assert sentences(tmp_path, "Gut! :: Good!; Fine!") == [("Good!", "Gut!")]


@pytest.mark.parametrize(
    "line", ["Hilf jdm.! :: Help sb.!", "Gib es jdm. :: Give sth. to sb.", "Nimm etw.! :: Take it!"]
)
def test_placeholders_are_no_sentences(tmp_path: Path, line: str) -> None:
    assert sentences(tmp_path, line) == []


def test_an_entry_whose_sides_have_unequal_forms_is_counted_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert sentences(tmp_path, "Ja! | Doch! :: Yes!") == []
    assert "entries=1 with_unequal_forms=1" in caplog.text


def test_a_document_is_500_lines(tmp_path: Path) -> None:
    corpus = dictionary(tmp_path, *["Das ist eins. :: This is one."] * 1001)
    documents = [pair.document for pair in read_ding(corpus, ENGLISH_GERMAN)]
    assert [documents.count(name) for name in ("0000", "0001", "0002")] == [500, 500, 1]


def test_a_dictionary_of_other_languages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"fr-de: .* \(en-de or de-en\); rename it"):
        list(read_ding(dictionary(tmp_path, "a :: b", name="fr-de"), ENGLISH_GERMAN))


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no line of the form 'text :: text'"):
        list(read_ding(dictionary(tmp_path, "Haus\thouse"), ENGLISH_GERMAN))


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    corpus = dictionary(tmp_path)
    (tmp_path / "de-en").write_bytes("Tür. :: Door.\n".encode("latin-1"))
    with pytest.raises(CorpusError, match="line 1: not UTF-8"):
        list(read_ding(corpus, ENGLISH_GERMAN))
