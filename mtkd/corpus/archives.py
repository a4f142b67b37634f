"""Members of package archives, read as streams and never trusted.

What it owns: what an archive looks like inside (.deb, wheel or other .zip, .tar.gz), and what is refused.
What it must not know: where archives come from, recipes, what is in the text.
Why own code around the standard library's: an archive is a stranger's file. Its names may point anywhere, its sizes
may lie, and `tarfile` takes a damaged header for a regular end.
"""

from __future__ import annotations

import gzip
import io
import logging
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple, Self, cast

from mtkd.corpus import deb
from mtkd.errors import CorpusError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

logger = logging.getLogger(__name__)

MAX_MEMBER_BYTES = 8 << 30
"""No member may unpack to more: one side of the largest parallel texts that are shared as one file is a few GB."""
MAX_RATIO = 200
"""No archive may unpack to more than so many times its size. Real packages of text reach 35 (a manual in HTML);
bombs start at the 1,000 that deflate allows."""
RATIO_FREE_BYTES = 64 << 20
"""Up to here any ratio is taken: a small archive may well be nearly all repetition, and can do no harm."""
_MAX_HEADER_BYTES = 1 << 20  # long names and pax headers, which tarfile reads into memory whole
_BLOCK = 1 << 20
_FILE, _LINK, _SPECIAL = "file", "link", "device or other special file"


class Member(NamedTuple):
    """A regular file in an archive; `file` can be read until the next member is asked for."""

    name: str
    file: BinaryIO


class _Entry(NamedTuple):
    name: str
    kind: str
    open: Callable[[], IO[bytes] | None]


def members(archive: Path) -> Iterator[Member]:
    """Stream the regular files of an archive, in its order; names have no leading `./`.

    Raises:
        CorpusError: it is no archive, is truncated or damaged, unpacks to too much, or a name leads out of it; also
            while a member's file is read.
    """
    for entry in _entries(archive):
        if entry.kind == _FILE:
            with _opened(archive, entry) as file:
                yield Member(entry.name, file)


def extract(archive: Path, patterns: list[re.Pattern[str]], out: Path) -> list[str]:
    """Write the members whose whole names fit a pattern to `out`/<name>; returns these names, in the archive's order.

    Links that fit are left out, and how many is logged: in real packages a page that was not translated is a link to
    the untranslated one.

    Raises:
        CorpusError: what `members` raises; or a device fits, or a name that cannot be written.
    """
    written: dict[str, None] = {}
    links = 0
    for entry in _entries(archive):
        if not any(pattern.fullmatch(entry.name) for pattern in patterns):
            continue
        if entry.kind == _LINK:
            links += 1
            continue
        if entry.kind != _FILE:
            raise _refused(archive, entry.name, f"is a {entry.kind}, not a file")
        if "\\" in entry.name or not entry.name.isprintable():
            raise _refused(archive, entry.name, "has a backslash or characters that cannot be shown in its name")
        with _opened(archive, entry) as file:
            _write(archive, entry.name, file, out)
        written[entry.name] = None
    if links:
        logger.info("archive=%s links_left_out=%d", archive.name, links)
    return list(written)


def _opened(archive: Path, entry: _Entry) -> io.BufferedReader:
    return io.BufferedReader(_MemberFile(archive, entry), _BLOCK)


def _write(archive: Path, name: str, file: BinaryIO, out: Path) -> None:
    path, beside = out / name, out / ".unpacking.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as copy:
            shutil.copyfileobj(file, copy, _BLOCK)
        beside.replace(path)
    except OSError as error:
        raise _refused(archive, name, f"cannot be unpacked: {error.strerror}") from None


def _entries(archive: Path) -> Iterator[_Entry]:
    """Everything in an archive but its folders, with names that do not lead out of it."""
    with _reported(archive), archive.open("rb") as file:
        magic = file.read(len(deb.MAGIC))
        file.seek(0)
        meter = _Meter(archive)
        if magic == deb.MAGIC:
            entries = _tar_entries(archive, deb.data_tar(archive, file), meter)
        elif magic.startswith(b"\x1f\x8b"):
            entries = _tar_entries(archive, cast("BinaryIO", gzip.GzipFile(fileobj=file)), meter)
        elif magic.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            entries = _zip_entries(file, meter)
        else:
            raise CorpusError(f"{archive}: no archive that can be read (.deb, wheel or .zip, .tar.gz); fetch it again")
        for entry in entries:
            yield entry._replace(name=_inner_name(archive, entry.name))


def _tar_entries(archive: Path, unpacked: BinaryIO, meter: _Meter) -> Iterator[_Entry]:
    stream = io.BufferedReader(_Metered(unpacked, meter), _BLOCK)
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictInfo) as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined] # it would keep every header there is
            if info.size < 0:
                raise tarfile.ReadError("negative size")
            if info.isdir():
                continue
            kind = _LINK if info.issym() or info.islnk() else _FILE if info.isreg() else _SPECIAL
            # A sparse file's holes are in no count of what was unpacked.
            kind = _SPECIAL if info.issparse() else kind
            yield _Entry(info.name, kind, lambda member=info: tar.extractfile(member))  # type: ignore[misc]
    while stream.read(_BLOCK):  # up to the checksum, which comes last
        pass


def _zip_entries(file: BinaryIO, meter: _Meter) -> Iterator[_Entry]:
    with zipfile.ZipFile(file) as opened:
        for info in opened.infolist():
            if info.is_dir():
                continue
            mode = info.external_attr >> 16
            ordinary = stat.S_IFMT(mode) in (0, stat.S_IFREG)
            kind = _FILE if ordinary else _LINK if stat.S_ISLNK(mode) else _SPECIAL
            yield _Entry(
                info.filename,
                kind,
                lambda member=info: io.BufferedReader(_Metered(opened.open(member), meter), _BLOCK),  # type: ignore[misc]
            )


class _StrictInfo(tarfile.TarInfo):
    """A header that is damaged or cut short is an error, not the end, and a name is no gigabyte."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) == tarfile.BLOCKSIZE and not any(buf):
            return super().frombuf(buf, encoding, errors)  # raises what tarfile takes for the regular end
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
        if not 0 <= info.size <= _MAX_HEADER_BYTES and info.type in b"LKxgX":
            raise tarfile.ReadError("a header of a strange size")
        return info


class _Meter:
    """Counts what comes out of an archive, and stops a bomb."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._left = max(RATIO_FREE_BYTES, MAX_RATIO * archive.stat().st_size)

    def count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise CorpusError(
                f"{self._archive}: unpacks to over {MAX_RATIO} times its size, as no text does; it is not used"
            )


class _Metered(io.RawIOBase):
    """A stream of which every byte is counted."""

    def __init__(self, stream: IO[bytes], meter: _Meter) -> None:
        self._stream, self._meter = stream, meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        block = self._stream.read(len(view))
        view[: len(block)] = block
        self._meter.count(len(block))
        return len(block)


class _MemberFile(io.RawIOBase):
    """A member's content; what is wrong with it is said in one line that names it."""

    def __init__(self, archive: Path, entry: _Entry) -> None:
        self._archive, self._name, self._size = archive, entry.name, 0
        with _reported(archive, entry.name):
            self._file = entry.open()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        assert self._file is not None, "only regular files are opened"
        with _reported(self._archive, self._name):
            block = self._file.read(len(view))
        self._size += len(block)
        if self._size > MAX_MEMBER_BYTES:
            raise _refused(self._archive, self._name, f"unpacks to more than {MAX_MEMBER_BYTES >> 20} MiB; not used")
        view[: len(block)] = block
        return len(block)


@contextmanager
def _reported(archive: Path, name: str = "") -> Iterator[None]:
    """Turn what the standard library raises for a bad archive into one clear line."""
    where = f"{archive}: {name!r}" if name else f"{archive}"
    try:
        yield
    except FileNotFoundError:
        raise CorpusError(f"{where}: no such file") from None
    except _broken() as error:
        raise CorpusError(f"{where}: truncated or damaged ({error}); delete it, and it is fetched again") from None
    except OSError as error:
        raise CorpusError(f"{where}: cannot be read: {error.strerror}") from None


def _broken() -> tuple[type[Exception], ...]:
    """What a bad archive can raise; RuntimeError where a zip is encrypted or its compression is not known."""
    from zstandard import ZstdError  # noqa: PLC0415 - only once something is wrong

    library = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, gzip.BadGzipFile, ZstdError)
    return *library, EOFError, struct.error, ValueError, OverflowError, RuntimeError


def _inner_name(archive: Path, name: str) -> str:
    parts = re.split(r"[/\\]", name)
    if ".." in parts or name.startswith(("/", "\\")) or "\0" in name:
        raise _refused(archive, name, "leads out of the archive's folder; nothing of this archive is used")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _refused(archive: Path, name: str, why: str) -> CorpusError:
    return CorpusError(f"{archive}: {name!r} {why}")
