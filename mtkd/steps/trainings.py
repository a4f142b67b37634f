"""The steps generic, teacher, mixed and student: one call of fairseq-train each, or a model that the user brings."""

from __future__ import annotations

import shutil
from pathlib import Path

from mtkd import train
from mtkd.bundle import sha256_of
from mtkd.commands import TrainingJob
from mtkd.commands import train as train_command
from mtkd.context import StepContext
from mtkd.corpus.subword import DICTIONARY, VOCABULARY, dictionary_symbols
from mtkd.distill.topk import TopKStore
from mtkd.errors import CheckpointError
from mtkd.plan import generic_node
from mtkd.recipe import GENERAL, Training
from mtkd.steps.files import DATA, STORE, read_json


def generic(context: StepContext) -> None:
    """The model of general text (and, by default, of all domains) that everything else starts from."""
    recipe = context.recipe
    if recipe.generic.checkpoint is not None:
        _bring(context, recipe.generic.checkpoint)
        return
    domains = [GENERAL] if recipe.generic.text == "general" else list(recipe.corpora_groups())
    _train(context, context.slice["preset"], recipe.training.generic, domains)


def teacher(context: StepContext) -> None:
    """One domain's expert: the generic model fine-tuned on that domain alone."""
    recipe, domain = context.recipe, context.slice["domain"]
    if domain in recipe.teachers:
        _bring(context, recipe.teachers[domain].checkpoint)
        return
    start = context.parent(generic_node(recipe, recipe.model.teacher)) / train.MODEL
    _train(context, recipe.model.teacher, recipe.training.teacher, [domain], start=start)


def mixed(context: StepContext) -> None:
    """Mixed fine-tuning: the student's run with lambda = 0, and nothing else changed."""
    _train_on_mix(context, stores={})


def student(context: StepContext) -> None:
    """The student: all domains together, from references and soft targets."""
    stores = {domain: path / STORE for domain, path in context.parents("capture").items()}
    fingerprint = read_json(context.parent("binarize") / VOCABULARY)["fingerprint"]
    for domain, path in stores.items():
        # The trainer compares the targets; which teacher a store is of, only we can know.
        store = TopKStore.open(path)
        teacher_digest = sha256_of(context.parent(f"teacher.{domain}") / train.MODEL)
        store.require(
            vocabulary=fingerprint,
            targets=store.header.targets,
            corpus=domain,
            teachers={domain: teacher_digest},
        )
    _train_on_mix(context, stores)


def _train_on_mix(context: StepContext, stores: dict[str, Path]) -> None:
    recipe = context.recipe
    start = context.parent(generic_node(recipe, recipe.model.student)) / train.MODEL
    _train(
        context,
        recipe.model.student,
        recipe.training.student,
        list(recipe.domains),
        start=start,
        sampled=True,
        stores=stores,
    )


def _train(
    context: StepContext,
    preset: str,
    training: Training,
    domains: list[str],
    *,
    start: Path | None = None,
    sampled: bool = False,
    stores: dict[str, Path] | None = None,
) -> None:
    binarized = context.parent("binarize")
    job = TrainingJob(
        preset,
        training,
        domains,
        data=binarized / DATA,
        save_dir=context.dir / "checkpoints",
        start=start,
        sampled=sampled,
        stores=stores or {},
    )
    argv = train_command(context.recipe, job)
    context.commands.append(["fairseq-train", *argv])
    train.run(
        argv,
        context.dir,
        updates=training.updates,
        average_checkpoints=training.average_checkpoints,
        progress=context.progress,
    )
    shutil.copyfile(binarized / VOCABULARY, context.dir / VOCABULARY)


def _bring(context: StepContext, path: Path) -> None:
    """Take over a user's checkpoint after reading it safely and holding it against this run's vocabulary."""
    from mtkd import checkpoint  # noqa: PLC0415 - torch

    binarized = context.parent("binarize")
    group, languages = next(iter(context.recipe.corpora_groups())), context.recipe.languages
    symbols = dictionary_symbols(binarized / DATA / group / f"dict.{languages.target}.txt")
    for name in (DICTIONARY, f"dict.{languages.source}.txt", f"dict.{languages.target}.txt"):
        beside = path.with_name(name)
        if beside.is_file() and dictionary_symbols(beside) != symbols:
            raise CheckpointError(
                f"{path}: its dictionary {name} is not this run's; all models of a run share one vocabulary: "
                "set subword.model and subword.dictionary to the ones it was trained with"
            )
    rows = checkpoint.vocabulary_rows(path)
    if rows != len(symbols) + 4:
        raise CheckpointError(checkpoint.wrong_vocabulary(path, rows, len(symbols) + 4))
    checkpoint.slim(path, context.dir / train.MODEL)
    shutil.copyfile(binarized / VOCABULARY, context.dir / VOCABULARY)
    context.progress.message(f"taken from {path}")
