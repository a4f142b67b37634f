"""The micro text, binarised once, and the commands that train on it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mtkd import checkpoint, commands
from mtkd.commands import TrainingJob
from mtkd.corpus.clean import clean_corpora
from mtkd.corpus.split import split_corpora
from mtkd.corpus.subword import DICTIONARY, MODEL, encode_corpora, train_subword
from mtkd.recipe import Recipe, Training
from mtkd.recipe_file import load_recipe
from mtkd.train import DONE, parse_log_line


def toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("toy", Path(__file__).parents[1] / "toy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Micro:
    """The micro recipe's text, as the steps up to binarize leave it."""

    recipe: Recipe
    split: Path
    subword: Path
    data: Path

    @property
    def dictionary(self) -> Path:
        return self.subword / DICTIONARY

    @property
    def subword_model(self) -> Path:
        return self.subword / MODEL

    def train_args(self, save_dir: Path, *, updates: int, domains: list[str], **job: Any) -> list[str]:
        training = Training(
            updates=updates, validate_every=updates, warmup_updates=4, learning_rate=2e-3, max_tokens=400
        )
        args = commands.train(self.recipe, TrainingJob("tiny", training, domains, self.data, save_dir, **job))
        args[args.index("--log-interval") + 1] = "1"
        return args


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    root = tmp_path_factory.mktemp("micro")
    recipe = load_recipe(toy().write_micro(root / "recipe"))
    for name in ("clean", "split", "subword"):
        (root / name).mkdir()
    clean_corpora(recipe, root / "clean")
    split_corpora(recipe, root / "clean", root / "split")
    train_subword(recipe, root / "split", root / "subword")
    encode_corpora(root / "split", root / "subword" / MODEL, root / "text", recipe.languages)
    for group in recipe.corpora_groups():
        argv = commands.preprocess(
            recipe,
            text=root / "text" / group,
            dictionary=root / "subword" / DICTIONARY,
            output=root / "data" / group,
            workers=1,
        )
        subprocess.run([sys.executable, "-m", "fairseq_cli.preprocess", *argv], check=True, capture_output=True)
    return Micro(recipe, root / "split", root / "subword", root / "data")


def run_fairseq_train(argv: list[str]) -> list[dict[str, Any]]:
    """fairseq's own command, without ours; the rows of its log."""
    command = [str(Path(sys.executable).with_name("fairseq-train")), *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0 or DONE in output, output[-6000:]
    rows = [parse_log_line(line) for line in output.splitlines()]
    return [row for row in rows if row is not None]


@pytest.fixture(scope="session")
def fairseq_train() -> Callable[[list[str]], list[dict[str, Any]]]:
    return run_fairseq_train


@dataclass(frozen=True)
class Trained:
    """A model of the micro text after some updates, and the log of its training."""

    checkpoint: Path
    log: list[dict[str, Any]]


@pytest.fixture(scope="session")
def trained(micro: Micro, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    log = run_fairseq_train(micro.train_args(folder, updates=40, domains=["bank", "river", "court"]))
    return Trained(folder / "checkpoint_best.pt", log)


@pytest.fixture(scope="session")
def bank_teacher(micro: Micro, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a teacher that knows its domain well enough to translate sentences unlike each other."""
    folder = tmp_path_factory.mktemp("teacher")
    run_fairseq_train(micro.train_args(folder, updates=200, domains=["bank"]))
    return folder / "checkpoint_best.pt"


@pytest.fixture(scope="session")
def teachers(trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models that differ: one that was trained, and the same with noise on its weights."""
    noisy = tmp_path_factory.mktemp("second") / "second.pt"
    state = checkpoint.read(trained.checkpoint)
    state.pop("last_optimizer_state")
    generator = torch.Generator().manual_seed(0)
    for name, value in state["model"].items():
        if value.dim() == 2 and name not in {"decoder.embed_tokens.weight", "decoder.output_projection.weight"}:
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
    checkpoint.write(state, noisy)
    return {"first": trained.checkpoint, "second": noisy}
