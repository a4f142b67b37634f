"""What is unpacked of an archive, and what is refused of a hostile or broken one."""

from __future__ import annotations

import gzip
import io
import lzma
import re
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from mtkd.corpus import archives
from mtkd.corpus.archives import extract, members
from mtkd.errors import CorpusError
from tests.unit.made_archives import deb, tar, wheel

PAGE = b"<p>A page.</p>\n" * 400
EVERYTHING = [re.compile(".*", re.DOTALL)]


def kinds(*files: tuple[str, bytes]) -> dict[str, bytes]:
    """The same files as an archive of each kind."""
    packed = tar(*((f"./{name}", text) for name, text in files))
    return {
        "deb.xz": deb(("data.tar.xz", lzma.compress(packed))),
        "deb.gz": deb(("data.tar.gz", gzip.compress(packed))),
        "deb.zst": deb(("data.tar.zst", zstandard.compress(packed))),
        "deb.plain": deb(("data.tar", packed)),
        "tgz": gzip.compress(tar(*files)),
        "whl": wheel(*files),
    }


GOOD = kinds(("doc/en/a.html", PAGE), ("doc/de/a.html", b""), ("doc/en/b.txt", b"text"))


def written(folder: Path, content: bytes) -> Path:
    path = folder / "some-archive"
    path.write_bytes(content)
    return path


def refusal(folder: Path, content: bytes) -> str:
    """What is said of an archive, which must leave nothing outside its folder."""
    with pytest.raises(CorpusError) as caught:
        extract(written(folder, content), EVERYTHING, folder / "inner" / "out")
    assert "\n" not in str(caught.value)
    assert "some-archive" in str(caught.value)
    outside = {path.name for path in folder.iterdir()} | {path.name for path in folder.glob("inner/*")}
    assert outside <= {"some-archive", "inner", "out"}
    return str(caught.value)


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_of_archive_gives_its_files(tmp_path: Path, kind: str) -> None:
    found = {member.name: member.file.read() for member in members(written(tmp_path, GOOD[kind]))}
    assert found == {"doc/en/a.html": PAGE, "doc/de/a.html": b"", "doc/en/b.txt": b"text"}


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="2026-11-21: dpkg-deb is not installed here")
@pytest.mark.parametrize("method", ["xz", "gzip", "zstd", "none"])
def test_what_dpkg_itself_builds_is_read(tmp_path: Path, method: str) -> None:
    page = tmp_path / "tree/usr/share/doc/manual/a page.html"
    page.parent.mkdir(parents=True)
    page.write_bytes(PAGE)
    (tmp_path / "tree/DEBIAN").mkdir()
    about = "Package: manual\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: text\n"
    (tmp_path / "tree/DEBIAN/control").write_text(about)
    command = ["dpkg-deb", f"-Z{method}", "--root-owner-group", "--build", "tree", "manual.deb"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = {member.name: member.file.read() for member in members(tmp_path / "manual.deb")}
    assert found == {"usr/share/doc/manual/a page.html": PAGE}


@pytest.mark.parametrize("kind", GOOD)
def test_only_whole_names_that_fit_are_unpacked(tmp_path: Path, kind: str) -> None:
    patterns = [re.compile(r"doc/en/[^/]*\.html"), re.compile("en/b.txt")]
    assert extract(written(tmp_path, GOOD[kind]), patterns, tmp_path / "out") == ["doc/en/a.html"]
    assert (tmp_path / "out/doc/en/a.html").read_bytes() == PAGE
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["a.html"]


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.98])
def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path: Path, kind: str, share: float) -> None:
    content = GOOD[kind]
    said = refusal(tmp_path, content[: int(len(content) * share)])
    assert "truncated or damaged" in said or "no archive that can be read" in said


def test_a_tar_cut_between_two_files_is_no_shorter_tar(tmp_path: Path) -> None:
    cut = tar(("a", PAGE), ("b", PAGE))[: 512 + 6144]
    for packed in (cut, cut + b"\xff" * 512, cut + b"\0" * 100):
        assert "truncated or damaged" in refusal(tmp_path, gzip.compress(packed))
        assert "truncated or damaged" in refusal(tmp_path, deb(("data.tar.zst", zstandard.compress(packed))))


@pytest.mark.parametrize("kind", ["tgz", "whl", "deb.xz", "deb.gz"])
def test_a_damaged_byte_is_found(tmp_path: Path, kind: str) -> None:
    noise = bytes(index * index % 251 for index in range(5000))
    content = bytearray(kinds(("a", noise))[kind])
    content[len(content) // 2] ^= 0xFF
    assert "truncated or damaged" in refusal(tmp_path, bytes(content))


@pytest.mark.parametrize("content", [b"", b"<html>404 Not Found</html>", b"!<arch>", b"PK\x03\x04", b"\x1f\x8b\x08"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refusal(tmp_path, content)


def test_an_ar_archive_without_files_is_refused(tmp_path: Path) -> None:
    assert "no data.tar" in refusal(tmp_path, deb())
    assert "'data.tar.lzma' is compressed in a way" in refusal(tmp_path, deb(("data.tar.lzma", b"")))


def test_a_missing_archive_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such file"):
        list(members(tmp_path / "none"))


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "a\\..\\..\\evil", "\\evil", "./../evil"]
)
def test_a_name_that_leads_out_is_refused_in_every_kind(tmp_path: Path, name: str) -> None:
    for content in (
        gzip.compress(tar((name, b"x"))),
        deb(("data.tar.xz", lzma.compress(tar((name, b"x"))))),
        wheel((name, b"x")),
    ):
        said = refusal(tmp_path, content)
        assert "leads out of the archive" in said
        assert repr(name) in said


@pytest.mark.parametrize("name", ["a\\b", "a\nb", "a\x1b[31mb", "a\udcffb"])
def test_a_name_that_cannot_be_shown_is_refused_where_it_fits(tmp_path: Path, name: str) -> None:
    content = gzip.compress(tar((name, b"x"), ("good", b"y")))
    assert "in its name" in refusal(tmp_path, content)
    assert extract(written(tmp_path, content), [re.compile("good")], tmp_path / "out") == ["good"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_neither_written_nor_followed(tmp_path: Path, kind: bytes) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as opened:
        link = tarfile.TarInfo("folder")
        link.type, link.linkname = kind, str(tmp_path / "elsewhere")
        opened.addfile(link)
        page = tarfile.TarInfo("folder/page")
        page.size = len(PAGE)
        opened.addfile(page, io.BytesIO(PAGE))
    (tmp_path / "elsewhere").mkdir()
    assert extract(written(tmp_path, content.getvalue()), EVERYTHING, tmp_path / "out") == ["folder/page"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_links_in_a_zip_are_not_written(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert extract(written(tmp_path, wheel((link, b"/etc/passwd"), ("a", b"x"))), EVERYTHING, tmp_path / "out") == ["a"]


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    def to_device(info: tarfile.TarInfo) -> None:
        info.type = kind

    assert "is a device" in refusal(tmp_path, gzip.compress(tar(("null", b""), change=to_device)))


@pytest.mark.parametrize("pack", [gzip.compress, None])
def test_a_bomb_is_stopped_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes] | None
) -> None:
    monkeypatch.setattr(archives, "RATIO_FREE_BYTES", 1 << 16)
    zeros = bytes(4 << 20)
    content = pack(tar(("a", zeros))) if pack else wheel(("a", zeros), ("b", zeros))
    assert "unpacks to over 200 times its size" in refusal(tmp_path, content)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 2 << 20


def test_a_bomb_behind_the_last_file_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "RATIO_FREE_BYTES", 1 << 16)
    assert "200 times" in refusal(tmp_path, gzip.compress(tar(("a", b"x")) + bytes(8 << 20)))


def test_a_member_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1 << 20)
    assert extract(written(tmp_path, wheel(("a", bytes(1 << 20)))), EVERYTHING, tmp_path / "out") == ["a"]
    assert "'a' unpacks to more than 1 MiB" in refusal(tmp_path, wheel(("a", bytes((1 << 20) + 1))))


def test_a_header_cannot_ask_for_more_memory_than_a_name_needs(tmp_path: Path) -> None:
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):

        def to_long(info: tarfile.TarInfo, kind: bytes = kind) -> None:
            info.type = kind

        content = gzip.compress(tar(("././@LongLink", bytes(2 << 20)), change=to_long))
        assert "strange size" in refusal(tmp_path, content)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(wheel(("a", b"x")))
    content[6] |= 1  # the flag, in the file's own header and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert "'a'" in refusal(tmp_path, bytes(content))


def test_a_file_where_a_folder_has_to_be_is_refused(tmp_path: Path) -> None:
    assert "cannot be unpacked" in refusal(tmp_path, gzip.compress(tar(("a", b"x"), ("a/b", b"y"))))
    assert "cannot be unpacked" in refusal(tmp_path, wheel(("x" * 300, b"y")))
