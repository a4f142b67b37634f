"""The steps that train: one call of fairseq-train each, or a model that the user brings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mtkd import train
from mtkd.bundle import sha256_of
from mtkd.capture import failed_gates
from mtkd.commands import TrainingJob
from mtkd.commands import train as train_command
from mtkd.context import StepContext
from mtkd.corpus.subword import DICTIONARY, VOCABULARY, dictionary_symbols
from mtkd.distill.topk import TopKStore
from mtkd.distill.weighting import rule_text
from mtkd.errors import CheckpointError, GateError, StoreMismatch
from mtkd.recipe import Distill, Training
from mtkd.recipe_text import GENERAL, TRANSFER, TRANSLATED
from mtkd.steps.files import CAPTURED, DATA, STORE, read_json
from mtkd.systems import corpus_teachers, generic_node, teacher_node


def generic(context: StepContext) -> None:
    """The model of general text (and, by default, of all domains) that everything else starts from."""
    recipe = context.recipe
    if recipe.generic.checkpoint is not None:
        _bring(context, recipe.generic.checkpoint)
        return
    domains = [GENERAL] if recipe.generic.text == "general" else list(recipe.trained_groups())
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
    """Mixed fine-tuning: the student's run with lambda = 0, and nothing else changed.

    Text without references has nothing to say at lambda = 0, and is left out.
    """
    _train_on_mix(context)


def tagged(context: StepContext) -> None:
    """Mixed fine-tuning in which every source begins with its domain's symbol (Kobus et al. 2017)."""
    _train_on_mix(context, tagged=True)


def student(context: StepContext) -> None:
    """The student, or one of a sweep: all domains together, from references and soft targets."""
    distill = _distill(context)
    if distill.kd_weight == 0.0:
        _train_on_mix(context)
        return
    transfer = {domain: path / DATA / (domain + TRANSFER) for domain, path in context.parents("transfer").items()}
    corpora = {corpus: corpus for corpus in corpus_teachers(context.recipe)}
    _train_on_mix(context, **_beliefs(context, distill, corpora), transfer=transfer)


def sequence_kd(context: StepContext) -> None:
    """Mixed fine-tuning on the teachers' translations of its sources (Kim and Rush 2016; Currey et al. 2020)."""
    _train_on_mix(context, translations=_translations(context))


def word_and_sequence_kd(context: StepContext) -> None:
    """The student's run, with its teachers' translations for references and what they believe about these."""
    corpora = {domain: domain + TRANSLATED for domain in context.recipe.domains}
    taught = _beliefs(context, _distill(context), corpora)
    _train_on_mix(context, **taught, translations=_translations(context))


def _distill(context: StepContext) -> Distill:
    return context.recipe.distill.model_copy(update=context.slice["distill"])


def _translations(context: StepContext) -> dict[str, Path]:
    return {domain: path / DATA / (domain + TRANSLATED) for domain, path in context.parents("translate").items()}


def _beliefs(context: StepContext, distill: Distill, corpora: dict[str, str]) -> dict[str, Any]:
    """The soft targets of a `TrainingJob`; `corpora`: what the trainer calls a corpus -> what was captured of it."""
    weights = corpus_teachers(context.recipe)
    if distill.source == "online":
        teachers = {
            name: {str(_teacher(context, teacher)): weight for teacher, weight in weights[name].items()}
            for name in corpora
        }
        return {"distill": distill, "teachers": teachers}
    _hold_against_gates(context)
    captured = context.parents("capture")
    stores = {name: captured[corpus] / STORE for name, corpus in corpora.items()}
    for name, path in stores.items():
        _hold_against_teachers(context, corpora[name], weights[name], TopKStore.open(path))
    return {"distill": distill, "stores": stores}


def _hold_against_teachers(context: StepContext, corpus: str, weights: dict[str, float], store: TopKStore) -> None:
    """The trainer compares vocabulary and targets; which teachers a store is of, and how mixed, only we can know."""
    store.require(
        vocabulary=read_json(context.parent("binarize") / VOCABULARY)["fingerprint"],
        targets=store.header.targets,
        corpus=corpus,
        teachers={name: sha256_of(_teacher(context, name)) for name in weights},
    )
    rule = rule_text(context.recipe.distill.weighting, weights)
    if store.header.rule != rule:
        raise StoreMismatch(
            f"{store.path}: made by the rule {store.header.rule}, this run's is {rule}; rerun step 'capture'"
        )


def _hold_against_gates(context: StepContext) -> None:
    """Stop before the student trains on soft targets that say too little."""
    gates, epsilon = context.recipe.distill.gates, context.recipe.training.teacher.label_smoothing
    reports = [read_json(path / CAPTURED) for path in context.parents("capture").values()]
    if failed := [reason for report in reports for reason in failed_gates(report, gates, epsilon)]:
        raise GateError("the soft targets fail their gates, the student is not trained:\n" + "\n".join(failed))


def _teacher(context: StepContext, name: str) -> Path:
    """The checkpoint of a teacher that a weighting rule names."""
    return context.parent(teacher_node(context.recipe, name)) / train.MODEL


def _train_on_mix(context: StepContext, **taught: Any) -> None:
    """`taught`: what of a `TrainingJob` concerns soft targets."""
    recipe = context.recipe
    start = context.parent(generic_node(recipe, recipe.model.student)) / train.MODEL
    model, training, domains = recipe.model.student, recipe.training.student, list(recipe.domains)
    _train(context, model, training, domains, start=start, sampled=True, **taught)


def _train(
    context: StepContext,
    preset: str,
    training: Training,
    domains: list[str],
    **job_fields: Any,
) -> None:
    """`job_fields`: the fields of a `TrainingJob` that not every role has."""
    binarized = context.parent("binarize")
    job = TrainingJob(
        preset,
        training,
        domains,
        data=binarized / DATA,
        save_dir=context.dir / "checkpoints",
        **job_fields,
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
