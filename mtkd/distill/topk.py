"""Teacher distributions on disk: for every target token the k likeliest entries and the mass of all others.

What it owns: the store's files, their header, and the refusal of a store that belongs to something else.
What it must not know: recipes, fairseq, torch. Why numpy: readers memory-map it, several at once, from any process.

    STORE/
      header.json                vocabulary, corpus, teachers, rule, k, temperatures, counts, checksums
      lengths.npy                uint16 [rows]      target tokens of each row, EOS included
      ids.npy                    uint16 [N, k]      (uint32 above 65,536 symbols), likeliest first
      log_probs.npy              float16 [N, k]     log-probabilities over the full softmax at T = 1
      log_tails.npy              float16 [N, temps] log sum_{j not in k} p_j^(1/T); at T = 1 the log of the tail mass
      reference_log_probs.npy    float16 [N]        log-probability of the reference token; for reports only

At k = 8 and one temperature a token costs 16 + 16 + 2 + 2 = 36 bytes, and a row 2 more.
Row i is sentence i of the binarised corpus, column t its target token t.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mtkd.errors import StoreMismatch

FORMAT_VERSION = 1
HEADER = "header.json"
ARRAYS = ("lengths", "ids", "log_probs", "log_tails", "reference_log_probs")
NO_TAIL = -np.inf
"""log_tails of a store with k = V: there is nothing outside k."""


@dataclass(frozen=True)
class StoreHeader:
    """What a store says of itself; everything but `checksums` is known before the first row is written."""

    corpus: str
    vocabulary: str
    vocab_size: int
    targets: str
    """Checksum of the binarised targets, see `targets_checksum`."""
    teachers: dict[str, str]
    """Teacher name -> SHA-256 of its checkpoint file."""
    rule: str
    rows: int
    tokens: int
    top_k: int
    temperatures: list[float]
    checksums: dict[str, int] = field(default_factory=dict)
    """Array name -> CRC-32 of its file."""
    format_version: int = FORMAT_VERSION


class TeacherRows(NamedTuple):
    """Soft targets of N consecutive tokens, as they are stored."""

    ids: npt.NDArray[np.integer[Any]]
    log_probs: npt.NDArray[np.float16]
    log_tails: npt.NDArray[np.float16]
    reference_log_probs: npt.NDArray[np.float16]


class SoftRows(NamedTuple):
    """Rows fetched for a batch, padded on the right: ids [B, T, K], log-probs [B, T, K], log-tails [B, T]."""

    ids_BTK: npt.NDArray[np.int64]
    log_probs_BTK: npt.NDArray[np.float16]
    log_tail_BT: npt.NDArray[np.float16]


def targets_checksum(rows: Iterable[npt.ArrayLike]) -> str:
    """SHA-256 (hex) over all target rows in order, lengths included."""
    digest = hashlib.sha256()
    for row in rows:
        ids = np.asarray(row, dtype="<i4")
        digest.update(np.int64(ids.size).tobytes())
        digest.update(ids.tobytes())
    return digest.hexdigest()


class TopKStore:
    """A complete store, opened for reading; safe to share between threads and to open in many processes."""

    def __init__(self, path: Path, header: StoreHeader, arrays: dict[str, npt.NDArray[Any]]) -> None:
        self.path = path
        self.header = header
        self._arrays = arrays
        lengths = arrays["lengths"].astype(np.int64)
        self._starts = np.concatenate([[0], np.cumsum(lengths)])

    @classmethod
    def open(cls, path: Path) -> TopKStore:
        """Open the store under `path` after checking every file against the header's checksums.

        Raises:
            StoreMismatch: no store, another format, or files that are missing, truncated or altered.
        """
        try:
            raw = json.loads((path / HEADER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StoreMismatch(f"{path}: no top-k store here; run step 'capture'") from None
        except ValueError as error:
            raise StoreMismatch(f"{path}: unreadable header ({error}); rerun step 'capture'") from None
        if raw.get("format_version") != FORMAT_VERSION:
            raise StoreMismatch(f"{path}: store format {raw.get('format_version')!r}; rerun step 'capture'")
        header = StoreHeader(**raw)
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name in ARRAYS:
            file = path / f"{name}.npy"
            if not file.is_file():
                raise StoreMismatch(f"{path}: {file.name} is missing; rerun step 'capture'")
            if _crc32(file) != header.checksums.get(name):
                raise StoreMismatch(f"{path}: {file.name} was altered or cut short; rerun step 'capture'")
            arrays[name] = np.load(file, mmap_mode="r", allow_pickle=False)
        return cls(path, header, arrays)

    def require(self, *, vocabulary: str, targets: str, corpus: str, teachers: dict[str, str] | None = None) -> None:
        """Refuse this store unless it was made for exactly this vocabulary, corpus and (where given) teachers.

        Raises:
            StoreMismatch: naming what differs and which step to rerun.
        """
        made = self.header
        wanted = [
            ("vocabulary", made.vocabulary, vocabulary),
            ("corpus", made.corpus, corpus),
            ("target text", made.targets, targets),
        ]
        if teachers is not None:
            wanted.append(("teacher", _brief(made.teachers), _brief(teachers)))
        for what, has, needs in wanted:
            if has != needs:
                raise StoreMismatch(
                    f"{self.path}: made for {what} {has[:24]}, this run uses {needs[:24]}; rerun step 'capture'"
                )

    def tail_column(self, temperature: float) -> int:
        """Column of `log_tails` that holds this temperature.

        Raises:
            StoreMismatch: the temperature was not captured; it cannot be had from rows at T = 1.
        """
        for column, captured in enumerate(self.header.temperatures):
            if abs(captured - temperature) < 1e-6:
                return column
        captured_list = ", ".join(f"{value:g}" for value in self.header.temperatures)
        raise StoreMismatch(
            f"{self.path}: captured at T = {captured_list}, asked for T = {temperature:g}; rerun step 'capture'"
        )

    def row(self, index: int) -> TeacherRows:
        """The stored arrays of sentence `index`, all k entries."""
        span = slice(int(self._starts[index]), int(self._starts[index + 1]))
        return TeacherRows(
            self._arrays["ids"][span],
            self._arrays["log_probs"][span],
            self._arrays["log_tails"][span],
            self._arrays["reference_log_probs"][span],
        )

    def fetch(self, indices: Sequence[int], *, length: int, top_k: int, temperature: float) -> SoftRows:
        """Rows of these sentences padded to `length` tokens, folded to `top_k` entries.

        A smaller k folds the dropped entries into the tail: log m' = log(m + sum of dropped p^(1/T)), so that nothing
        is lost but detail. Padding is a uniform filler, finite and never looked at.
        """
        column = self.tail_column(temperature)
        if not 1 <= top_k <= self.header.top_k:
            raise StoreMismatch(
                f"{self.path}: holds k = {self.header.top_k}, asked for k = {top_k}; rerun step 'capture'"
            )
        shape = (len(indices), length)
        ids = np.zeros((*shape, top_k), dtype=np.int64)
        ids[:] = np.arange(top_k)
        log_probs = np.full((*shape, top_k), -np.log(top_k + 1.0), dtype=np.float16)
        log_tail = np.full(shape, -np.log(top_k + 1.0), dtype=np.float16)
        for place, index in enumerate(indices):
            stored = self.row(index)
            tokens = len(stored.ids)
            assert tokens <= length, f"row {index} has {tokens} tokens, the batch only {length}"
            ids[place, :tokens] = stored.ids[:, :top_k]
            log_probs[place, :tokens] = stored.log_probs[:, :top_k]
            tail = stored.log_tails[:, column]
            if top_k < self.header.top_k:
                dropped = stored.log_probs[:, top_k:].astype(np.float32) / temperature
                tail = np.logaddexp(tail.astype(np.float32), np.logaddexp.reduce(dropped, axis=-1))
            log_tail[place, :tokens] = tail
        return SoftRows(ids, log_probs, log_tail)


class StoreWriter:
    """Writes a store in dataset order, beside its place; a killed writer continues after its last committed rows."""

    def __init__(self, path: Path, header: StoreHeader, lengths: Sequence[int]) -> None:
        """Start or continue the store at `path` for rows of `lengths` target tokens.

        Raises:
            StoreMismatch: a row longer than the index can say.
        """
        if max(lengths) > np.iinfo(np.uint16).max:
            raise StoreMismatch(f"{path}: a target of {max(lengths)} tokens is too long for a store; filter it")
        assert header.rows == len(lengths)
        assert header.tokens == sum(lengths)
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._header = header
        self._starts = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))])
        self.rows_done = self._committed_rows()
        if self.rows_done == 0:
            self._begin(lengths)
        self._arrays = {name: np.lib.format.open_memmap(self._partial / f"{name}.npy", mode="r+") for name in ARRAYS}

    def append(self, rows: int, stored: TeacherRows) -> None:
        """Write and commit the next `rows` sentences; `stored` holds all their tokens in order."""
        first, last = self.rows_done, self.rows_done + rows
        span = slice(int(self._starts[first]), int(self._starts[last]))
        assert len(stored.ids) == span.stop - span.start, "tokens do not match the rows' lengths"
        for name, values in stored._asdict().items():
            self._arrays[name][span] = values
            self._arrays[name].flush()
        self.rows_done = last
        _write_json(self._partial / "progress.json", {"rows": last, "header": asdict(self._header)})

    def finish(self) -> TopKStore:
        """Seal the store (checksums, header) and move it to its place."""
        assert self.rows_done == self._header.rows, "rows are missing"
        self._arrays.clear()
        checksums = {name: _crc32(self._partial / f"{name}.npy") for name in ARRAYS}
        _write_json(self._partial / HEADER, asdict(replace(self._header, checksums=checksums)))
        (self._partial / "progress.json").unlink()
        if self._path.exists():
            shutil.rmtree(self._path)
        self._partial.rename(self._path)
        return TopKStore.open(self._path)

    def _committed_rows(self) -> int:
        """Rows that an earlier, killed writer of the very same store had committed."""
        try:
            progress = json.loads((self._partial / "progress.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return 0
        return int(progress["rows"]) if progress.get("header") == asdict(self._header) else 0

    def _begin(self, lengths: Sequence[int]) -> None:
        if self._partial.exists():
            shutil.rmtree(self._partial)
        self._partial.mkdir(parents=True)
        tokens, k = self._header.tokens, self._header.top_k
        id_type = np.uint16 if self._header.vocab_size <= 2**16 else np.uint32
        layout: dict[str, tuple[Any, tuple[int, ...]]] = {
            "lengths": (np.uint16, (len(lengths),)),
            "ids": (id_type, (tokens, k)),
            "log_probs": (np.float16, (tokens, k)),
            "log_tails": (np.float16, (tokens, len(self._header.temperatures))),
            "reference_log_probs": (np.float16, (tokens,)),
        }
        for name, (dtype, shape) in layout.items():
            array = np.lib.format.open_memmap(self._partial / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
            # Reserve the blocks now: a full disk must be an OSError here, not a SIGBUS on a mapped page later.
            with (self._partial / f"{name}.npy").open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
            if name == "lengths":
                array[:] = lengths
                array.flush()


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return value


def _write_json(path: Path, content: dict[str, Any]) -> None:
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    beside.replace(path)


def _brief(teachers: dict[str, str]) -> str:
    return ",".join(f"{name}:{digest[:8]}" for name, digest in sorted(teachers.items()))
