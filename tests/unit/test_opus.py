"""Fetching from OPUS: names, a mirror on this machine, what was cut off, and everything that a server can do wrong."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtkd.corpus.opus import MIRROR_VARIABLE, fetch_opus, look_up
from mtkd.errors import CorpusError, UsageError
from tests.opus_mirror import Mirror, add_archive, linked_index, unpacked_index

EMEA = "EMEA@v3/de-en"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror with one archive of some 100 KiB, and the environment that names it."""
    noise = random.Random(1)
    lines = [[str(noise.random()) for _ in range(5000)] for _ in range(2)]
    add_archive(tmp_path / "mirror", "EMEA", "v3", "de-en", (lines[0], lines[1]))
    with Mirror(tmp_path / "mirror").running() as running:
        monkeypatch.setenv(MIRROR_VARIABLE, running.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield running


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with unpacked_index(tmp_path_factory.mktemp("index")) as folder:
        yield folder


@pytest.fixture
def folder(tmp_path: Path, index: Path) -> Iterator[Path]:
    """Where to fetch to, with the index in it already."""
    with linked_index(index, tmp_path / "fetched") as folder:
        yield folder


def files_in(folder: Path) -> list[str]:
    """What lies there beside the index."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".db")


def original(mirror: Mirror) -> bytes:
    return (mirror.root / "OPUS-EMEA/v3/moses/de-en.txt.zip").read_bytes()


def test_archive_comes_whole_from_the_mirror(mirror: Mirror, folder: Path) -> None:
    path = fetch_opus(EMEA, folder)
    assert path == folder / "EMEA-v3.de-en.zip"
    assert path.read_bytes() == original(mirror)
    assert mirror.requests == [("/OPUS-EMEA/v3/moses/de-en.txt.zip", None)]
    assert files_in(folder) == [path.name]
    with zipfile.ZipFile(path) as archive:
        assert {"EMEA.de-en.de", "EMEA.de-en.en", "README", "LICENSE"} <= set(archive.namelist())


@pytest.mark.parametrize("name", ["EMEA@v3/en-de", "EMEA/de-en"])
def test_order_of_the_pair_and_latest_release_are_filled_in(index: Path, name: str) -> None:
    assert look_up(name, index) == look_up(EMEA, index)


def test_index_knows_release_pair_and_size(index: Path) -> None:
    found = look_up("OpenSubtitles@v2018/de-en", index)
    assert (found.corpus, found.release, found.pair) == ("OpenSubtitles", "v2018", "de-en")
    assert found.size_kib > 500_000
    assert found.url.endswith("/OPUS-OpenSubtitles/v2018/moses/de-en.txt.zip")


def test_index_is_unpacked_once_for_a_version_of_opustools(tmp_path: Path) -> None:
    (tmp_path / "opustools-0.9.db").touch()
    with unpacked_index(tmp_path):
        (unpacked,) = tmp_path.iterdir()
        before = unpacked.stat().st_ino
        look_up(EMEA, tmp_path)
        assert [path.stat().st_ino for path in tmp_path.iterdir()] == [before]


def test_download_that_breaks_off_is_continued(mirror: Mirror, folder: Path) -> None:
    mirror.break_off_after = [30_000, 20_000]
    path = fetch_opus(EMEA, folder)
    assert path.read_bytes() == original(mirror)
    assert [wanted for _, wanted in mirror.requests] == [None, "bytes=30000-", "bytes=50000-"]


def test_server_that_brings_nothing_more_is_not_asked_for_ever(mirror: Mirror, folder: Path) -> None:
    mirror.break_off_after = [30_000, 0]
    with pytest.raises(CorpusError, match=r"breaks off after 30000 of \d+ bytes; these are kept, run again"):
        fetch_opus(EMEA, folder)
    assert fetch_opus(EMEA, folder).read_bytes() == original(mirror)
    assert mirror.requests[-1][1] == "bytes=30000-"


def test_killed_download_is_continued(mirror: Mirror, folder: Path) -> None:
    """The process dies by SIGKILL after its first bytes; the next one asks for the rest only."""
    mirror.break_off_after = [60_000]
    mirror.released.clear()
    script = (
        "import sys; from pathlib import Path; from mtkd.corpus.opus import fetch_opus\n"
        "fetch_opus(sys.argv[1], Path(sys.argv[2]))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, EMEA, str(folder)], env=os.environ | {"PYTHONPATH": path_of()}
    )
    partial = folder / "EMEA-v3.de-en.zip.part"
    deadline_s = time.monotonic() + 30
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    mirror.released.set()
    kept = partial.stat().st_size
    assert 0 < kept < len(original(mirror))
    assert fetch_opus(EMEA, folder).read_bytes() == original(mirror)
    assert mirror.requests[-1][1] == f"bytes={kept}-"


def path_of() -> str:
    """Where this process imports from, for a process of its own."""
    return os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))


def test_whole_but_unfinished_download_is_not_fetched_again(mirror: Mirror, folder: Path) -> None:
    (folder / "EMEA-v3.de-en.zip.part").write_bytes(original(mirror))
    assert fetch_opus(EMEA, folder).read_bytes() == original(mirror)


def test_longer_leftover_of_another_file_is_dropped(mirror: Mirror, folder: Path) -> None:
    (folder / "EMEA-v3.de-en.zip.part").write_bytes(b"x" * 1_000_000)
    assert fetch_opus(EMEA, folder).read_bytes() == original(mirror)


def test_server_without_ranges_starts_anew(mirror: Mirror, folder: Path) -> None:
    mirror.knows_ranges = False
    (folder / "EMEA-v3.de-en.zip.part").write_bytes(b"x" * 1000)
    assert fetch_opus(EMEA, folder).read_bytes() == original(mirror)


def test_truncated_archive_is_one_clear_error(mirror: Mirror, folder: Path) -> None:
    file = mirror.root / "OPUS-EMEA/v3/moses/de-en.txt.zip"
    file.write_bytes(file.read_bytes()[:50_000])
    with pytest.raises(CorpusError, match="sent is cut short or damaged and was deleted; run again"):
        fetch_opus(EMEA, folder)
    assert files_in(folder) == []


def test_damaged_archive_is_one_clear_error(mirror: Mirror, folder: Path) -> None:
    file = mirror.root / "OPUS-EMEA/v3/moses/de-en.txt.zip"
    body = bytearray(file.read_bytes())
    body[20_000:20_100] = bytes(100)
    file.write_bytes(body)
    with pytest.raises(CorpusError, match="cut short or damaged and was deleted"):
        fetch_opus(EMEA, folder)
    assert files_in(folder) == []


def test_leftover_of_an_older_file_never_becomes_an_archive(mirror: Mirror, folder: Path) -> None:
    (folder / "EMEA-v3.de-en.zip.part").write_bytes(b"x" * 30_000)
    with pytest.raises(CorpusError, match="cut short or damaged and was deleted"):
        fetch_opus(EMEA, folder)
    assert fetch_opus(EMEA, folder).read_bytes() == original(mirror)


def test_file_that_the_server_lacks_is_one_clear_error(mirror: Mirror, folder: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"opus:ECB@v1/en-fr: .*: 404 .*the server has not.* set OPUS_MIRROR to another server"
    ):
        fetch_opus("ECB@v1/en-fr", folder)
    assert files_in(folder) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("EMEA", "write opus:CORPUS@RELEASE/SOURCE-TARGET"),
        ("../EMEA/de-en", "write opus:CORPUS@RELEASE/SOURCE-TARGET"),
        ("EMEA' OR '1'='1/de-en", "write opus:CORPUS@RELEASE/SOURCE-TARGET"),
        ("emea@v3/de-en", r"no corpus 'emea' as plain text \(did you mean 'EMEA'\?\)"),
        ("OpenSubtitle@v2018/de-en", r"did you mean 'OpenSubtitles'\?"),
        ("EMEA@v3/de-xx", "EMEA has no pair de-xx; de is there with bg, cs, .*, xx with no other"),
        ("EMEA@v4/de-en", "this pair is in other releases only: opus:EMEA@v3/de-en"),
        ("OpenOffice/de-en", "this pair is in other releases only: opus:OpenOffice@v2/de-en"),
    ],
)
def test_wrong_name_is_refused_before_any_request(mirror: Mirror, folder: Path, name: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        fetch_opus(name, folder)
    assert "\n" not in str(caught.value)
    assert mirror.requests == []


def test_without_a_network_the_error_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:  # bound, and nobody listens
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv(MIRROR_VARIABLE, f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(CorpusError, match=r"cannot be reached .*refused.* fetch it on another machine") as caught:
            fetch_opus(EMEA, folder)
    assert MIRROR_VARIABLE in str(caught.value)


def test_mirror_that_is_no_address_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, "/etc")
    with pytest.raises(UsageError, match="OPUS_MIRROR=/etc: not an address"):
        fetch_opus(EMEA, folder)


def test_other_size_than_the_index_says_is_logged(
    mirror: Mirror, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fetch_opus(EMEA, folder)
    assert "archive=opus:EMEA@v3/de-en" in caplog.text
