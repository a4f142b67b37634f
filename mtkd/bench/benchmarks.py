"""The three benchmarks: which variants are compared with which, on what.

What it owns: settings, variants, what is told beside the times. What it must not know: torch and fairseq, which only
the processes that it has measured import.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mtkd import commands
from mtkd.bench import synthetic
from mtkd.bench.alternate import Measured, alternate
from mtkd.bench.record import Figures, compare, machine, ratios, record
from mtkd.commands import TrainingJob
from mtkd.errors import UsageError
from mtkd.processes import available_cores, thread_environment
from mtkd.recipe import Distill, Model, Recipe, Training, TrainingRoles
from mtkd.recipe_text import Corpus, Domain, Languages

KD_WEIGHT = 0.5
LOSSES = ("stock", "plain", "dense", "fused", "floor")
SAME_ORDER = ["--batch-order", "source"]
"""What lets our training see stock fairseq's batches."""
OWN_FLAGS = ("--user-dir", "--task", "--domains", "--criterion", "--optimizer", "--save-dir", SAME_ORDER[0])
"""Arguments of a training without soft targets that stock fairseq has none of, or that are not to be shared."""


@dataclass(frozen=True)
class Session:
    """How it is measured: by which command, on which device, how often."""

    command: str
    device: str
    rounds: int
    environment: Mapping[str, str]
    """Of the processes that compute."""
    tell: Callable[[str], None]
    """Is told in words what is going on."""

    @classmethod
    def start(cls, command: str, *, device: str, rounds: int, tell: Callable[[str], None] = lambda _: None) -> Session:
        """`device` is `cpu`, `cuda`, or `auto`: a GPU where there is one.

        Raises:
            UsageError: `cuda` where there is no GPU.
        """
        wanted = os.environ.get("OMP_NUM_THREADS", "")
        environment = os.environ | thread_environment(int(wanted) if wanted.isdigit() else available_cores())
        if device != "cpu":
            probe = [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"]
            found = subprocess.run(probe, capture_output=True, text=True, check=False).stdout.strip() == "True"
            if device == "cuda" and not found:
                raise UsageError("--device cuda: torch finds no GPU here; use --device cpu")
            device = "cuda" if found else "cpu"
        # Whatever computes takes a GPU where it sees one.
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
        return cls(command, device, rounds, environment | hidden, tell)

    def measure(self, argvs: Mapping[str, Sequence[str]]) -> dict[str, Measured]:
        """Measure these programs in turn."""
        return alternate(argvs, self.rounds, environment=self.environment, tell=self.tell)

    def record(
        self, benchmark: str, settings: Figures, results: list[Figures], measured: Mapping[str, Measured]
    ) -> Figures:
        """All of one benchmark."""
        settings = {"device": self.device, "rounds": self.rounds} | settings
        return record(benchmark, self.command, settings, results, machine(measured))


def loss(session: Session, *, vocabs: Sequence[int], tokens: Sequence[int], width: int, top_k: int) -> Figures:
    """Forward and backward of the losses from features to gradients, for every vocabulary and every batch.

    `floor` is what no such loss can go below: its three matrix products, 6 N D V operations, in the same rounds.
    """
    results = []
    for vocab, count in ((vocab, count) for vocab in vocabs for count in tokens):
        sizes = {"vocab": vocab, "tokens": count, "width": width, "top_k": top_k}
        session.tell(f"V = {vocab:,}, N = {count:,}")
        measured = session.measure({name: _program("loss", variant=name, sizes=sizes) for name in LOSSES})
        floor, fused = (_seconds(measured[name]) for name in ("floor", "fused"))
        operations = 6 * count * width * vocab
        of_floor = {
            "operations": operations,
            "median_s": median(floor),
            "operations_per_second": operations / median(floor),
            "share_of_fused": ratios(floor, fused),
        }
        variants = compare(measured, "stock")
        results.append({"settings": sizes, "baseline": "stock", "variants": variants, "floor": of_floor})
    settings = {"vocab": list(vocabs), "tokens": list(tokens), "width": width, "top_k": top_k}
    return session.record("loss", settings, results, measured)


def train(
    session: Session, *, preset: str, vocab: int, updates: int, max_tokens: int, tokens: int, top_k: int
) -> Figures:
    """Whole updates of fairseq's trainer: stock label-smoothed training against a student with soft targets.

    `tokens` are those of the text: of a larger one, batches have rows that are more alike. The updates are divided into
    the rounds and one block more, the first, which warms up. `student_lambda_0` is our task and criterion without soft
    targets: at the end its loss on dev must be stock's.

    Raises:
        UsageError: updates that cannot be so divided.
    """
    blocks = session.rounds + 1
    if updates % blocks:
        raise UsageError(f"--updates {updates}: must be a multiple of {blocks}, the rounds and one to warm up")
    # A recipe's own warm-up: at its full learning rate so few updates are unstable, and enlarge mere rounding.
    training = Training(updates=updates, max_tokens=max_tokens)
    recipe = _recipe(preset, training, top_k)
    with tempfile.TemporaryDirectory(prefix="mtkd-bench-") as name:
        folder = Path(name)
        session.tell("writing and binarising text")
        corpus = synthetic.make_corpus(recipe, folder, vocab=vocab, tokens=tokens)
        stores = {synthetic.DOMAIN: synthetic.make_store(corpus, folder / "store", top_k=top_k)}
        ours = {
            "student_lambda_0": _job(recipe, corpus, folder / "lambda_0"),
            "student": _job(recipe, corpus, folder / "student", distill=recipe.distill, stores=stores),
        }
        argvs = {variant: commands.train(recipe, job) for variant, job in ours.items()}
        argvs["student_lambda_0"] += SAME_ORDER
        argvs = {"stock": _stock(argvs["student_lambda_0"], corpus, folder / "stock", session.device)} | argvs
        # No buffer: its thread would make batches ahead, while another process is measured.
        same = ["--log-interval", str(updates // blocks), "--no-save", "--data-buffer-size", "0"]
        same += ["--distributed-world-size", "1", *(["--cpu"] if session.device == "cpu" else [])]
        programs = {
            variant: _program("train", argv=[*argv, *same], updates_per_block=updates // blocks)
            for variant, argv in argvs.items()
        }
        measured = session.measure(programs)
    variants = compare(measured, "stock")
    settings: Figures = {"preset": preset, "vocab": vocab, "updates": updates, "max_tokens": max_tokens}
    settings |= {"tokens": tokens, "top_k": top_k}
    result = {
        "settings": settings,
        "baseline": "stock",
        "variants": variants,
        "dev_nll_difference": abs(variants["student_lambda_0"]["dev_nll"] - variants["stock"]["dev_nll"]),
    }
    return session.record("train", settings, [result], measured)


def capture(session: Session, *, preset: str, vocab: int, tokens: int, top_k: int) -> Figures:
    """A teacher's beliefs written to a store, against the bare forward pass to its logits."""
    training = Training(updates=1, warmup_updates=1, max_tokens=1000)
    recipe = _recipe(preset, training, top_k)
    with tempfile.TemporaryDirectory(prefix="mtkd-bench-") as name:
        folder = Path(name)
        session.tell("writing and binarising text")
        corpus = synthetic.make_corpus(recipe, folder, vocab=vocab, tokens=tokens)
        session.tell("making a teacher")
        job = _job(recipe, corpus, folder / "teacher")
        unsaved = ["--no-save-optimizer-state", "--disable-validation"]
        synthetic.run_fairseq("train", [*commands.train(recipe, job), *unsaved], session.environment)
        programs = {
            variant: _program(
                "capture",
                variant=variant,
                model=str(folder / "teacher" / "checkpoint_last.pt"),
                data=str(corpus.data / synthetic.DOMAIN),
                dictionary=str(corpus.dictionary),
                source_lang=recipe.languages.source,
                target_lang=recipe.languages.target,
                store=str(folder / "store"),
                top_k=top_k,
            )
            for variant in ("forward", "capture")
        }
        measured = session.measure(programs)
    settings = {"preset": preset, "vocab": vocab, "tokens": tokens, "top_k": top_k}
    result = {"settings": settings, "baseline": "forward", "variants": compare(measured, "forward")}
    return session.record("capture", settings, [result], measured)


def _program(name: str, **settings: Any) -> list[str]:
    """The command line of one of the programs beside this file."""
    return [sys.executable, "-m", f"mtkd.bench.{name}", json.dumps(settings)]


def _seconds(measured: Measured) -> list[float]:
    return [answer["seconds"] for answer in measured.rounds]


def _recipe(preset: str, training: Training, top_k: int) -> Recipe:
    """The least that a training is described by; no file that it names is read."""
    corpus = Corpus(path=Path("made_up.tsv"), licence="none")
    return Recipe(
        name="bench",
        languages=Languages(source="src", target="tgt"),
        domains={synthetic.DOMAIN: Domain(corpora=[corpus])},
        model=Model(teacher=preset, student=preset),
        training=TrainingRoles(generic=training, teacher=training, student=training),
        distill=Distill(kd_weight=KD_WEIGHT, top_k=top_k),
    )


def _job(recipe: Recipe, corpus: synthetic.Corpus, save_dir: Path, **soft: Any) -> TrainingJob:
    """A training from scratch; `soft` says what it learns from teachers."""
    return TrainingJob(recipe.model.student, recipe.training.student, [synthetic.DOMAIN], corpus.data, save_dir, **soft)


def _stock(ours: Sequence[str], corpus: synthetic.Corpus, save_dir: Path, device: str) -> list[str]:
    """Ordinary fairseq training with the same model, optimiser and batches; bfloat16 its own way on a GPU."""
    argv = [str(corpus.data / synthetic.DOMAIN), *ours[1:]]
    for flag in OWN_FLAGS:
        place = argv.index(flag)
        del argv[place : place + 2]
    argv += ["--task", "translation", "--criterion", "label_smoothed_cross_entropy", "--optimizer", "adam"]
    argv += ["--save-dir", str(save_dir)]
    return argv + (["--bf16"] if device == "cuda" else [])
