"""Several processes: training over gloo on the CPU is training of one process on their batches together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mtkd import checkpoint
from mtkd.recipe import Distill
from mtkd.train import parse_log_line
from tests.fairseq.micro_task import DOMAINS, train_here, write_store

UPDATES = 10


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def train_on_two_processes(argv: list[str], save_dir: Path) -> None:
    """The flags that make fairseq distribute without GPUs; the defaults and torchrun assume them."""
    port = free_port()
    running = []
    for rank in (0, 1):
        distributed = ["--distributed-init-method", f"tcp://127.0.0.1:{port}", "--distributed-no-spawn"]
        distributed += ["--distributed-world-size", "2", "--distributed-rank", str(rank)]
        distributed += ["--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp", "--cpu"]
        command = [str(Path(sys.executable).with_name("fairseq-train")), *argv, *distributed]
        with (save_dir.parent / f"rank{rank}.log").open("w") as log:
            one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
            running.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=one_thread))
    codes = [process.wait(timeout=300) for process in running]
    assert codes == [0, 0], (save_dir.parent / f"rank{codes.index(max(codes))}.log").read_text()[-3000:]


def test_two_processes_equal_one_with_the_doubled_batch(micro, tmp_path: Path) -> None:
    stores = {domain: write_store(micro, domain, tmp_path / domain).path for domain in ("bank", "court")}

    def argv(name: str) -> list[str]:
        distill = Distill(kd_weight=0.5, top_k=4)
        args = micro.train_args(
            tmp_path / name / "checkpoints", updates=UPDATES, domains=DOMAINS, distill=distill, stores=stores
        )
        # One process draws one dropout after the other, two of them draw side by side.
        args += ["--dropout", "0", "--attention-dropout", "0", "--activation-dropout", "0"]
        return [*args, "--bf16-autocast", "off", "--loss-weights", '{"river": 2}']

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    train_on_two_processes(argv("two"), tmp_path / "two" / "checkpoints")
    lines = (tmp_path / "two" / "rank0.log").read_text().splitlines()
    both = [row for line in lines if (row := parse_log_line(line)) is not None]
    alone = train_here([*argv("one"), "--update-freq", "2"])
    for split in ("train", "valid"):
        ours, theirs = ([row for row in rows if row["split"] == split] for rows in (both, alone))
        assert len(ours) == len(theirs) == (UPDATES if split == "train" else 1)
        for key in ("loss", "nll_loss", "kd_loss", "river_nll_loss") if split == "train" else ("loss", "nll_loss"):
            assert [row[key] for row in ours] == pytest.approx([row[key] for row in theirs], rel=1e-4, abs=2e-3), key
    first, second = (
        checkpoint.read(tmp_path / name / "checkpoints" / "checkpoint_last.pt")["model"] for name in ("one", "two")
    )
    for name, weights in first.items():
        assert torch.allclose(second[name], weights, rtol=1e-4, atol=1e-4), name
