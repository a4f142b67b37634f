"""What a complete store holds: whether it can be what it says it is, and a few means to judge it by.

What it owns: the checks behind `mtkd store verify` beyond the files' checksums, and the figures of `mtkd store info`.
What it must not know: teachers' models, text. Why beyond checksums: they say that nothing changed since the store was
written, not that what was written makes sense.
Shapes: N tokens, K kept entries, S captured temperatures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mtkd.distill.store_files import map_arrays
from mtkd.distill.topk import StoreHeader, TeacherRows, TopKStore, find_damage, read_header

MASS_TOLERANCE = 0.01
"""float16 moves each log p by up to |log p| / 2048, so a sum over p by up to entropy / 2048, which is below 0.006."""
_ROWS = 2000
"""Rows looked at together."""

Bools = npt.NDArray[np.bool_]
Check = Callable[[TeacherRows, StoreHeader], Bools]
"""The tokens [N] that are wrong."""


def find_problems(path: Path) -> list[str]:
    """Everything that is wrong with the store under `path`, one line each, naming file and rows.

    Raises:
        StoreMismatch: no store, another format, a header that was altered, or arrays that are not of its counts.
    """
    header = read_header(path)
    if damage := list(find_damage(path, header)):
        return damage
    store = TopKStore(path, header, map_arrays(path, header.layout(), mode="r"))
    if len(store.lengths) != header.rows or int(store.lengths.sum()) != header.tokens:
        return [f"lengths.npy counts {store.lengths.sum():,} tokens, the header {header.tokens:,}"]
    found: dict[str, list[int]] = {}
    for first, rows in _portions(store):
        lengths = store.lengths[first : first + _ROWS]
        row_N = np.repeat(np.arange(first, first + len(lengths)), lengths)
        for problem, wrong in CHECKS.items():
            found.setdefault(problem, []).extend(np.unique(row_N[wrong(rows, header)]).tolist())
    return [f"{problem}: {_listed(numbers)}" for problem, numbers in found.items() if numbers]


def figures(store: TopKStore) -> dict[str, float]:
    """Means over all tokens: `coverage`, `top_1` and `tail_mass` (probabilities), `entropy` (nats, the tail being one
    entry, so at most what the teacher's was), `reference_perplexity`.

    They are of the teacher's p, or of the mixture of several at its T. Without the tail at that T there is neither
    tail mass nor entropy.
    """
    header, temperature = store.header, store.header.normal_temperature
    sums: dict[str, float] = {}
    for _, rows in _portions(store):
        log_p_NK = rows.log_probs.astype(np.float64) / temperature
        values = {"coverage": np.exp(log_p_NK).sum(1), "top_1": np.exp(log_p_NK[:, 0])}
        if temperature in header.temperatures:
            log_m_N1 = rows.log_tails[:, store.tail_column(temperature), None].astype(np.float64)
            log_atoms_NA = np.concatenate([log_p_NK, log_m_N1], axis=1)
            values["tail_mass"] = np.exp(log_m_N1[:, 0])
            # 0 log 0 is 0, in a store with k = V.
            values["entropy"] = -(np.exp(log_atoms_NA) * np.maximum(log_atoms_NA, -1e9)).sum(1)
        values["reference"] = rows.reference_log_probs.astype(np.float64) / temperature
        for name, value_N in values.items():
            sums[name] = sums.get(name, 0.0) + float(value_N.sum())
    means = {name: total / header.tokens for name, total in sums.items()}
    means["reference_perplexity"] = float(np.exp(-means.pop("reference")))
    return means


def _portions(store: TopKStore) -> Iterator[tuple[int, TeacherRows]]:
    """All rows in order, some at a time, with the number of the first."""
    for first in range(0, store.header.rows, _ROWS):
        yield first, store.rows(first, min(first + _ROWS, store.header.rows))


def _unknown_ids(rows: TeacherRows, header: StoreHeader) -> Bools:
    return _any(rows.ids >= header.vocab_size)


def _repeated_ids(rows: TeacherRows, header: StoreHeader) -> Bools:
    sorted_NK = np.sort(rows.ids, axis=1)
    return _any(sorted_NK[:, 1:] == sorted_NK[:, :-1])


def _infinite(rows: TeacherRows, header: StoreHeader) -> Bools:
    return _any(~np.isfinite(rows.log_probs))


def _unsorted(rows: TeacherRows, header: StoreHeader) -> Bools:
    return _any(rows.log_probs[:, 1:] > rows.log_probs[:, :-1])


def _bad_tails(rows: TeacherRows, header: StoreHeader) -> Bools:
    return _any(~(np.isneginf if header.top_k == header.vocab_size else np.isfinite)(rows.log_tails))


def _bad_references(rows: TeacherRows, header: StoreHeader) -> Bools:
    return ~np.isfinite(rows.reference_log_probs)


def _bad_sums(rows: TeacherRows, header: StoreHeader) -> Bools:
    temperature = header.normal_temperature
    if temperature not in header.temperatures:
        return np.zeros(len(rows.ids), dtype=bool)
    with np.errstate(invalid="ignore", over="ignore"):  # a NaN is no sum of 1, and has its own line
        log_m_N = rows.log_tails[:, header.temperatures.index(temperature)].astype(np.float64)
        mass_N = np.exp(rows.log_probs.astype(np.float64) / temperature).sum(1) + np.exp(log_m_N)
        wrong_N: Bools = ~(abs(mass_N - 1) <= MASS_TOLERANCE)
    return wrong_N


CHECKS: dict[str, Check] = {
    "ids.npy: ids beyond the vocabulary": _unknown_ids,
    "ids.npy: an id twice for one token": _repeated_ids,
    "log_probs.npy: not finite": _infinite,
    "log_probs.npy: not in descending order": _unsorted,
    "log_tails.npy: a tail that cannot be": _bad_tails,
    "reference_log_probs.npy: not finite": _bad_references,
    "log_probs.npy, log_tails.npy: kept and tail mass do not sum to 1": _bad_sums,
}
"""What a store's tokens are held against, by the line that reports it."""


def _any(wrong_NK: Bools) -> Bools:
    wrong_N: Bools = np.logical_or.reduce(wrong_NK, axis=1)
    return wrong_N


def _listed(rows: list[int]) -> str:
    more = f" and {len(rows) - 5:,} more" if len(rows) > 5 else ""
    return f"row{'s' * (len(rows) > 1)} {', '.join(map(str, rows[:5]))}{more}"
