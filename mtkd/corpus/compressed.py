"""The bytes of a file, however it is compressed.

What it owns: telling gzip and zstd by their first bytes (never by the name), and what is said of a damaged file.
What it must not know: text, encodings, formats.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from mtkd.errors import CorpusError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK = 1 << 20
_LARGEST = 1 << 28
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# Four bytes of zstd can stand for 128 KiB, and what one call decompresses is not bounded by the library: by feeding
# it little at a time, what a hostile file can fill is.
_ZSTD_FEED = 1 << 10


@contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file for reading what is in it: as it is, or decompressed as a stream.

    Raises:
        CorpusError: while reading: the file is missing, unreadable, truncated or damaged.
    """
    with closing(_blocks(path)) as blocks, io.BufferedReader(_Blocks(blocks), _BLOCK) as file:
        yield cast("io.BufferedReader", file)


def read_bytes(path: Path) -> bytes:
    """All that is in a file, decompressed, for formats that are read whole.

    Raises:
        CorpusError: the file is missing, unreadable, truncated or damaged, or it holds more than 256 MiB.
    """
    with open_bytes(path) as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise CorpusError(f"{path}: holds more than {_LARGEST >> 20} MiB, too much for a file that is read whole")
    return content


class _Blocks(io.RawIOBase):
    """A stream of blocks of bytes as a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._block = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if not self._block:
            self._block = memoryview(next(self._blocks, b""))
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._block))
        view[:size] = self._block[:size]
        self._block = self._block[size:]
        return size


def _blocks(path: Path) -> Generator[bytes]:
    """The content of a file, in blocks that are never empty."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_ZSTD))
            file.seek(0)
            if magic.startswith(_GZIP):
                yield from _gzip_blocks(path, file)
            elif magic == _ZSTD:
                yield from _zstd_blocks(path, file)
            else:
                yield from iter(lambda: file.read(_BLOCK), b"")
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file; check the path in the recipe") from None
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}") from None


def _gzip_blocks(path: Path, file: BinaryIO) -> Iterator[bytes]:
    unpacked = gzip.GzipFile(fileobj=file)
    try:
        yield from iter(lambda: unpacked.read(_BLOCK), b"")
    except EOFError:
        raise _truncated(path, "gzip") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, "gzip", error) from None


def _zstd_blocks(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Of one frame after the other. (The library's own stream reader ends in silence where a frame is truncated.)"""
    from zstandard import ZstdDecompressor, ZstdError  # noqa: PLC0415 - most files do not need it

    frame = ZstdDecompressor().decompressobj()
    try:
        while feed := file.read(_ZSTD_FEED):
            while feed:
                if frame.eof:
                    frame = ZstdDecompressor().decompressobj()
                if block := frame.decompress(feed):
                    yield block
                feed = frame.unused_data
    except ZstdError as error:
        raise _damaged(path, "zstd", error) from None
    if not frame.eof:
        raise _truncated(path, "zstd")


def _truncated(path: Path, method: str) -> CorpusError:
    return CorpusError(f"{path}: the file is truncated ({method}); fetch or copy it again")


def _damaged(path: Path, method: str, error: Exception) -> CorpusError:
    return CorpusError(f"{path}: the file is damaged ({method}: {error}); fetch or copy it again")
