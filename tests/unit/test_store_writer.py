"""Writing a store: a killed writer continues to the very same bytes, and no reader ever meets half a store."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtkd.distill.store_writer import JOURNAL, StoreWriter, write_header
from mtkd.distill.topk import ARRAYS, TopKStore
from mtkd.errors import StoreMismatch
from tests.unit import kill_writer
from tests.unit.store_rows import LENGTHS, dense, fetched, header, part, reduced, written

ROOT = Path(__file__).parents[2]
ROWS = reduced(dense())
START_OF_ROW = [0, 3, 4, 8, 10]


def half_written(path: Path) -> Path:
    """What kill -9 leaves after three of four rows, each a commit of its own: the partial folder."""
    writer = StoreWriter(path, header(), LENGTHS)
    for row in range(3):
        append(writer, row)
    assert not path.exists()
    return path.with_name("store.partial")


def append(writer: StoreWriter, row: int) -> None:
    writer.append(1, part(ROWS, START_OF_ROW[row], START_OF_ROW[row + 1]))


def continued(path: Path) -> tuple[int, dict[str, bytes]]:
    """The row from which a new writer goes on, and the files of the store that it then makes."""
    writer = StoreWriter(path, header(), LENGTHS)
    begin = writer.rows_done
    for row in range(begin, 4):
        append(writer, row)
    writer.finish()
    return begin, contents(path)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a store that was written in one go."""
    return contents(written(tmp_path_factory.mktemp("whole") / "store", commits=4).path)


def test_killed_writer_continues_after_its_last_commit(tmp_path: Path, whole: dict[str, bytes]) -> None:
    partial = half_written(tmp_path / "store")
    assert continued(tmp_path / "store") == (3, whole)
    assert not partial.exists()
    assert set(whole) == {"header.json", *(f"{name}.npy" for name in ARRAYS)}


@pytest.mark.parametrize(
    ("name", "place", "first_bad"),
    [
        ("ids", -1, 3),
        ("ids", 128 + 3 * 16, 1),
        ("log_probs", 128 + 4 * 16, 2),
        ("log_tails", 20, 0),
        ("lengths", -1, 0),
    ],
)
def test_a_shard_damaged_since_is_written_again(
    tmp_path: Path, whole: dict[str, bytes], name: str, place: int, first_bad: int
) -> None:
    file = half_written(tmp_path / "store") / f"{name}.npy"
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert continued(tmp_path / "store") == (first_bad, whole)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_partial_file_cut_short_or_gone_is_made_whole(tmp_path: Path, whole: dict[str, bytes], name: str) -> None:
    partial = half_written(tmp_path / "store")
    copy = shutil.copytree(partial, tmp_path / "copy.partial")
    file = partial / f"{name}.npy"
    file.write_bytes(file.read_bytes()[:129])
    assert continued(tmp_path / "store") == (0, whole)
    (copy / f"{name}.npy").unlink()
    assert continued(tmp_path / "copy") == (0, whole)


@pytest.mark.parametrize(("damage", "first_bad"), [("torn", 2), ("flipped", 1), ("not text", 1), ("gone", 0)])
def test_a_journal_counts_up_to_its_first_bad_line(
    tmp_path: Path, whole: dict[str, bytes], damage: str, first_bad: int
) -> None:
    journal = half_written(tmp_path / "store") / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    if damage == "torn":
        lines[-1] = lines[-1][:-20]
    elif damage == "flipped":
        lines[2] = lines[2].replace(b'"rows": [1, 2]', b'"rows": [1, 3]')
    elif damage == "not text":
        lines[2] = b"\xff" + lines[2]
    journal.write_bytes(b"" if damage == "gone" else b"".join(lines))
    assert continued(tmp_path / "store") == (first_bad, whole)


@pytest.mark.parametrize("change", [{"teachers": {"office": "e" * 64}}, {"top_k": 4}, {"temperatures": [1.0]}])
def test_partial_store_of_something_else_is_not_continued(tmp_path: Path, change: dict[str, object]) -> None:
    half_written(tmp_path / "store")
    assert StoreWriter(tmp_path / "store", header(**change), LENGTHS).rows_done == 0


def test_a_complete_store_is_kept_and_one_of_something_else_replaced(tmp_path: Path, whole: dict[str, bytes]) -> None:
    path = written(tmp_path / "store", commits=4).path
    (path / JOURNAL).touch()  # what a kill just after the store came to its place leaves
    assert continued(path) == (4, whole)
    assert continued(written(path, corpus="religion", commits=1).path) == (0, whole)
    (path / "ids.npy").write_bytes(b"")
    assert continued(path) == (0, whole)
    assert [file.name for file in tmp_path.iterdir()] == ["store"]


def test_a_writer_killed_while_sealing_loses_nothing(tmp_path: Path, whole: dict[str, bytes]) -> None:
    partial = half_written(tmp_path / "store")
    append(StoreWriter(tmp_path / "store", header(), LENGTHS), 3)
    write_header(partial, header())
    assert continued(tmp_path / "store") == (4, whole)


def test_header_of_a_sealed_store_starts_another(tmp_path: Path, whole: dict[str, bytes]) -> None:
    sealed = written(tmp_path / "sealed").header
    assert sealed.shards
    writer = StoreWriter(tmp_path / "store", replace(sealed, corpus="office"), LENGTHS)
    for row in range(4):
        append(writer, row)
    assert contents(writer.finish().path) == whole


def test_target_longer_than_the_index_can_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreMismatch, match="too long"):
        StoreWriter(tmp_path / "store", header([70_000]), [70_000])


def process(path: Path) -> subprocess.Popen[str]:
    """A writer in a process of its own."""
    program = [sys.executable, str(Path(kill_writer.__file__)), str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(program, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def test_store_of_a_writer_killed_again_and_again_is_identical(tmp_path: Path) -> None:
    rng = random.Random(1)
    for commits in (1, 3, 4, 7):
        with process(tmp_path / "killed") as writer:
            assert writer.stdout is not None
            for _ in range(commits):
                writer.stdout.readline()
            time.sleep(rng.uniform(0, 0.004))  # into the middle of an append, wherever that is
            writer.send_signal(signal.SIGKILL)
        assert writer.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    begun_at: list[int] = []
    kill_writer.write(tmp_path / "killed", begun_at.append)
    assert begun_at[0] >= 10 * (0 + 2 + 3 + 6)
    kill_writer.write(tmp_path / "whole", begun_at.append)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_reader_meets_no_store_or_a_complete_one(tmp_path: Path) -> None:
    expected = fetched(kill_writer.write(tmp_path / "whole", lambda rows: None).path, 3, 2.0)
    refusals = set()
    with process(tmp_path / "store") as writer:
        while True:
            ended = writer.poll() is not None
            try:
                assert fetched(tmp_path / "store", 3, 2.0) == expected
                break
            except StoreMismatch as error:
                refusals.add(str(error).partition(": ")[2])
                assert not ended
    assert refusals == {"no top-k store here; run step 'capture'"}


def test_processes_read_one_store_at_once_and_alike(tmp_path: Path) -> None:
    store = kill_writer.write(tmp_path / "store", lambda rows: None)
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        several = [pool.submit(fetched, store.path, 3, 2.0) for _ in range(6)]
        here = fetched(store.path, 3, 2.0)
        assert all(each.result() == here for each in several)
    assert TopKStore.open(store.path).header.tokens == np.load(store.path / "lengths.npy").sum()
