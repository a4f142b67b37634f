"""What is taken from the cache of archives and when a registry is asked, and the lock beside a recipe."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtkd.corpus.cache import CURRENT_S, cache_dir, fetch_archive
from mtkd.corpus.fetchers import FETCHERS
from mtkd.corpus.lockfile import Archive, changes, read_lock, read_locked_pairs, write_lock
from mtkd.errors import CorpusError
from tests.unit.made_archives import Mirror, age

CACHE_OF_A_PROCESS = """
import sys, time
from pathlib import Path
from mtkd.corpus.cache import fetch_archive
from mtkd.corpus.fetchers import FETCHERS

def slowly(name, folder):
    with (folder / "partial").open("x") as file:
        time.sleep(float(sys.argv[2]))
        file.write("text")
    with (folder / "calls").open("a") as file:
        file.write("x")
    return (folder / "partial").rename(folder / name)

FETCHERS["wheel"] = slowly
print(fetch_archive("wheel:manual", Path(sys.argv[1]))[0].sha256)
"""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    made = Mirror(tmp_path / "mirror")
    monkeypatch.setitem(FETCHERS, "wheel", made.fetch)
    made.add("manual", en__a_txt="A")
    made.add("terms", de_po="po")
    return made


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MTKD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "mtkd"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "mtkd"
    monkeypatch.setenv("MTKD_CACHE", "~/own")
    assert cache_dir() == tmp_path / "own"


def test_an_archive_is_fetched_once_a_day(tmp_path: Path, mirror: Mirror) -> None:
    first, path = fetch_archive("wheel:manual", tmp_path / "cache")
    assert (first.file, first.bytes) == ("manual", path.stat().st_size)
    assert fetch_archive("wheel:manual", tmp_path / "cache") == (first, path)
    assert mirror.asked == ["manual"]
    mirror.add("manual", en__a_txt="changed")
    age(tmp_path / "cache", CURRENT_S + 60)
    second, _ = fetch_archive("wheel:manual", tmp_path / "cache")
    assert second.sha256 != first.sha256
    assert fetch_archive("wheel:manual", tmp_path / "cache")[0] == second
    assert mirror.asked == ["manual", "manual"]


def test_an_unchanged_archive_is_current_for_another_day(tmp_path: Path, mirror: Mirror) -> None:
    first = fetch_archive("wheel:manual", tmp_path / "cache")
    age(tmp_path / "cache", CURRENT_S + 60)
    assert [fetch_archive("wheel:manual", tmp_path / "cache") for _ in range(2)] == [first, first]
    assert mirror.asked == ["manual", "manual"]


def test_a_version_or_a_locked_archive_needs_no_network_however_old(tmp_path: Path, mirror: Mirror) -> None:
    mirror.add("manual==1.0", a_txt="A")
    fetch_archive("wheel:manual==1.0", tmp_path / "cache")
    locked, path = fetch_archive("wheel:manual", tmp_path / "cache")
    age(tmp_path / "cache", 100 * CURRENT_S)
    shutil.rmtree(mirror.folder)
    fetch_archive("wheel:manual==1.0", tmp_path / "cache")
    assert fetch_archive("wheel:manual", tmp_path / "cache", locked=locked) == (locked, path)
    assert mirror.asked == ["manual==1.0", "manual"]


def test_the_locked_archive_is_taken_before_a_newer_one(tmp_path: Path, mirror: Mirror) -> None:
    locked, _ = fetch_archive("wheel:manual", tmp_path / "cache")
    mirror.add("manual", en__a_txt="changed")
    age(tmp_path / "cache", CURRENT_S + 60)
    newer, _ = fetch_archive("wheel:manual", tmp_path / "cache")
    assert fetch_archive("wheel:manual", tmp_path / "cache", locked=locked)[0] == locked
    shutil.rmtree(tmp_path / "cache")
    assert fetch_archive("wheel:manual", tmp_path / "cache", locked=locked)[0] == newer


def test_offline_the_newest_in_the_cache_is_taken_with_a_warning(
    tmp_path: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    fetch_archive("wheel:manual", tmp_path / "cache")
    age(tmp_path / "cache", 2 * CURRENT_S)
    mirror.add("manual", en__a_txt="changed")
    newer, _ = fetch_archive("wheel:manual", tmp_path / "cache")
    age(tmp_path / "cache", 2 * CURRENT_S)
    shutil.rmtree(mirror.folder)
    with caplog.at_level(logging.WARNING):
        assert fetch_archive("wheel:manual", tmp_path / "cache")[0] == newer
    assert "no network" in caplog.text
    with pytest.raises(CorpusError, match="wheel:terms: no network"):
        fetch_archive("wheel:terms", tmp_path / "cache")


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "record"])
def test_what_is_damaged_in_the_cache_is_fetched_again(tmp_path: Path, mirror: Mirror, damage: str) -> None:
    first, path = fetch_archive("wheel:manual", tmp_path / "cache")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "record":
        (path.parent / "archive.json").write_text('{"spec": ')
    else:
        path.write_bytes(content[:-1] if damage == "cut" else content[:-1] + b"!")
    again, path = fetch_archive("wheel:manual", tmp_path / "cache", locked=first)
    assert (again, path.read_bytes()) == (first, content)
    assert mirror.asked == ["manual", "manual"]


def in_a_process(cache: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CACHE_OF_A_PROCESS, str(cache), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_fetch_an_archive_once(tmp_path: Path) -> None:
    processes = [in_a_process(tmp_path, 0.3) for _ in range(2)]
    said = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(said) == 1
    assert (tmp_path / "fetching" / "wheel" / "calls").read_text() == "x"


def test_a_killed_fetch_leaves_neither_lock_nor_half_an_archive(tmp_path: Path, mirror: Mirror) -> None:
    killed = in_a_process(tmp_path, 600)
    partial = tmp_path / "fetching" / "wheel" / "partial"
    while not partial.exists():
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    killed.communicate(timeout=60)
    assert fetch_archive("wheel:manual", tmp_path)[1].read_bytes() == (mirror.folder / "manual").read_bytes()


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CorpusError, match="set MTKD_CACHE"):
        fetch_archive("wheel:manual", tmp_path / "cache")


def test_a_lock_is_read_as_it_was_written(tmp_path: Path, mirror: Mirror) -> None:
    path = tmp_path / "archives.lock.json"
    assert (read_lock(path), read_locked_pairs(path)) == ({}, {})
    archives = {spec: fetch_archive(spec, tmp_path / "cache")[0] for spec in ("wheel:terms", "wheel:manual")}
    pairs = {"medical": {"0": {"read": 20, "kept": 19}}}
    write_lock(path, archives, pairs)
    assert (read_lock(path), read_locked_pairs(path)) == (archives, pairs)
    written = path.read_bytes()
    write_lock(path, dict(reversed(archives.items())), pairs)
    assert path.read_bytes() == written, "the order of archives is no difference"


@pytest.mark.parametrize(
    ("content", "said"), [(b"{", "no JSON"), (b"\xff", "no JSON"), (b"[]", ": "), (b'{"archives": []}', "pairs: ")]
)
def test_a_lock_that_is_none_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "archives.lock.json"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="delete the file to have it made anew") as caught:
        read_lock(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_changes_are_said_with_both_files_and_sizes() -> None:
    old = Archive(spec="deb:a", file="a_1.0_all.deb", bytes=1_500_000, sha256="a" * 64)
    new = Archive(spec="deb:a", file="a_1.1_all.deb", bytes=1_700_000, sha256="b" * 64)
    other = Archive(spec="deb:b", file="b_1.0_all.deb", bytes=9_000_000, sha256="c" * 64)
    assert changes({"deb:a": old}, {"deb:a": old}) == []
    assert changes({"deb:a": old, "deb:b": other}, {"deb:a": new}) == [
        "deb:a: a_1.0_all.deb (1.5 MB, sha256 aaaaaaaa) -> a_1.1_all.deb (1.7 MB, sha256 bbbbbbbb)"
    ]
    assert changes({"deb:a": old}, {"deb:b": other}) == [
        "deb:b: not in the lock, now b_1.0_all.deb (9.0 MB, sha256 cccccccc)"
    ]
    assert changes({}, {"deb:a": old}) == [], "without a lock there is nothing to differ from"
