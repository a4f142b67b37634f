"""The steps clean, split, subword and binarize: from corpora to fairseq's binary text."""

from __future__ import annotations

import shlex
import shutil

from mtkd import commands
from mtkd.archive_lock import pair_changes
from mtkd.context import StepContext
from mtkd.corpus.augment import AUGMENTED, Augmenter
from mtkd.corpus.clean import clean_corpora
from mtkd.corpus.located import with_fetched
from mtkd.corpus.split import split_corpora
from mtkd.corpus.subword import DICTIONARY, MODEL, VOCABULARY, encode_corpora, train_subword
from mtkd.corpus.textfile import write_json
from mtkd.steps.files import DATA, read_json
from mtkd.workspace import ARCHIVE_LOCK


def clean(context: StepContext) -> None:
    """Read, normalise, filter and deduplicate every corpus."""
    report = clean_corpora(
        with_fetched(context.recipe, context.parents("fetch")),
        context.dir,
        progress=lambda group, done, total: context.progress.update(done, total, group),
    )
    for group, counts in report.items():
        context.progress.message(f"{group}: {counts['kept']:,} of {counts['read']:,} pairs kept")
    for line in pair_changes(context.workspace.archive_lock, report):
        context.progress.message(f"differs from {ARCHIVE_LOCK}: {line}")


def split(context: StepContext) -> None:
    """Hold out dev and test, and purge what leaks."""
    report = split_corpora(context.recipe, context.parent("clean"), context.dir)
    for group, counts in report.items():
        sizes = ", ".join(f"{counts[side]:,} {side}" for side in ("train", "dev", "test"))
        context.progress.message(f"{group}: {sizes}")


def subword(context: StepContext) -> None:
    """Train, or take over, the one joint vocabulary."""
    vocabulary = train_subword(context.recipe, context.parent("split"), context.dir)
    context.progress.message(f"{vocabulary.size:,} symbols, fingerprint {vocabulary.fingerprint}")


def binarize(context: StepContext) -> None:
    """Augment and encode every split, and run fairseq-preprocess on every domain, in this one process."""
    from fairseq import options  # noqa: PLC0415
    from fairseq_cli import preprocess  # noqa: PLC0415

    text, data, vocabulary = context.dir / "text", context.dir / DATA, context.parent("subword")
    for folder in (text, data):
        shutil.rmtree(folder, ignore_errors=True)
    reserved = read_json(vocabulary / VOCABULARY)["reserved"]
    augmenter = Augmenter(context.recipe.augmentation, seed=context.recipe.seed, reserved=reserved)
    encode_corpora(context.parent("split"), vocabulary / MODEL, text, context.recipe.languages, augment=augmenter)
    write_json(context.dir / AUGMENTED, augmenter.counts)
    groups = list(context.recipe.trained_groups())
    for done, group in enumerate(groups):
        context.progress.update(done, len(groups), group)
        argv = commands.preprocess(
            context.recipe,
            text=text / group,
            dictionary=vocabulary / DICTIONARY,
            output=data / group,
            workers=context.threads,
        )
        context.commands.append(["fairseq-preprocess", *argv])
        preprocess.main(options.get_preprocessing_parser().parse_args(argv))
    script = "\n".join(shlex.join(command) for command in context.commands)
    (context.dir / "command.sh").write_text(script + "\n", encoding="utf-8")
    shutil.copyfile(vocabulary / VOCABULARY, context.dir / VOCABULARY)
    shutil.rmtree(text)
