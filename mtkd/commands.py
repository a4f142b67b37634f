"""From a recipe to the argument lists of fairseq's commands. Pure: runs nothing, imports no fairseq.

What it owns: every flag that mtkd hands to fairseq. Why in one place: a user who knows fairseq finds here what a run
does, and every command is written beside its outputs so that it can be run again without mtkd's command line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtkd.errors import UsageError
from mtkd.presets import PRESETS
from mtkd.recipe import Distill, Recipe, Training

PLUGIN = Path(__file__).parent / "fairseq_plugin"
"""What `--user-dir` points at."""
PREFIXES = {"train": "--trainpref", "dev": "--validpref", "test": "--testpref"}
"""Flag of fairseq-preprocess for each side of a split."""
NEVER = str(10**9)
KEPT_CHECKPOINTS = 2
"""Interval checkpoints kept: were the newest cut short by a kill, the one before it would still be whole."""


@dataclass(frozen=True)
class TrainingJob:
    """One training: which role, on which domains, from which model, with which soft targets."""

    preset: str
    training: Training
    domains: Sequence[str]
    data: Path
    save_dir: Path
    start: Path | None = None
    """Checkpoint whose weights training starts from; None is a random start."""
    sampled: bool = False
    """Whether the recipe's domain sampling applies (student and mixed)."""
    distill: Distill | None = None
    """What the student learns from its teachers; None is training on references alone."""
    stores: Mapping[str, Path] = field(default_factory=dict)
    """Corpus -> top-k store."""
    teachers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Corpus -> checkpoint -> weight, of teachers that are run beside the student instead of read from a store."""
    transfer: Mapping[str, Path] = field(default_factory=dict)
    """Domain -> binarised text without references."""
    translations: Mapping[str, Path] = field(default_factory=dict)
    """Domain -> its binarised train text with the teacher's translations in place of the references."""
    tagged: bool = False
    """Whether every source begins with its domain's symbol."""


def train(recipe: Recipe, job: TrainingJob) -> list[str]:
    """Arguments of `fairseq-train` for one job; it takes the GPUs it finds, else the CPU."""
    spec = job.training
    checkpoints = max(KEPT_CHECKPOINTS, spec.average_checkpoints)
    args = [str(job.data), "--user-dir", str(PLUGIN)]
    args += ["--task", "multi_domain_translation", "--domains", ",".join(job.domains)]
    args += ["--source-lang", recipe.languages.source, "--target-lang", recipe.languages.target]
    args += PRESETS[job.preset].fairseq_args()
    args += ["--criterion", "word_kd", "--label-smoothing", str(spec.label_smoothing)]
    args += ["--optimizer", "fused_adam", "--adam-betas", "(0.9, 0.98)", "--clip-norm", "1.0"]
    args += ["--lr", str(spec.learning_rate), "--lr-scheduler", "inverse_sqrt"]
    args += ["--warmup-updates", str(spec.warmup_updates), "--max-update", str(spec.updates)]
    args += ["--max-tokens", str(spec.max_tokens), "--update-freq", str(spec.update_freq)]
    # fairseq drops, in silence, a last batch that is no multiple of this (8 by default): rows of train and dev.
    args += ["--required-batch-size-multiple", "1", "--skip-invalid-size-inputs-valid-test"]
    interval = str(min(spec.validate_every, spec.updates))
    args += ["--validate-interval", NEVER, "--validate-interval-updates", interval]
    args += ["--save-interval", NEVER, "--save-interval-updates", interval, "--no-epoch-checkpoints"]
    args += ["--keep-interval-updates", str(checkpoints), "--save-dir", str(job.save_dir)]
    if spec.patience:
        args += ["--patience", str(spec.patience)]
    if job.start is not None:
        args += ["--finetune-from-model", str(job.start)]
    if job.sampled:
        args += ["--sampling-weights", json.dumps(recipe.sampling.weights)]
        args += ["--sampling-temperature", str(recipe.sampling.temperature)]
        if recipe.sampling.loss_weights:
            args += ["--loss-weights", json.dumps(recipe.sampling.loss_weights)]
    if job.tagged:
        args += ["--tag-domains"]
    if job.translations:
        args += ["--translations", _paths(job.translations)]
    if job.distill is not None:
        args += _distillation(job, job.distill)
    args += ["--seed", str(recipe.seed), "--num-workers", "0"]
    args += ["--log-format", "json", "--log-interval", str(max(1, min(50, spec.updates // 20)))]
    return args + recipe.model.fairseq_args


def _distillation(job: TrainingJob, distill: Distill) -> list[str]:
    args = []
    if job.transfer:
        args += ["--transfer", _paths(job.transfer)]
    if job.stores:
        args += ["--soft-targets", _paths(job.stores), "--soft-targets-top-k", str(distill.top_k)]
    if job.teachers:
        args += ["--online-teachers", json.dumps(job.teachers)]
    args += ["--kd-temperature", str(distill.temperature), "--kd-tail", distill.tail]
    return [*args, "--kd-weight", str(distill.kd_weight), "--kd-loss", distill.loss]


def _paths(named: Mapping[str, Path]) -> str:
    return json.dumps({name: str(path) for name, path in named.items()})


def preprocess(
    recipe: Recipe, *, text: Path, dictionary: Path, output: Path, workers: int, splits: Sequence[str] = tuple(PREFIXES)
) -> list[str]:
    """Arguments of `fairseq-preprocess` for one domain's subword text."""
    args = ["--source-lang", recipe.languages.source, "--target-lang", recipe.languages.target]
    for split in splits:
        args += [PREFIXES[split], str(text / split)]
    args += ["--srcdict", str(dictionary), "--joined-dictionary"]
    return [*args, "--destdir", str(output), "--workers", str(workers)]


def verify_fairseq_args(recipe: Recipe) -> None:
    """Let fairseq itself parse the recipe's `model.fairseq_args`, in a process of its own, before anything is trained.

    Raises:
        UsageError: with fairseq's words.
    """
    job = TrainingJob(recipe.model.student, recipe.training.student, list(recipe.domains), Path("data"), Path("save"))
    run = subprocess.run(
        [sys.executable, "-m", "mtkd.fairseq_plugin.arguments", *train(recipe, job)],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        words = [line for line in run.stderr.strip().splitlines() if line.strip()]
        raise UsageError(f"model.fairseq_args: {words[-1] if words else 'refused by fairseq'}")
