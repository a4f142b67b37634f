"""The store: what is written is what is read, in order, and nothing that belongs elsewhere is accepted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtkd.distill.topk import ARRAYS, StoreHeader, StoreWriter, TeacherRows, TopKStore, targets_checksum
from mtkd.errors import StoreMismatch

LENGTHS = [3, 1, 4, 2]
V, K = 40, 8


def header(**changes: object) -> StoreHeader:
    base = StoreHeader(
        corpus="office",
        vocabulary="abcd",
        vocab_size=V,
        targets="t" * 64,
        teachers={"office": "d" * 64},
        rule="in_domain",
        rows=len(LENGTHS),
        tokens=sum(LENGTHS),
        top_k=K,
        temperatures=[1.0, 2.0],
    )
    return replace(base, **changes)


def dense(seed: int = 0) -> np.ndarray:
    """Log-probabilities of every token over the vocabulary [N, V]."""
    logits = 2 * np.random.default_rng(seed).normal(size=(sum(LENGTHS), V))
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def reduced(log_p: np.ndarray, k: int = K) -> TeacherRows:
    ids = np.argsort(-log_p, axis=-1)[:, :k]
    rest = log_p.copy()
    np.put_along_axis(rest, ids, -np.inf, axis=-1)
    tails = np.stack([np.logaddexp.reduce(rest / t, axis=-1) for t in (1.0, 2.0)], axis=-1)
    kept = np.take_along_axis(log_p, ids, -1)
    return TeacherRows(
        ids.astype(np.uint16), kept.astype(np.float16), tails.astype(np.float16), kept[:, 0].astype("f2")
    )


def part(rows: TeacherRows, first: int, last: int) -> TeacherRows:
    return TeacherRows(*(array[first:last] for array in rows))


def written(path: Path, **changes: object) -> TopKStore:
    writer = StoreWriter(path, header(**changes), LENGTHS)
    writer.append(len(LENGTHS), reduced(dense()))
    return writer.finish()


def test_rows_come_back_as_written_and_padding_is_finite(tmp_path: Path) -> None:
    store = written(tmp_path / "store")
    rows = store.fetch([2, 0], length=5, top_k=K, temperature=1.0)
    expected = reduced(dense())
    assert np.array_equal(rows.ids_BTK[0, :4], expected.ids[4:8])
    assert np.array_equal(rows.log_probs_BTK[1, :3], expected.log_probs[0:3])
    assert np.array_equal(rows.log_tail_BT[0, :4], expected.log_tails[4:8, 0])
    assert np.isfinite(rows.log_probs_BTK).all()
    assert np.isfinite(rows.log_tail_BT).all()


def test_k8_costs_36_bytes_a_token_and_two_a_row(tmp_path: Path) -> None:
    store = written(tmp_path / "store", temperatures=[1.0, 2.0])
    one_row = store.row(0)
    payload = sum(array[0].nbytes for array in one_row) - 2  # the second temperature's column
    assert payload == 36
    assert np.load(tmp_path / "store" / "lengths.npy").nbytes == 2 * len(LENGTHS)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_smaller_k_folds_the_rest_into_the_tail(tmp_path: Path, temperature: float) -> None:
    store = written(tmp_path / "store")
    rows = store.fetch([0], length=3, top_k=3, temperature=temperature)
    log_p = dense()[:3]
    order = np.sort(log_p, axis=-1)[:, ::-1]
    assert np.allclose(rows.log_tail_BT[0], np.logaddexp.reduce(order[:, 3:] / temperature, axis=-1), atol=0.01)
    assert np.array_equal(rows.ids_BTK[0], np.argsort(-log_p, axis=-1)[:, :3])


def test_wide_vocabulary_takes_wider_ids(tmp_path: Path) -> None:
    assert written(tmp_path / "narrow").row(0).ids.dtype == np.uint16
    assert written(tmp_path / "wide", vocab_size=70_000).row(0).ids.dtype == np.uint32


def test_killed_writer_continues_after_its_last_commit(tmp_path: Path) -> None:
    rows = reduced(dense())
    writer = StoreWriter(tmp_path / "store", header(), LENGTHS)
    writer.append(2, part(rows, 0, 4))
    del writer  # what kill -9 leaves: a partial folder, nothing at the store's own place
    assert not (tmp_path / "store").exists()
    again = StoreWriter(tmp_path / "store", header(), LENGTHS)
    assert again.rows_done == 2
    again.append(2, part(rows, 4, 10))
    assert np.array_equal(again.finish().row(0).ids, rows.ids[:3])


def test_partial_store_of_another_teacher_is_not_continued(tmp_path: Path) -> None:
    StoreWriter(tmp_path / "store", header(), LENGTHS).append(2, part(reduced(dense()), 0, 4))
    assert StoreWriter(tmp_path / "store", header(teachers={"office": "e" * 64}), LENGTHS).rows_done == 0


@pytest.mark.parametrize(
    ("what", "given"),
    [
        ("vocabulary", {"vocabulary": "zzzz"}),
        ("target text", {"targets": "u" * 64}),
        ("corpus", {"corpus": "religion"}),
        ("teacher", {"teachers": {"office": "f" * 64}}),
    ],
)
def test_store_of_something_else_is_refused_by_name(tmp_path: Path, what: str, given: dict[str, object]) -> None:
    store = written(tmp_path / "store")
    right = {"vocabulary": "abcd", "targets": "t" * 64, "corpus": "office", "teachers": {"office": "d" * 64}}
    store.require(**right)
    with pytest.raises(StoreMismatch, match=f"made for {what} .*rerun step 'capture'"):
        store.require(**(right | given))


@pytest.mark.parametrize("name", ARRAYS)
def test_one_flipped_bit_is_noticed(tmp_path: Path, name: str) -> None:
    written(tmp_path / "store")
    file = tmp_path / "store" / f"{name}.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreMismatch, match=rf"{name}\.npy was altered"):
        TopKStore.open(tmp_path / "store")


def test_truncated_missing_and_foreign_stores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreMismatch, match="no top-k store here"):
        TopKStore.open(tmp_path / "nothing")
    written(tmp_path / "store")
    file = tmp_path / "store" / "ids.npy"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(StoreMismatch, match="cut short"):
        TopKStore.open(tmp_path / "store")
    file.unlink()
    with pytest.raises(StoreMismatch, match="is missing"):
        TopKStore.open(tmp_path / "store")
    meta = tmp_path / "store" / "header.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format_version": 99}))
    with pytest.raises(StoreMismatch, match="store format 99"):
        TopKStore.open(tmp_path / "store")
    meta.write_text("{")
    with pytest.raises(StoreMismatch, match="unreadable header"):
        TopKStore.open(tmp_path / "store")


def test_temperature_or_k_that_was_not_captured_is_refused(tmp_path: Path) -> None:
    store = written(tmp_path / "store")
    with pytest.raises(StoreMismatch, match="captured at T = 1, 2, asked for T = 4"):
        store.fetch([0], length=3, top_k=K, temperature=4.0)
    with pytest.raises(StoreMismatch, match="holds k = 8, asked for k = 9"):
        store.fetch([0], length=3, top_k=9, temperature=1.0)


def test_target_longer_than_the_index_can_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreMismatch, match="too long"):
        StoreWriter(tmp_path / "store", header(rows=1, tokens=70_000), [70_000])


def test_targets_checksum_sees_order_lengths_and_ids() -> None:
    base = targets_checksum([[1, 2], [3]])
    assert base == targets_checksum([np.array([1, 2]), np.array([3])])
    assert (
        len({base, targets_checksum([[3], [1, 2]]), targets_checksum([[1], [2, 3]]), targets_checksum([[1, 2], [4]])})
        == 4
    )
