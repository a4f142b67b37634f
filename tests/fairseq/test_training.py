"""Training through plain `fairseq-train --user-dir`: what lambda, domains and resume promise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mtkd import checkpoint, train
from mtkd.errors import MtkdError
from mtkd.progress import Progress
from tests.fairseq.micro_task import DOMAINS, distance, train_here


def losses(rows, split="train", key="loss"):
    return [row[key] for row in rows if row["split"] == split]


def test_zero_kd_weight_equals_stock_training(micro, tmp_path: Path, fairseq_train) -> None:
    """Design invariant 4: one corpus, float32, same order: 100 updates within 1e-4 relative."""
    plain = ["--batch-order", "source", "--bf16-autocast", "off"]
    ours = [*micro.train_args(tmp_path / "ours", updates=100, domains=["bank"]), *plain]
    stock = [*ours]
    stock[0] = str(micro.data / "bank")
    for flag in ("--user-dir", "--task", "--domains", "--criterion", "--optimizer", "--save-dir", *plain[::2]):
        place = stock.index(flag)
        del stock[place : place + 2]
    stock += ["--task", "translation", "--criterion", "label_smoothed_cross_entropy", "--optimizer", "adam"]
    stock += ["--save-dir", str(tmp_path / "stock")]
    mine, theirs = train_here(ours), fairseq_train(stock)
    assert len(losses(mine)) == len(losses(theirs)) == 100
    for key in ("loss", "nll_loss"):
        # fairseq prints three decimals, we print four
        assert losses(mine, key=key) == pytest.approx(losses(theirs, key=key), rel=1e-4, abs=6e-4)
        assert losses(mine, "valid", key) == pytest.approx(losses(theirs, "valid", key), rel=1e-4, abs=6e-4)
    models = [checkpoint.read(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("ours", "stock")]
    # All weights together: Adam makes steps of full size out of gradients that are nothing but rounding.
    assert distance(*models) < 2e-4


def test_log_has_every_domains_dev_loss_and_their_mean(trained) -> None:
    last = [row for row in trained.log if row["split"] == "valid"][-1]
    of_domains = [last[f"{name}_nll_loss"] for name in DOMAINS]
    assert min(of_domains) <= last["nll_loss"] <= max(of_domains)
    assert len(set(of_domains)) == 3


def test_training_learns(trained) -> None:
    nll = losses(trained.log, key="nll_loss")
    assert nll[-1] < nll[0] - 1.0


def test_resume_after_kill_9_equals_an_uninterrupted_run(micro, tmp_path: Path) -> None:
    def args(name: str) -> list[str]:
        argv = micro.train_args(tmp_path / name / "checkpoints", updates=30, domains=DOMAINS, sampled=True)
        argv[argv.index("--save-interval-updates") + 1] = "10"
        argv[argv.index("--sampling-temperature") + 1] = "5"
        return argv

    (tmp_path / "whole").mkdir()
    whole = train.run(args("whole"), tmp_path / "whole", updates=30, average_checkpoints=1, progress=Progress("whole"))
    folder = tmp_path / "killed"
    folder.mkdir()
    script = (
        "import sys; from pathlib import Path; from mtkd import train; from mtkd.progress import Progress;"
        "train.run(sys.argv[2:], Path(sys.argv[1]), updates=30, average_checkpoints=1, progress=Progress('killed'))"
    )
    command = [sys.executable, "-c", script, str(folder), *args("killed")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as running:
        metrics = folder / train.METRICS
        deadline = time.monotonic() + 120
        while not any(row["update"] >= 14 for row in train.read_metrics(metrics)):
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGKILL)
    resumed = train.run(args("killed"), folder, updates=30, average_checkpoints=1, progress=Progress("killed"))
    first, second = (checkpoint.read(path)["model"] for path in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [row["update"] for row in train.read_metrics(metrics) if row["split"] == "train"] == list(range(1, 31))


def test_truncated_last_checkpoint_falls_back_to_a_whole_one(micro, tmp_path: Path) -> None:
    argv = micro.train_args(tmp_path, updates=12, domains=["bank"])
    argv[argv.index("--save-interval-updates") + 1] = "5"
    train_here(argv)
    last = tmp_path / "checkpoint_last.pt"
    last.write_bytes(last.read_bytes()[:-1000])
    train.repair_last_checkpoint(tmp_path)
    assert checkpoint.updates_done(last) == 10
    for path in [*train.by_updates(tmp_path), last]:
        path.write_bytes(b"cut")
    train.repair_last_checkpoint(tmp_path)
    assert not last.exists()


def test_average_is_the_mean_of_the_last_checkpoints(micro, tmp_path: Path) -> None:
    argv = micro.train_args(tmp_path / "checkpoints", updates=14, domains=["bank"])
    argv[argv.index("--save-interval-updates") + 1] = "5"
    argv += ["--keep-interval-updates", "3"]
    kept: dict[int, dict[str, torch.Tensor]] = {}
    real_rmtree = train.shutil.rmtree

    def keep(path: Path) -> None:
        kept.update({n: checkpoint.read(p)["model"] for n, p in enumerate(train.by_updates(path))})
        real_rmtree(path)

    train.shutil.rmtree = keep
    try:
        model = train.run(argv, tmp_path, updates=14, average_checkpoints=2, progress=Progress("average"))
    finally:
        train.shutil.rmtree = real_rmtree
    averaged = checkpoint.read(model)["model"]
    name = "decoder.layers.0.fc1.weight"
    assert len(kept) == 2
    assert torch.allclose(averaged[name], (kept[0][name] + kept[1][name]) / 2, atol=1e-7)
    assert "last_optimizer_state" not in checkpoint.read(model)


def test_bf16_autocast_trains_and_keeps_float32_weights(micro, tmp_path: Path) -> None:
    argv = micro.train_args(tmp_path, updates=6, domains=DOMAINS)
    rows = train_here([*argv, "--bf16-autocast", "on"])
    exact = train_here([*micro.train_args(tmp_path / "exact", updates=6, domains=DOMAINS), "--bf16-autocast", "off"])
    assert losses(rows) != losses(exact)
    assert losses(rows) == pytest.approx(losses(exact), rel=0.02)
    weights = checkpoint.read(tmp_path / "checkpoint_last.pt")["model"]
    assert {value.dtype for value in weights.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--domains", "bank,moon"], "moon/dict.en.txt is missing"),
        (["--soft-targets", '{"bank": "nowhere"}'], "no top-k store here; run step 'capture'"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
    ],
)
def test_wrong_arguments_end_in_one_clear_message(micro, tmp_path: Path, change: list[str], message: str) -> None:
    argv = [*micro.train_args(tmp_path / "checkpoints", updates=2, domains=["bank"]), *change]
    with pytest.raises(MtkdError, match="fairseq-train failed") as caught:
        train.run(argv, tmp_path, updates=2, average_checkpoints=1, progress=Progress("wrong"))
    assert message in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trainer_that_dies_after_its_work_has_done_it(micro, tmp_path: Path) -> None:
    """Seen: `terminate called without an active exception` from fairseq's loader thread at the interpreter's end."""
    plugin = tmp_path / "dies_at_exit"
    plugin.mkdir()
    code = "import atexit, os\nimport mtkd.fairseq_plugin\natexit.register(os.abort)\n"
    (plugin / "__init__.py").write_text(code, encoding="utf-8")
    argv = micro.train_args(tmp_path / "checkpoints", updates=2, domains=["bank"])
    argv[argv.index("--user-dir") + 1] = str(plugin)
    model = train.run(argv, tmp_path, updates=2, average_checkpoints=1, progress=Progress("aborts"))
    assert checkpoint.read(model)["model"]
