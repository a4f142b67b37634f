"""The files in a Debian package, without dpkg.

What it owns: the layout of a .deb (deb(5)): an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*`.
What it must not know: what tar is, which members are wanted, what may be trusted.
Why not `dpkg-deb`: packages are then read alike where there is no Debian, and the sizes in the archive are checked
before anything is decompressed.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from mtkd.errors import CorpusError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAGIC = b"!<arch>\n"
_HEADER_BYTES, _HEADER_END = 60, b"`\n"
_BLOCK = 1 << 20


def data_tar(archive: Path, file: BinaryIO) -> BinaryIO:
    """The package's files as a stream of tar, decompressed.

    Raises:
        EOFError, ValueError: the archive is cut short or damaged.
        CorpusError: it is compressed in a way that is not known.
    """
    total, start = os.fstat(file.fileno()).st_size, len(MAGIC)
    while start < total:
        file.seek(start)
        header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.endswith(_HEADER_END):
            raise EOFError("a header is cut short or damaged")
        name = header[:16].decode("ascii", "replace").rstrip(" /")
        size, start = int(header[48:58]), start + _HEADER_BYTES
        if size < 0 or start + size > total:
            raise EOFError(f"{name} ends after the file's end")
        if name.startswith("data.tar"):
            return _decompressed(archive, name, io.BufferedReader(_Section(file, start, size), _BLOCK))
        start += size + size % 2
    raise EOFError("no data.tar in it")


def _decompressed(archive: Path, name: str, packed: io.BufferedReader) -> BinaryIO:
    if name == "data.tar":
        return packed
    if name == "data.tar.gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=packed))
    if name == "data.tar.xz":
        return cast("BinaryIO", lzma.LZMAFile(packed))
    if name == "data.tar.zst":
        from zstandard import ZstdDecompressor  # noqa: PLC0415 - most packages do not need it

        return cast("BinaryIO", ZstdDecompressor().stream_reader(packed, read_across_frames=True))
    raise CorpusError(f"{archive}: {name!r} is compressed in a way that is not known; gz, xz and zst are")


class _Section(io.RawIOBase):
    """`size` bytes of a file from `start` on, as a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._left = file, size
        file.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        block = self._file.read(min(len(view), self._left))
        self._left -= len(block)
        view[: len(block)] = block
        return len(block)
