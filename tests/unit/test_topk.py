"""The store as it is read: what was written, in order, at every k and T; nothing damaged, nothing of something else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mtkd.distill.topk import (
    ARRAYS,
    FORMAT_VERSION,
    HEADER,
    TeacherRows,
    TopKStore,
    bytes_per_token,
    targets_checksum,
)
from mtkd.errors import StoreMismatch
from tests.unit.store_rows import LENGTHS, TEMPERATURES, K, V, dense, header, reduced, seal, written

FILES = [HEADER, *(f"{name}.npy" for name in ARRAYS)]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, TopKStore]:
    """The same distributions, stored with several k."""
    folder = tmp_path_factory.mktemp("stores")
    return {k: written(folder / str(k), reduced(dense(), k), top_k=k) for k in (1, 3, K, V)}


@pytest.fixture
def store(stores: dict[int, TopKStore]) -> TopKStore:
    """One that no test changes."""
    return stores[K]


@pytest.fixture
def copy(store: TopKStore, tmp_path: Path) -> Path:
    """One to damage."""
    return shutil.copytree(store.path, tmp_path / "store")


def test_rows_come_back_as_written_and_padding_is_finite(store: TopKStore) -> None:
    rows = store.fetch([2, 0, 2], length=5, top_k=K, temperature=1.0)
    expected = reduced(dense())
    assert np.array_equal(rows.ids_BTK[0, :4], expected.ids[4:8])
    assert np.array_equal(rows.log_probs_BTK[1, :3], expected.log_probs[0:3])
    assert np.array_equal(rows.log_tail_BT[0, :4], expected.log_tails[4:8, 0])
    assert all(np.array_equal(array[0], array[2]) for array in rows)
    assert np.isfinite(rows.log_probs_BTK).all()
    assert np.isfinite(rows.log_tail_BT).all()
    assert all(np.array_equal(got, want[4:8]) for got, want in zip(store.row(2), expected, strict=True))
    assert all(np.array_equal(got, want[3:8]) for got, want in zip(store.rows(1, 3), expected, strict=True))


def test_k8_costs_36_bytes_a_token_and_two_a_row(tmp_path: Path) -> None:
    store = written(tmp_path / "store", reduced(dense(), temperatures=[1.0]), temperatures=[1.0])
    assert sum(array[0].nbytes for array in store.row(0)) == 36
    assert np.load(tmp_path / "store" / "lengths.npy").nbytes == 2 * len(LENGTHS)


@pytest.mark.parametrize(("vocab_size", "temperatures"), [(V, [1.0]), (V, TEMPERATURES), (70_000, [1.0])])
def test_bytes_a_token_are_those_of_the_files(tmp_path: Path, vocab_size: int, temperatures: list[float]) -> None:
    rows = reduced(dense(), temperatures=temperatures)
    store = written(tmp_path / "store", rows, vocab_size=vocab_size, temperatures=temperatures)
    data = sum(np.load(store.path / f"{name}.npy").nbytes for name in ARRAYS)
    told = bytes_per_token(K, len(temperatures), vocab_size, store.header.tokens / store.header.rows)
    assert told * store.header.tokens == pytest.approx(data)
    assert store.row(0).ids.dtype == (np.uint16 if vocab_size == V else np.uint32)


def test_k8_with_rows_of_two_tokens_costs_one_byte_of_index() -> None:
    assert bytes_per_token(8, 1, 32_000, 2) == 37
    assert bytes_per_token(8, 1, 32_000, float("inf")) == 36
    assert bytes_per_token(1000, 1, 100, float("inf")) == bytes_per_token(100, 1, 100, float("inf"))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("top_k", [1, 3, K])
@pytest.mark.parametrize("captured_k", [K, V])
def test_folding_to_a_smaller_k_equals_capturing_it(
    stores: dict[int, TopKStore], captured_k: int, top_k: int, temperature: float
) -> None:
    folded = stores[captured_k].fetch(range(4), length=4, top_k=top_k, temperature=temperature)
    captured = stores[top_k].fetch(range(4), length=4, top_k=top_k, temperature=temperature)
    assert np.array_equal(folded.ids_BTK, captured.ids_BTK)
    assert np.array_equal(folded.log_probs_BTK, captured.log_probs_BTK)
    # Every term is off by at most its own float16 rounding, and so is the sum once more.
    assert np.allclose(folded.log_tail_BT, captured.log_tail_BT, rtol=2**-9, atol=2**-9)


def test_all_entries_stored_leave_no_tail(stores: dict[int, TopKStore]) -> None:
    rows = stores[V].fetch([0], length=3, top_k=V, temperature=2.0)
    assert np.isneginf(rows.log_tail_BT).all()
    assert np.allclose(np.exp(rows.log_probs_BTK.astype(float)).sum(-1), 1, atol=5e-3)


def test_temperature_or_k_that_was_not_captured_is_refused(store: TopKStore) -> None:
    with pytest.raises(StoreMismatch, match=r"captured at T = 1, 2, 0\.5, asked for T = 4"):
        store.fetch([0], length=3, top_k=K, temperature=4.0)
    with pytest.raises(StoreMismatch, match="holds k = 8, asked for k = 9"):
        store.fetch([0], length=3, top_k=9, temperature=1.0)


def test_a_loss_without_tail_takes_any_temperature(store: TopKStore) -> None:
    rows = store.fetch([0, 1], length=3, top_k=3, temperature=4.0, needs_tail=False)
    assert np.array_equal(rows.log_probs_BTK[0], reduced(dense()).log_probs[:3, :3])
    assert np.isfinite(rows.log_tail_BT).all()
    captured = store.fetch([0, 1], length=3, top_k=3, temperature=2.0, needs_tail=False)
    assert np.array_equal(captured.log_tail_BT, store.fetch([0, 1], length=3, top_k=3, temperature=2.0).log_tail_BT)


def test_a_mixture_is_of_its_one_temperature(tmp_path: Path) -> None:
    mixture = reduced(dense(), temperatures=[1.0])
    rows = TeacherRows(mixture.ids, 2 * mixture.log_probs, mixture.log_tails, 2 * mixture.reference_log_probs)
    teachers = {"office": "d" * 64, "generic": "e" * 64}
    store = written(tmp_path / "store", rows, teachers=teachers, temperatures=[2.0])
    assert store.header.normal_temperature == 2.0
    batch = store.fetch([0], length=3, top_k=3, temperature=2.0)
    log_atoms = np.concatenate([batch.log_probs_BTK[0] / 2.0, batch.log_tail_BT[0, :, None]], axis=-1)
    assert np.allclose(np.exp(log_atoms).sum(-1), 1, atol=5e-3)
    for needs_tail in (True, False):
        with pytest.raises(StoreMismatch, match="captured at T = 2, asked for T = 1"):
            store.fetch([0], length=3, top_k=3, temperature=1.0, needs_tail=needs_tail)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vocabulary": "zzzz"}, "made for vocabulary abcd, this run uses zzzz"),
        ({"targets": "u" * 64}, "made for target text ttt.*, this run uses uuu"),
        ({"corpus": "religion"}, "made for corpus office, this run uses religion"),
        ({"teachers": {"office": "d" * 63 + "e"}}, "made for teacher office:dddddddd, this run uses office:dddddddd"),
        ({"teachers": {"it": "d" * 64}}, "made for teacher office:dddddddd, this run uses it:dddddddd"),
        ({"teachers": {"office": "d" * 64, "it": "f" * 64}}, "made for teacher none, this run uses it:ffffffff"),
    ],
)
def test_store_of_something_else_is_refused_by_name(store: TopKStore, given: dict[str, object], message: str) -> None:
    right = {"vocabulary": "abcd", "targets": "t" * 64, "corpus": "office", "teachers": {"office": "d" * 64}}
    store.require(**right)
    with pytest.raises(StoreMismatch, match=f"{message}.*; rerun step 'capture'"):
        store.require(**(right | given))


@pytest.mark.parametrize("place", [0, 9, 60, 128, 131, -1])
@pytest.mark.parametrize("name", ARRAYS)
def test_one_flipped_bit_in_an_array_is_noticed_and_named(copy: Path, name: str, place: int) -> None:
    content = bytearray((copy / f"{name}.npy").read_bytes())
    content[place] ^= 1
    (copy / f"{name}.npy").write_bytes(content)
    rows = {-1: "2 to 3", 9: "0 to 3"}.get(place, "0 to 1")
    with pytest.raises(StoreMismatch, match=rf"{name}\.npy was altered or cut short in rows {rows}; rerun step"):
        TopKStore.open(copy)


def test_bits_flipped_all_over_the_header_are_noticed(copy: Path) -> None:
    file = copy / HEADER
    content = file.read_bytes()
    for bit in range(0, 8 * len(content), 23):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with pytest.raises(StoreMismatch, match=r"header\.json|store format"):
            TopKStore.open(copy)


@pytest.mark.parametrize("left", [0, 5, 0.5, -1])
@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused_by_name(copy: Path, name: str, left: float) -> None:
    file = copy / name
    content = file.read_bytes()
    file.write_bytes(content[: int(left * len(content)) if isinstance(left, float) else left])
    with pytest.raises(StoreMismatch, match=rf"{name}.*rerun step 'capture'"):
        TopKStore.open(file.parent)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(copy: Path, name: str) -> None:
    (copy / name).unlink()
    missing = "no top-k store here" if name == HEADER else f"{name} is missing"
    with pytest.raises(StoreMismatch, match=missing):
        TopKStore.open(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_goes_on_is_refused_by_name(copy: Path, name: str) -> None:
    file = copy / name
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(StoreMismatch, match=name):
        TopKStore.open(file.parent)


@pytest.mark.parametrize("version", [1, FORMAT_VERSION + 1, "x"])
def test_another_format_is_refused(copy: Path, version: object) -> None:
    path = copy / HEADER
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": version}))
    with pytest.raises(
        StoreMismatch, match=rf"store format {version!r}, this mtkd reads format 2; rerun step 'capture'"
    ):
        TopKStore.open(path.parent)


@pytest.mark.parametrize("text", ["{", "[]", "null", '"2"'])
def test_a_header_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / HEADER).write_text(text)
    with pytest.raises(StoreMismatch, match=r"unreadable header\.json|store format None"):
        TopKStore.open(tmp_path)


def test_an_array_of_another_shape_is_refused_whatever_its_checksum_says(copy: Path) -> None:
    np.save(copy / "ids.npy", np.load(copy / "ids.npy").reshape(K, -1))
    seal(copy, header())
    with pytest.raises(StoreMismatch, match=r"ids\.npy does not have the header's counts"):
        TopKStore.open(copy)


def test_nothing_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nothing", tmp_path / "file", tmp_path):
        with pytest.raises(StoreMismatch, match="no top-k store here; run step 'capture'"):
            TopKStore.open(path)


def test_targets_checksum_sees_order_lengths_and_ids() -> None:
    base = targets_checksum([[1, 2], [3]])
    assert base == targets_checksum([np.array([1, 2]), np.array([3])])
    assert (
        len({base, targets_checksum([[3], [1, 2]]), targets_checksum([[1], [2, 3]]), targets_checksum([[1, 2], [4]])})
        == 4
    )
