r"""Lines in and lines out: the one place that knows what a line of text is.

What it owns: UTF-8, `\n` (or `\r\n`) as the only line end, a byte order mark, files written beside and renamed.
What it must not know: columns, languages, recipes.
Why: U+2028, U+0085 or a lone `\r` inside a sentence are text. Whoever splits there (`str.splitlines`, text mode's
universal newlines) shifts one side of a parallel corpus against the other, in silence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from mtkd.corpus.compressed import open_bytes
from mtkd.errors import CorpusError

_BLOCK = 1 << 20
_LONGEST = 1 << 24
"""Bytes of a line at which a file, or what is compressed in it, is not taken for text."""


def read_lines(path: Path) -> Iterator[str]:
    """Stream the lines of a file, plain or compressed, without their ends.

    Raises:
        CorpusError: the file is missing, unreadable, empty, truncated, or not UTF-8 (with line and byte).
    """
    number = 0
    with open_bytes(path) as file:
        for number, raw in enumerate(iter(partial(file.readline, _LONGEST), b""), 1):
            if len(raw) == _LONGEST:
                raise CorpusError(f"{path}: line {number}: longer than {_LONGEST >> 20} MiB; this is not a text file")
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise CorpusError(
                    f"{path}: line {number}: not UTF-8 (byte {error.start + 1} of the line is "
                    f"0x{raw[error.start]:02x}); convert the file to UTF-8"
                ) from None
            if number == 1:
                line = line.removeprefix("\ufeff")
            yield line.removesuffix("\n").removesuffix("\r")
    if number == 0:
        raise CorpusError(f"{path}: the file is empty")


def count_lines(path: Path) -> int:
    """Number of lines, a last one without its end included; nothing is decoded.

    Raises:
        CorpusError: the file is missing, unreadable or truncated.
    """
    ends, last = 0, b"\n"
    with open_bytes(path) as file:
        while block := file.read(_BLOCK):
            ends += block.count(b"\n")
            last = block[-1:]
    return ends + (last != b"\n")


@contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """Open a text file for writing that appears under its name only once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    with beside.open("w", encoding="utf-8", newline="\n") as file:
        yield file
    beside.replace(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole binary file, beside first and then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    beside.write_bytes(content)
    beside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON."""
    with writing(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
