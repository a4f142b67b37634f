"""The bytes of a file are the same however it is compressed, and a damaged file is never read as a short one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mtkd.corpus import compressed
from mtkd.corpus.compressed import open_bytes, read_bytes
from mtkd.errors import CorpusError
from tests.unit.reading import COMPRESSIONS

CONTENT = random.Random(0).randbytes(300_000) + b"line\n" * 300_000


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", ["a", "a.gz", "a.zst"])
def test_content_is_told_by_its_first_bytes_and_not_by_its_name(tmp_path: Path, compression: str, name: str) -> None:
    path = written(tmp_path / name, COMPRESSIONS[compression](CONTENT))
    assert read_bytes(path) == CONTENT
    with open_bytes(path) as file:
        assert file.read(7) == CONTENT[:7]
        assert file.readline() == CONTENT[7:].split(b"\n", 1)[0] + b"\n"


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_files_written_one_after_the_other_are_one(tmp_path: Path, compression: str) -> None:
    parts = [COMPRESSIONS[compression](part) for part in (b"one", b"", CONTENT)]
    assert read_bytes(written(tmp_path / "a", b"".join(parts))) == b"one" + CONTENT


@pytest.mark.parametrize("content", [b"", b"a", b"\x28\xb5\x2f", b"\x1f"])
def test_short_files_are_what_they_are(tmp_path: Path, content: bytes) -> None:
    assert read_bytes(written(tmp_path / "a", content)) == content


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("kept", [5, 1000, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, compression: str, kept: int) -> None:
    path = written(tmp_path / "a", COMPRESSIONS[compression](CONTENT)[:kept])
    with pytest.raises(CorpusError, match=rf"a: the file is truncated \({compression}\); fetch or copy it again"):
        read_bytes(path)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_damaged_file_is_refused(tmp_path: Path, compression: str) -> None:
    content = bytearray(COMPRESSIONS[compression](CONTENT))
    content[1000] ^= 1
    path = written(tmp_path / "a", content)
    with pytest.raises(CorpusError, match=rf"a: the file is damaged \({compression}: "):
        read_bytes(path)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_something_else_after_a_compressed_file_is_refused(tmp_path: Path, compression: str) -> None:
    path = written(tmp_path / "a", COMPRESSIONS[compression](b"text") + b"something else")
    with pytest.raises(CorpusError, match="damaged"):
        read_bytes(path)


def test_a_file_that_is_read_whole_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "_LARGEST", 1 << 20)
    path = written(tmp_path / "a", COMPRESSIONS["zstd"](bytes(1 << 20)))
    assert len(read_bytes(path)) == 1 << 20
    with pytest.raises(CorpusError, match="holds more than 1 MiB"):
        read_bytes(written(path, COMPRESSIONS["zstd"](bytes((1 << 20) + 1))))


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="gone: no such file; check the path in the recipe"):
        read_bytes(tmp_path / "gone")
    with pytest.raises(CorpusError, match=f"{tmp_path}: cannot be read: Is a directory"):
        read_bytes(tmp_path)
