"""A process that is killed while it writes a store: `python kill_writer.py STORE` prints the rows committed so far."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from mtkd.distill.store_writer import StoreWriter
from mtkd.distill.topk import TopKStore
from tests.unit.store_rows import dense, header, part, reduced

LENGTHS = [1 + (7 * row) % 11 for row in range(600)]
PORTION = 10


def write(path: Path, committed: Callable[[int], None]) -> TopKStore:
    """The store of LENGTHS, from wherever an earlier process left it."""
    rows = reduced(dense(sum(LENGTHS)))
    writer = StoreWriter(path, header(LENGTHS), LENGTHS)
    committed(writer.rows_done)
    while writer.rows_done < len(LENGTHS):
        done = writer.rows_done
        writer.append(PORTION, part(rows, sum(LENGTHS[:done]), sum(LENGTHS[: done + PORTION])))
        committed(writer.rows_done)
    return writer.finish()


if __name__ == "__main__":
    write(Path(sys.argv[1]), lambda rows: print(rows, flush=True))
