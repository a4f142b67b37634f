"""What is unpacked for a group's corpora, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mtkd.corpus.cache import CURRENT_S
from mtkd.corpus.fetch import fetch_corpora
from mtkd.corpus.fetchers import FETCHERS
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus
from tests.unit.made_archives import Mirror, age


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    made = Mirror(tmp_path / "mirror")
    monkeypatch.setitem(FETCHERS, "wheel", made.fetch)
    made.add("manual", en__a_txt="A", de__a_txt="A", en__index_txt="I")
    made.add("terms", de_po="po")
    return made


def pages(**fields: object) -> Corpus:
    names = {"source": "en/{document}.txt", "target": "de/{document}.txt"}
    return Corpus.model_validate(
        {"reader": "moses", "archives": ["wheel:manual"], **names, "licence": "CC0-1.0", **fields}
    )


def terms() -> Corpus:
    return Corpus(reader="po", archives=["wheel:terms"], path=Path("*.po"), licence="CC0-1.0")


def test_members_lie_under_the_number_of_their_corpus(tmp_path: Path, mirror: Mirror) -> None:
    local = Corpus(path=Path("a.tsv"), licence="CC0-1.0")
    told: list[tuple[int, int]] = []
    found = fetch_corpora(
        [local, pages(), terms()],
        tmp_path / "out",
        cache=tmp_path / "cache",
        lock={},
        progress=lambda _, done, total: told.append((done, total)),
    )
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {"archives.json", "1/en/a.txt", "1/de/a.txt", "1/en/index.txt", "2/de.po"}
    assert {index: corpus["members"] for index, corpus in found["corpora"].items()} == {"1": 3, "2": 1}
    assert found["archives"]["wheel:terms"].keys() == {"file", "bytes", "sha256"}
    assert json.loads((tmp_path / "out" / "archives.json").read_text()) == found
    assert told == [(done, 4) for done in range(5)]


def test_what_was_unpacked_is_not_unpacked_again(tmp_path: Path, mirror: Mirror) -> None:
    def run(*corpora: Corpus) -> list[int]:
        fetch_corpora(list(corpora), tmp_path / "out", cache=tmp_path / "cache", lock={})
        return [(tmp_path / "out" / name).stat().st_mtime_ns for name in ("0/en/a.txt", "1/de.po")]

    first = run(pages(), terms())
    assert run(pages(), terms()) == first
    (tmp_path / "out/0/en/index.txt").unlink()
    second = run(pages(), terms())
    assert (tmp_path / "out/0/en/index.txt").read_text() == "I"
    assert second[0] != first[0], "an incomplete corpus is unpacked again"
    assert second[1] == first[1]
    third = run(pages(source="en/a.txt"), terms())
    assert third[0] != second[0], "other names are unpacked anew"
    assert not (tmp_path / "out/0/en/index.txt").exists()
    mirror.add("terms", de_po="new")
    age(tmp_path / "cache", CURRENT_S + 60)
    fourth = run(pages(source="en/a.txt"), terms())
    assert fourth[0] == third[0]
    assert (tmp_path / "out/1/de.po").read_text() == "new"


def test_a_killed_step_goes_on_where_it_was(tmp_path: Path, mirror: Mirror) -> None:
    class KilledError(Exception):
        pass

    def kill(what: str, done: int, total: int) -> None:
        if what == "corpus 1":
            raise KilledError

    with pytest.raises(KilledError):
        fetch_corpora([pages(), terms()], tmp_path / "out", cache=tmp_path / "cache", lock={}, progress=kill)
    first = (tmp_path / "out/0/en/a.txt").stat().st_mtime_ns
    fetch_corpora([pages(), terms()], tmp_path / "out", cache=tmp_path / "cache", lock={})
    assert (tmp_path / "out/0/en/a.txt").stat().st_mtime_ns == first
    assert (tmp_path / "out/1/de.po").exists()
    assert mirror.asked == ["manual", "terms"]


def test_a_name_that_fits_nothing_is_refused_with_what_comes_near(tmp_path: Path, mirror: Mirror) -> None:
    corpora = [pages(source="usr/en/{document}.txt")]
    with pytest.raises(CorpusError) as caught:
        fetch_corpora(corpora, tmp_path / "out", cache=tmp_path / "cache", lock={})
    assert str(caught.value).startswith("usr/en/{document}.txt: no member of wheel:manual fits this name")
    assert "near it are: 'en/a.txt'" in str(caught.value)
    assert not (tmp_path / "out" / "archives.json").exists()


def test_two_archives_with_the_same_member_are_refused(tmp_path: Path, mirror: Mirror) -> None:
    shutil.copy(mirror.folder / "manual", mirror.folder / "other")
    corpora = [pages(archives=["wheel:manual", "wheel:other"])]
    with pytest.raises(CorpusError, match=r"wheel:manual and wheel:other both have 'en/a\.txt'"):
        fetch_corpora(corpora, tmp_path / "out", cache=tmp_path / "cache", lock={})
