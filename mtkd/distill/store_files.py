"""The arrays of a store as .npy files: mapped into memory, and checksummed in parts.

What it owns: which bytes of a file belong to which rows or tokens. What it must not know: what the arrays mean.
Why CRC-32 in parts: a resumed writer and a person who looks for damage ask where; a file is still read only once.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mtkd.errors import StoreMismatch

Layout = tuple[np.dtype[Any], tuple[int, ...]]
"""Type and shape of an array; its items are what the first dimension counts."""
_CHUNK = 1 << 20


def part_checksums(file: Path, layout: Layout, parts: Iterable[tuple[int, int]]) -> Iterator[int]:
    """CRC-32 of each part, given as items [first, last); what precedes the data in the file belongs to item 0.

    The file is streamed; a part beyond its end has the checksum of what there is of it.
    """
    data, size = _data_begin(file), item_bytes(layout)
    with file.open("rb") as stream:
        for first, last in parts:
            begin = data + first * size if first else 0
            stream.seek(begin)
            left, checksum = data + last * size - begin, 0
            while left and (chunk := stream.read(min(left, _CHUNK))):
                checksum = zlib.crc32(chunk, checksum)
                left -= len(chunk)
            yield checksum


def item_bytes(layout: Layout) -> int:
    """Bytes of one item: of a row, or of all that is kept of a token."""
    dtype, shape = layout
    return dtype.itemsize * math.prod(shape[1:])


def has_surplus(file: Path, layout: Layout) -> bool:
    """Whether the file goes on after its last item."""
    return file.stat().st_size > _data_begin(file) + layout[1][0] * item_bytes(layout)


def map_arrays(folder: Path, layouts: Mapping[str, Layout], *, mode: Literal["r", "r+"]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a folder by name, memory-mapped.

    Raises:
        StoreMismatch: a file that is missing, is no array, or is of another type or shape.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, layout in layouts.items():
        file = folder / f"{name}.npy"
        try:
            arrays[name] = np.load(file, mmap_mode=mode, allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError) as error:
            raise StoreMismatch(f"{folder}: {file.name} cannot be read ({error}); rerun step 'capture'") from None
        if (arrays[name].dtype, arrays[name].shape) != layout:
            raise StoreMismatch(f"{folder}: {file.name} does not have the header's counts; rerun step 'capture'")
    return arrays


def _data_begin(file: Path) -> int:
    """Where the data of a .npy file begins: after 8 bytes of magic, a length in 2, and a text of that length."""
    with file.open("rb") as stream:
        return 10 + int.from_bytes(stream.read(10)[8:], "little")
