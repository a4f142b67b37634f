"""Teacher distributions on disk: for every target token the k likeliest entries and the mass of all others.

What it owns: the store's format, reading it, and the refusal of a store that belongs to something else or was damaged.
What it must not know: recipes, fairseq, torch, how a store is written (`store_writer.py`).
Why numpy: readers memory-map it, several at once, from any process.

    STORE/
      header.json                vocabulary, corpus, teachers, rule, k, temperatures, counts, checksums by shard
      lengths.npy                uint16 [rows]      target tokens of each row, EOS included
      ids.npy                    uint16 [N, k]      (uint32 above 65,536 symbols), likeliest first
      log_probs.npy              float16 [N, k]     log-probabilities over the full softmax at T = 1
      log_tails.npy              float16 [N, temps] log sum_{j not in k} p_j^(1/T); at T = 1 the log of the tail mass
      reference_log_probs.npy    float16 [N]        log-probability of the reference token; for reports only

At k = 8 and one temperature a token costs 16 + 16 + 2 + 2 = 36 bytes, and a row 2 more.
Row i is sentence i of the binarised corpus, column t its target token t.
Several teachers are mixed after each was tempered, so that their store is of one T: its log_probs are T times the log
of the mixture, from which p^(1/T) is the mixture again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mtkd.distill.store_files import Layout, has_surplus, item_bytes, map_arrays, part_checksums
from mtkd.errors import StoreMismatch

FORMAT_VERSION = 2
HEADER = "header.json"
ARRAYS = ("lengths", "ids", "log_probs", "log_tails", "reference_log_probs")
NO_TAIL = -np.inf
"""log_tails of a store with k = V: there is nothing outside k."""


@dataclass(frozen=True)
class Shard:
    """What was committed at once: rows and tokens as [first, last), and the CRC-32 of its part of each array's file."""

    rows: list[int]
    tokens: list[int]
    checksums: dict[str, int]

    def part(self, name: str) -> tuple[int, int]:
        """The part of that array: rows of `lengths`, tokens of the others."""
        first, last = self.rows if name == "lengths" else self.tokens
        return first, last


@dataclass(frozen=True)
class StoreHeader:
    """What a store says of itself; everything but `shards` is known before the first row is written."""

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
    shards: list[Shard] = field(default_factory=list)
    """All rows in order; empty until the store is complete."""
    format_version: int = FORMAT_VERSION

    @property
    def normal_temperature(self) -> float:
        """The T at which p^(1/T) of a token sums to 1: 1, or the T at which several teachers were mixed."""
        return 1.0 if len(self.teachers) == 1 or 1.0 in self.temperatures else self.temperatures[0]

    def layout(self) -> dict[str, Layout]:
        """Type and shape of each array."""
        ids = np.dtype(np.uint16 if self.vocab_size <= 2**16 else np.uint32)
        float16 = np.dtype(np.float16)
        return {
            "lengths": (np.dtype(np.uint16), (self.rows,)),
            "ids": (ids, (self.tokens, self.top_k)),
            "log_probs": (float16, (self.tokens, self.top_k)),
            "log_tails": (float16, (self.tokens, len(self.temperatures))),
            "reference_log_probs": (float16, (self.tokens,)),
        }


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


def bytes_per_token(top_k: int, temperatures: int, vocab_size: int, tokens_per_row: float) -> float:
    """What a target token costs on disk, its share of the index included; `temperatures` is how many are captured."""
    header = StoreHeader("", "", vocab_size, "", {}, "", 1, 1, min(top_k, vocab_size), [1.0] * temperatures)
    sizes = {name: item_bytes(layout) for name, layout in header.layout().items()}
    return sum(sizes.values()) + sizes["lengths"] * (1 / tokens_per_row - 1)


class TopKStore:
    """A complete store, opened for reading; safe to share between threads and to open in many processes."""

    def __init__(self, path: Path, header: StoreHeader, arrays: dict[str, npt.NDArray[Any]]) -> None:
        self.path = path
        self.header = header
        self._arrays = arrays
        self.lengths: npt.NDArray[np.int64] = arrays["lengths"].astype(np.int64)
        """Target tokens of each row [rows]."""
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])

    @classmethod
    def open(cls, path: Path) -> TopKStore:
        """Open the store under `path` after reading every file through once, against the header's checksums.

        Raises:
            StoreMismatch: no store, another format, or files that are missing, cut short or altered, and where.
        """
        header = read_header(path)
        if (problem := next(find_damage(path, header), None)) is not None:
            raise StoreMismatch(f"{path}: {problem}; rerun step 'capture'")
        return cls(path, header, map_arrays(path, header.layout(), mode="r"))

    def require(self, *, vocabulary: str, targets: str, corpus: str, teachers: dict[str, str] | None = None) -> None:
        """Refuse this store unless it was made for exactly this vocabulary, corpus and (where given) teachers.

        Raises:
            StoreMismatch: naming what differs and which step to rerun.
        """
        made = self.header
        wrong = ""
        if made.vocabulary != vocabulary:
            wrong = f"vocabulary {made.vocabulary}, this run uses {vocabulary}"
        elif made.corpus != corpus:
            wrong = f"corpus {made.corpus}, this run uses {corpus}"
        elif made.targets != targets:
            wrong = f"target text {made.targets[:24]}, this run uses {targets[:24]}"
        elif teachers is not None and made.teachers != teachers:
            wrong = f"teacher {_unlike(made.teachers, teachers)}, this run uses {_unlike(teachers, made.teachers)}"
        if wrong:
            raise StoreMismatch(f"{self.path}: made for {wrong}; rerun step 'capture'")

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
        return self.rows(index, index + 1)

    def rows(self, first: int, last: int) -> TeacherRows:
        """The stored arrays of the sentences from `first` up to `last`, one after another."""
        span = slice(int(self._starts[first]), int(self._starts[last]))
        return TeacherRows(*(self._arrays[name][span] for name in TeacherRows._fields))

    def fetch(
        self, indices: Sequence[int], *, length: int, top_k: int, temperature: float, needs_tail: bool = True
    ) -> SoftRows:
        """Rows of these sentences padded to `length` tokens, folded to `top_k` entries.

        A smaller k folds the dropped entries into the tail: log m' = log(m + sum of dropped p^(1/T)), so that nothing
        is lost but detail. Padding is a uniform filler, finite and never looked at; so is the tail of a temperature
        that was not captured, which a loss that renormalises (`needs_tail` is False) can do without.

        Raises:
            StoreMismatch: a temperature that was not captured but has to be, or more entries than are stored.
        """
        # Several teachers were mixed at their T: no other one can be had from the mixture, whatever the tail.
        if needs_tail or len(self.header.teachers) > 1 or temperature in self.header.temperatures:
            column = self.tail_column(temperature)
        else:
            column = None
        if not 1 <= top_k <= self.header.top_k:
            raise StoreMismatch(
                f"{self.path}: holds k = {self.header.top_k}, asked for k = {top_k}; rerun step 'capture'"
            )
        rows = np.asarray(indices, dtype=np.int64)
        assert self.lengths[rows].max(initial=0) <= length, "a row is longer than its batch"
        mask_BT = np.arange(length) < self.lengths[rows, None]
        tokens_N = (self._starts[rows, None] + np.arange(length))[mask_BT]
        log_probs_NK = self._arrays["log_probs"][tokens_N]
        ids_BTK = np.broadcast_to(np.arange(top_k), (*mask_BT.shape, top_k)).copy()
        log_probs_BTK = np.full(ids_BTK.shape, -np.log(top_k + 1.0), dtype=np.float16)
        log_tail_BT = np.full(mask_BT.shape, -np.log(top_k + 1.0), dtype=np.float16)
        ids_BTK[mask_BT] = self._arrays["ids"][tokens_N, :top_k]
        log_probs_BTK[mask_BT] = log_probs_NK[:, :top_k]
        if column is not None:
            tail_N1 = self._arrays["log_tails"][tokens_N, column, None].astype(np.float32)
            dropped_NK = log_probs_NK[:, top_k:].astype(np.float32) / temperature
            log_tail_BT[mask_BT] = np.logaddexp.reduce(np.concatenate([tail_N1, dropped_NK], axis=1), axis=1)
        return SoftRows(ids_BTK, log_probs_BTK, log_tail_BT)


def read_header(path: Path) -> StoreHeader:
    """The header of the store under `path`; the arrays are not looked at.

    Raises:
        StoreMismatch: no store, another format, or a header that was altered.
    """
    try:
        raw = json.loads((path / HEADER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise StoreMismatch(f"{path}: no top-k store here; run step 'capture'") from None
    except ValueError as error:
        raise StoreMismatch(f"{path}: unreadable {HEADER} ({error}); rerun step 'capture'") from None
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if version != FORMAT_VERSION:
        raise StoreMismatch(
            f"{path}: store format {version!r}, this mtkd reads format {FORMAT_VERSION}; rerun step 'capture' with it"
        )
    if raw.pop("checksum", None) != content_checksum(raw):
        raise StoreMismatch(f"{path}: {HEADER} was altered; rerun step 'capture'")
    return StoreHeader(**raw | {"shards": [Shard(**shard) for shard in raw["shards"]]})


def content_checksum(content: dict[str, Any]) -> int:
    """CRC-32 of a JSON object's content, however it is laid out in its file."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def find_damage(path: Path, header: StoreHeader) -> Iterator[str]:
    """What of each file is not as it was written, and in which rows; nothing for a store that is whole."""
    for name, layout in header.layout().items():
        file = path / f"{name}.npy"
        if not file.is_file():
            yield f"{file.name} is missing"
            continue
        found = part_checksums(file, layout, (shard.part(name) for shard in header.shards))
        bad: list[list[int]] = []
        for shard, checksum in zip(header.shards, found, strict=True):
            if checksum == shard.checksums[name]:
                continue
            if bad and bad[-1][1] == shard.rows[0]:
                bad[-1][1] = shard.rows[1]
            else:
                bad.append(list(shard.rows))
        if bad:
            more = f" and {len(bad) - 5} more parts" if len(bad) > 5 else ""
            where = ", ".join(f"{first} to {last - 1}" for first, last in bad[:5])
            yield f"{file.name} was altered or cut short in rows {where}{more}"
        elif has_surplus(file, layout):
            yield f"{file.name} goes on after its last row"


def _unlike(teachers: dict[str, str], others: dict[str, str]) -> str:
    """The teachers that are not among the others, for a message."""
    return ",".join(f"{name}:{sha[:8]}" for name, sha in sorted(teachers.items()) if others.get(name) != sha) or "none"
