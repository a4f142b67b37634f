"""Writes a store: shard by shard beside its place, so that a killed writer continues and no reader sees half a store.

What it owns: the partial folder, its journal, and what a resumed writer believes of what it finds there.
What it must not know: what is written (`teacher.py`), how it is read (`topk.py`).

    STORE.partial/
      *.npy             the store's arrays at their final size, filled from the front
      progress.jsonl    the header, then a line a committed shard: its rows, its tokens, its checksums

Why a journal with checksums: a shard counts once its line is on disk, and its line is written once its data is. A
writer that resumes trusts no shard that it did not write itself: it goes on from the first one that is not as recorded.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from mtkd.distill.store_files import map_arrays, part_checksums
from mtkd.distill.topk import HEADER, Shard, StoreHeader, TeacherRows, TopKStore, content_checksum
from mtkd.errors import StoreMismatch

logger = logging.getLogger(__name__)

JOURNAL = "progress.jsonl"


class StoreWriter:
    """Writes a store in dataset order; a killed writer continues after its last committed rows.

    Rows that are appended in the same portions give the same files, byte by byte, however often the writer was killed.
    """

    def __init__(self, path: Path, header: StoreHeader, lengths: Sequence[int]) -> None:
        """Start or continue the store at `path` for rows of `lengths` target tokens.

        A complete store of the very same header is kept as it is; any other one is removed.

        Raises:
            StoreMismatch: a row longer than the index can say.
        """
        if max(lengths) > np.iinfo(np.uint16).max:
            raise StoreMismatch(f"{path}: a target of {max(lengths)} tokens is too long for a store; filter it")
        assert header.rows == len(lengths)
        assert header.tokens == sum(lengths)
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._journal = self._partial / JOURNAL
        self._header = replace(header, shards=[])
        self._layout = header.layout()
        self._starts = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))])
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._shards = self._sealed_shards()
        if not self._shards:
            self._shards = self._resumed_shards(lengths)
            if not self._shards:
                self._begin(lengths)
            _write_durably(self._journal, _line(self._header) + "".join(map(_line, self._shards)))
            self._arrays = map_arrays(self._partial, self._layout, mode="r+")

    @property
    def rows_done(self) -> int:
        """Rows that are committed; the next ones to append begin there."""
        return self._shards[-1].rows[1] if self._shards else 0

    def append(self, rows: int, stored: TeacherRows) -> None:
        """Write and commit the next `rows` sentences; `stored` holds all their tokens in order."""
        first, last = self.rows_done, self.rows_done + rows
        tokens = [int(self._starts[first]), int(self._starts[last])]
        assert len(stored.ids) == tokens[1] - tokens[0], "tokens do not match the rows' lengths"
        for name, values in stored._asdict().items():
            self._arrays[name][slice(*tokens)] = values
            self._arrays[name].flush()  # type: ignore[attr-defined]
        shard = self._checked(Shard([first, last], tokens, {}))
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(_line(shard))
            _sync(file)
        self._shards.append(shard)

    def finish(self) -> TopKStore:
        """Seal the store with its checksums and move it to its place."""
        assert self.rows_done == self._header.rows, "rows are missing"
        if self._arrays:
            self._arrays.clear()
            write_header(self._partial, replace(self._header, shards=self._shards))
            self._partial.rename(self._path)
            _sync_folder(self._path.parent)
        (self._path / JOURNAL).unlink(missing_ok=True)
        return TopKStore.open(self._path)

    def _sealed_shards(self) -> list[Shard]:
        """The shards of a complete store of this header at the place; whatever else is there is removed."""
        if not self._path.exists():
            return []
        try:
            found = TopKStore.open(self._path).header
            if replace(found, shards=[]) == self._header:
                return found.shards
            logger.warning("store=%s is of something else: made anew", self._path)
        except StoreMismatch as error:
            logger.warning("store=%s is made anew: %s", self._path, error)
        # Renamed first: whoever opens it now finds all of it or nothing.
        removed = self._path.with_name(self._path.name + ".removed")
        shutil.rmtree(removed, ignore_errors=True)
        self._path.rename(removed)
        shutil.rmtree(removed)
        return []

    def _resumed_shards(self, lengths: Sequence[int]) -> list[Shard]:
        """What an earlier, killed writer of the very same store had committed, up to the first damaged shard."""
        header, *recorded = _read_lines(self._journal) or [{}]
        if header != asdict(self._header):
            return []
        try:
            # Files that are cut short are stretched again, with zeros that do not match their checksums.
            arrays = map_arrays(self._partial, self._layout, mode="r+")
        except StoreMismatch:
            return []
        if not np.array_equal(arrays["lengths"], lengths):
            return []
        intact: list[Shard] = []
        for line in recorded:
            shard = Shard(**line)
            first = intact[-1].rows[1] if intact else 0
            tokens = [int(self._starts[first]), int(self._starts[shard.rows[1]])]
            if shard != self._checked(Shard([first, shard.rows[1]], tokens, {})):
                logger.warning("store=%s row=%d damaged since it was written: continuing from there", self._path, first)
                break
            intact.append(shard)
        return intact

    def _checked(self, shard: Shard) -> Shard:
        """The shard with the checksums of what is on disk."""
        files = {name: self._partial / f"{name}.npy" for name in self._layout}
        found = {name: next(part_checksums(files[name], self._layout[name], [shard.part(name)])) for name in files}
        return replace(shard, checksums=found)

    def _begin(self, lengths: Sequence[int]) -> None:
        if self._partial.exists():
            shutil.rmtree(self._partial)
        self._partial.mkdir(parents=True)
        for name, (dtype, shape) in self._layout.items():
            file = self._partial / f"{name}.npy"
            array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
            # Reserve the blocks now: a full disk must be an OSError here, not a SIGBUS on a mapped page later.
            with file.open("r+b") as opened:
                os.posix_fallocate(opened.fileno(), 0, os.fstat(opened.fileno()).st_size)
            if name == "lengths":
                array[:] = lengths
                array.flush()


def write_header(folder: Path, header: StoreHeader) -> None:
    """Write `header.json` with its own checksum, a line a key."""
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in _checksummed(header).items())
    _write_durably(folder / HEADER, "{\n" + ",\n".join(lines) + "\n}")


def _checksummed(entry: StoreHeader | Shard) -> dict[str, Any]:
    content = asdict(entry)
    return content | {"checksum": content_checksum(content)}


def _line(entry: StoreHeader | Shard) -> str:
    return json.dumps(_checksummed(entry)) + "\n"


def _read_lines(journal: Path) -> list[dict[str, Any]]:
    """The entries of a journal, up to the first line that is not as it was written."""
    entries: list[dict[str, Any]] = []
    try:
        for line in journal.read_bytes().splitlines():
            content = json.loads(line)
            if content.pop("checksum") != content_checksum(content):
                break
            entries.append(content)
    except (FileNotFoundError, ValueError, LookupError, AttributeError):
        pass  # no journal, or a line that is cut short
    return entries


def _write_durably(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".tmp")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        _sync(file)
    beside.replace(path)


def _sync(file: TextIO) -> None:
    """Have the disk hold what was written: only then may anything that relies on it be written."""
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """The same for a rename."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
