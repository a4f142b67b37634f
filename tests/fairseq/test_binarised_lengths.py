"""`mtkd estimate` reads lengths from fairseq's index without fairseq: what fairseq writes is what it reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fairseq.data import indexed_dataset

from mtkd.estimate import target_lengths


@pytest.mark.parametrize("vocab_size", [100, 70_000])
def test_lengths_are_those_that_fairseq_wrote(tmp_path: Path, vocab_size: int) -> None:
    lengths = [3, 1, 200, 7]
    builder = indexed_dataset.make_builder(str(tmp_path / "train.bin"), impl="mmap", vocab_size=vocab_size)
    for length in lengths:
        builder.add_item(torch.arange(length))
    builder.finalize(str(tmp_path / "train.idx"))
    assert target_lengths(tmp_path / "train.idx") == lengths
