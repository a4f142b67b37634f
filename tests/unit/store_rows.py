"""Small stores for the tests: dense distributions, reduced to k entries by a plain float64 computation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtkd.distill.store_files import part_checksums
from mtkd.distill.store_writer import StoreWriter, write_header
from mtkd.distill.topk import Shard, StoreHeader, TeacherRows, TopKStore

LENGTHS = [3, 1, 4, 2]
V, K = 40, 8
TEMPERATURES = [1.0, 2.0, 0.5]


def header(lengths: Sequence[int] = LENGTHS, **changes: object) -> StoreHeader:
    base = StoreHeader(
        corpus="office",
        vocabulary="abcd",
        vocab_size=V,
        targets="t" * 64,
        teachers={"office": "d" * 64},
        rule="in_domain",
        rows=len(lengths),
        tokens=sum(lengths),
        top_k=K,
        temperatures=TEMPERATURES,
    )
    return replace(base, **changes)


def dense(tokens: int = sum(LENGTHS), seed: int = 0) -> np.ndarray:
    """Log-probabilities of every token over the vocabulary [N, V]."""
    logits = 2 * np.random.default_rng(seed).normal(size=(tokens, V))
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def reduced(log_p: np.ndarray, k: int = K, temperatures: Sequence[float] = TEMPERATURES) -> TeacherRows:
    """What a store of k entries keeps of log-probabilities [N, V]; the likeliest entry plays the reference."""
    ids = np.argsort(-log_p, axis=-1)[:, :k]
    rest = log_p.copy()
    np.put_along_axis(rest, ids, -np.inf, axis=-1)
    tails = np.stack([np.logaddexp.reduce(rest / t, axis=-1) for t in temperatures], axis=-1)
    kept = np.take_along_axis(log_p, ids, -1)
    return TeacherRows(ids.astype(np.uint16), kept.astype("f2"), tails.astype("f2"), kept[:, 0].astype("f2"))


def part(rows: TeacherRows, first: int, last: int) -> TeacherRows:
    """Tokens from `first` up to `last`."""
    return TeacherRows(*(array[first:last] for array in rows))


def written(path: Path, rows: TeacherRows | None = None, *, commits: int = 2, **changes: object) -> TopKStore:
    """A store of LENGTHS, written in equal portions of rows."""
    rows = reduced(dense()) if rows is None else rows
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    writer = StoreWriter(path, header(**changes), LENGTHS)
    portion = len(LENGTHS) // commits
    for first in range(0, len(LENGTHS), portion):
        writer.append(portion, part(rows, starts[first], starts[first + portion]))
    return writer.finish()


def seal(path: Path, header: StoreHeader) -> None:
    """Have the header vouch for whatever the files hold, as only a broken writer would."""
    shard = Shard([0, header.rows], [0, header.tokens], {})
    for name, layout in header.layout().items():
        shard.checksums[name] = next(part_checksums(path / f"{name}.npy", layout, [shard.part(name)]))
    write_header(path, replace(header, shards=[shard]))


def fetched(path: Path, top_k: int, temperature: float) -> tuple[bytes, ...]:
    """All rows of a store as bytes, for a process of its own."""
    store = TopKStore.open(path)
    rows = range(store.header.rows)
    batch = store.fetch(rows, length=int(store.lengths.max()), top_k=top_k, temperature=temperature)
    return tuple(array.tobytes() for array in batch)
