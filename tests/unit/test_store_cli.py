"""`mtkd store info` and `mtkd store verify`, as a person meets them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mtkd.cli import app
from mtkd.distill.store_check import CHECKS, figures, find_problems
from mtkd.distill.topk import ARRAYS, HEADER, TeacherRows
from mtkd.errors import StoreMismatch
from tests.unit.store_rows import LENGTHS, K, V, dense, header, reduced, seal, written

ROOT = Path(__file__).parents[2]
ROW_1, ROW_2 = 3, slice(4, 8)
"""Tokens of the rows 1 and 2."""


def mtkd_store(*args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mtkd", "store", *args]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("stores") / "store").path


@pytest.fixture
def copy(store: Path, tmp_path: Path) -> Path:
    """One to damage."""
    return shutil.copytree(store, tmp_path / "store")


def test_info_tells_what_a_store_is_and_holds(store: Path) -> None:
    result = CliRunner().invoke(app, ["store", "info", str(store)])
    assert result.exit_code == 0
    told = {line[:25].strip(): line[25:] for line in result.stdout.splitlines()}
    assert told["corpus"] == "office"
    assert told["vocabulary"] == "abcd, 40 symbols"
    assert told["target text"] == "t" * 16 + ", 4 rows, 10 tokens"
    assert told["teacher office"] == "sha256 " + "d" * 64
    assert told["rule"] == "in_domain"
    assert told["k"] == "8"
    assert told["temperatures"] == "1, 2, 0.5"
    assert told["bytes a token"].startswith("40 of payload, ")
    assert told["ids.npy"] == "288 bytes"
    assert {HEADER, *(f"{name}.npy" for name in ARRAYS)} < told.keys()
    coverage = np.sort(np.exp(dense()), axis=1)[:, -K:].sum(1).mean()
    assert told["coverage"] == f"{coverage:.1%} of the mass is in the k entries"


def test_figures_are_those_of_the_dense_distribution(tmp_path: Path) -> None:
    p = np.sort(np.exp(dense()), axis=1)[:, ::-1]
    few = figures(written(tmp_path / "few"))
    atoms = np.concatenate([p[:, :K], p[:, K:].sum(1, keepdims=True)], axis=1)
    assert few["coverage"] == pytest.approx(p[:, :K].sum(1).mean(), rel=2e-3)
    assert few["tail_mass"] == pytest.approx(p[:, K:].sum(1).mean(), rel=2e-3)
    assert few["top_1"] == pytest.approx(p[:, 0].mean(), rel=2e-3)
    assert few["entropy"] == pytest.approx(-(atoms * np.log(atoms)).sum(1).mean(), rel=2e-3)
    assert few["reference_perplexity"] == pytest.approx(np.exp(-np.log(p[:, 0]).mean()), rel=2e-3)
    every = figures(written(tmp_path / "every", reduced(dense(), V), top_k=V))
    assert every["entropy"] == pytest.approx(-(p * np.log(p)).sum(1).mean(), rel=2e-3)
    assert every["tail_mass"] == 0.0


def test_figures_of_a_mixture_are_at_its_temperature(tmp_path: Path) -> None:
    rows = reduced(dense(), temperatures=[1.0])
    mixture = TeacherRows(rows.ids, 2 * rows.log_probs, rows.log_tails, 2 * rows.reference_log_probs)
    mixed = written(tmp_path / "mixed", mixture, teachers={"a": "1", "b": "2"}, temperatures=[2.0])
    single = written(tmp_path / "single", rows, temperatures=[1.0])
    assert figures(mixed) == pytest.approx(figures(single), rel=1e-3)
    assert find_problems(mixed.path) == []
    # p of one teacher at another T sums to nothing in particular, so there is no mass to tell.
    tempered = written(tmp_path / "tempered", reduced(dense(), temperatures=[2.0]), temperatures=[2.0])
    assert figures(tempered).keys() == {"coverage", "top_1", "reference_perplexity"}
    assert find_problems(tempered.path) == []


def test_verify_says_in_one_line_that_all_is_well(store: Path) -> None:
    result = mtkd_store("verify", str(store))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{store}: 4 rows, 10 tokens, all as they were written and sound\n"


def test_verify_names_every_damaged_file_and_its_rows(copy: Path) -> None:
    for name, place in (("ids", -1), ("log_tails", 130)):
        content = bytearray((copy / f"{name}.npy").read_bytes())
        content[place] ^= 1
        (copy / f"{name}.npy").write_bytes(content)
    (copy / "lengths.npy").unlink()
    result = mtkd_store("verify", str(copy))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        f"error: {copy}: lengths.npy is missing",
        f"{copy}: ids.npy was altered or cut short in rows 2 to 3",
        f"{copy}: log_tails.npy was altered or cut short in rows 0 to 1; rerun step 'capture'",
    ]


def test_many_damaged_rows_are_counted(tmp_path: Path) -> None:
    rows = reduced(dense())
    rows.ids[:] = 7
    path = written(tmp_path / "ids", rows).path
    assert find_problems(path) == ["ids.npy: an id twice for one token: rows 0, 1, 2, 3"]
    copy = written(tmp_path / "all", commits=4).path
    content = bytearray((copy / "lengths.npy").read_bytes())
    content[-2] ^= 1
    content[-6] ^= 1
    (copy / "lengths.npy").write_bytes(content)
    assert find_problems(copy) == ["lengths.npy was altered or cut short in rows 1 to 1, 3 to 3"]
    (copy / "lengths.npy").write_bytes(b"")
    assert find_problems(copy) == ["lengths.npy was altered or cut short in rows 0 to 3"]


def test_lengths_that_are_not_the_tokens_are_named(copy: Path) -> None:
    np.save(copy / "lengths.npy", np.array([3, 1, 4, 1], dtype=np.uint16))
    seal(copy, header())
    assert find_problems(copy) == ["lengths.npy counts 9 tokens, the header 10"]


@pytest.mark.parametrize("command", ["info", "verify"])
def test_what_is_no_store_is_refused(tmp_path: Path, command: str) -> None:
    result = CliRunner().invoke(app, ["store", command, str(tmp_path)])
    assert isinstance(result.exception, StoreMismatch)
    assert "no top-k store here" in str(result.exception)


def unknown_id(rows: TeacherRows) -> None:
    rows.ids[ROW_1, -1] = V


def repeated_id(rows: TeacherRows) -> None:
    rows.ids[ROW_2, 0] = rows.ids[ROW_2, 5]


def infinite(rows: TeacherRows) -> None:
    rows.log_probs[ROW_1, -1] = -np.inf


def swapped(rows: TeacherRows) -> None:
    rows.log_probs[ROW_1, [0, 1]] = rows.log_probs[ROW_1, [1, 0]]


def no_tail(rows: TeacherRows) -> None:
    rows.log_tails[ROW_1, 1] = -np.inf


def no_reference(rows: TeacherRows) -> None:
    rows.reference_log_probs[ROW_1] = np.nan


def tail_of_another_temperature(rows: TeacherRows) -> None:
    rows.log_tails[ROW_2, 0] = rows.log_tails[ROW_2, 1]


BROKEN: dict[str, tuple[Callable[[TeacherRows], None], int]] = {
    "ids.npy: ids beyond the vocabulary": (unknown_id, 1),
    "ids.npy: an id twice for one token": (repeated_id, 2),
    "log_probs.npy: not finite": (infinite, 1),
    "log_probs.npy: not in descending order": (swapped, 1),
    "log_tails.npy: a tail that cannot be": (no_tail, 1),
    "reference_log_probs.npy: not finite": (no_reference, 1),
    "log_probs.npy, log_tails.npy: kept and tail mass do not sum to 1": (tail_of_another_temperature, 2),
}


@pytest.mark.parametrize("problem", CHECKS)
def test_rows_that_make_no_sense_are_named_though_their_checksums_are_right(tmp_path: Path, problem: str) -> None:
    rows = reduced(dense())
    spoil, row = BROKEN[problem]
    spoil(rows)
    found = find_problems(written(tmp_path / "store", rows).path)
    assert f"{problem}: row {row}" in found
    assert all(line.endswith(f": row {row}") for line in found)


def test_a_tail_where_every_entry_is_stored_cannot_be(tmp_path: Path) -> None:
    rows = reduced(dense(), V)
    assert find_problems(written(tmp_path / "right", rows, top_k=V).path) == []
    rows.log_tails[9, 0] = -20
    wrong = written(tmp_path / "wrong", rows, top_k=V).path
    assert find_problems(wrong) == [f"log_tails.npy: a tail that cannot be: row {len(LENGTHS) - 1}"]
