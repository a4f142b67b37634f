"""Training beside live teachers by fairseq's own command: as from a store, and no trace of them in what is saved."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch import Tensor

from mtkd import checkpoint, fairseq_model
from mtkd.recipe import Distill
from tests.fairseq.live_teachers import MIXED, captured, online
from tests.fairseq.micro_task import (
    DOMAINS,
    distance,
    train_here,
)


def losses(rows, key: str = "loss") -> list[float]:
    """Of every update; 0 where a batch has no token to measure it on."""
    return [row.get(key, 0.0) for row in rows if row["split"] == "train"]


@pytest.fixture(scope="module")
def runs(micro, teachers, tmp_path_factory: pytest.TempPathFactory, fairseq_train):
    """The same short training from stores and, by fairseq's own command, from live teachers; every flag is used."""
    root = tmp_path_factory.mktemp("runs")
    shares = MIXED | {"bank_transfer": {"second": 1.0}}
    stores = captured(micro, teachers, shares, root, top_k=10**6, temperature=2.0)

    def argv(name: str) -> list[str]:
        distill = Distill(kd_weight=0.6, temperature=2.0)
        transfer = {"bank": micro.data / "river"}
        args = micro.train_args(root / name, updates=12, domains=DOMAINS, distill=distill, transfer=transfer)
        return [*args, "--bf16-autocast", "off", "--loss-weights", '{"river": 2}']

    by_store = train_here([*argv("store"), "--soft-targets", stores, "--plain-loss"])
    return root, by_store, fairseq_train([*argv("online"), "--online-teachers", online(shares, teachers)])


def test_training_online_is_training_from_a_store(runs) -> None:
    root, by_store, by_teachers = runs
    assert len(losses(by_teachers)) == 12
    for key in ("loss", "nll_loss", "kd_loss", "river_nll_loss"):
        assert losses(by_teachers, key) == pytest.approx(losses(by_store, key), rel=1e-4, abs=2e-4)
    first, second = (checkpoint.read(root / name / "checkpoint_last.pt")["model"] for name in ("store", "online"))
    assert distance(second, first) < 1e-4


def test_checkpoint_and_optimiser_hold_the_student_alone(runs) -> None:
    root, _, _ = runs
    by_store, by_teachers = (checkpoint.read(root / name / "checkpoint_last.pt") for name in ("store", "online"))
    assert by_teachers["model"].keys() == by_store["model"].keys()
    sizes = [
        sorted(
            tensor.numel()
            for of in state["last_optimizer_state"]["state"].values()
            for tensor in of.values()
            if isinstance(tensor, Tensor)
        )
        for state in (by_store, by_teachers)
    ]
    assert sizes[0] == sizes[1] != []


ALONE = """
import sys
sys.modules["mtkd"] = None
import argparse, torch
torch.serialization.add_safe_globals([argparse.Namespace])
from fairseq import checkpoint_utils
models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([sys.argv[1]], arg_overrides={"data": sys.argv[2]})
print(type(task).__name__, cfg.criterion._name, type(models[0]).__module__)
"""


def test_student_of_every_flag_loads_stock_where_mtkd_cannot_be_imported(micro, runs, tmp_path: Path) -> None:
    """Design invariant 6, for the arguments that distillation adds."""
    root, _, _ = runs
    stock = tmp_path / "student.pt"
    fairseq_model.to_stock(root / "online" / "checkpoint_last.pt", stock, source_lang="en", target_lang="de")
    state = checkpoint.read(stock)
    text = repr(vars(state["args"])) + repr({**state["cfg"], "model": None})
    for private in (
        "mtkd",
        "word_kd",
        "fused_adam",
        "online_teachers",
        "loss_weights",
        "kd_tail",
        "plain_loss",
        str(root),
    ):
        assert private not in text
    argv = [sys.executable, "-c", ALONE, str(stock), str(micro.data / "bank")]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.split()[:2] == ["TranslationTask", "label_smoothed_cross_entropy"], done.stderr[-2000:]
