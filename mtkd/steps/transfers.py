"""The step transfer: a teacher translates its domain's text without references, for the student to learn from."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from fairseq import options
from fairseq_cli import preprocess

from mtkd import commands, fairseq_model, train
from mtkd.context import StepContext
from mtkd.corpus.clean import normalise
from mtkd.corpus.located import with_fetched
from mtkd.corpus.subword import DICTIONARY, MODEL, VOCABULARY
from mtkd.corpus.textfile import read_lines, write_json, writing
from mtkd.corpus.transfer import COUNTS, clean_transfer, dropped, reason_to_drop_translation, refuse_nothing
from mtkd.decoding import MAX_PIECES, Beam, Decoder
from mtkd.export import Vocabulary, check_conversion, convert
from mtkd.recipe_text import TRANSFER
from mtkd.steps.files import DATA, FLOAT32, STOCK, read_json

SENTENCES_PER_PART = 1024
"""Sentences translated and committed at once: a killed run loses no more than that."""


def transfer(context: StepContext) -> None:
    """Translate, drop what cannot be learnt from, and binarise as a train split whose row i is kept sentence i.

    What is in `work` lets a killed run continue; the counts are written last, and then it goes.
    """
    work = context.dir / "work"
    if not (context.dir / COUNTS).exists():
        counts = _clean(context, work)
        decoder = _decoder(context, work)
        _translate(context, decoder, work, counts["kept"])
        _write_rows(context, decoder, work, counts)
        _binarize(context, work)
        shutil.copyfile(context.parent("binarize") / VOCABULARY, context.dir / VOCABULARY)
        write_json(context.dir / COUNTS, counts)
        kept = f"{counts['kept']:,} of {counts['read']:,} sentences translated and kept"
        context.progress.message(f"{kept} (dropped: {dropped(counts)})")
    shutil.rmtree(work, ignore_errors=True)


def _clean(context: StepContext, work: Path) -> dict[str, Any]:
    """Write the sources to translate; their counts."""
    cleaned = work / "sources.json"
    if not cleaned.exists():
        counts = clean_transfer(
            with_fetched(context.recipe, context.parents("fetch")),
            context.slice["domain"],
            context.parent("split"),
            work / "sources.txt",
            progress=lambda _, done, total: context.progress.update(done, total, "read"),
        )
        write_json(cleaned, counts)
    return read_json(cleaned)


def _decoder(context: StepContext, work: Path) -> Decoder:
    """The teacher as CTranslate2 runs it, held against fairseq on its domain's dev text."""
    languages, folder = context.recipe.languages, context.parent("subword")
    domain = context.slice["domain"]
    if not (work / FLOAT32).exists():
        vocabulary = Vocabulary(folder / MODEL, folder / DICTIONARY, languages.source, languages.target)
        model = context.parent(f"teacher.{domain}") / train.MODEL
        fairseq_model.to_stock(model, work / STOCK, source_lang=languages.source, target_lang=languages.target)
        dev = [context.parent("split") / domain / f"dev.{lang}" for lang in (languages.source, languages.target)]
        unchecked = work / f"{FLOAT32}.unchecked"
        convert(work / STOCK, vocabulary, unchecked)
        check_conversion(work / STOCK, unchecked, vocabulary, *(list(read_lines(path)) for path in dev))
        unchecked.rename(work / FLOAT32)
    return Decoder(work / FLOAT32, folder / MODEL, threads=context.threads)


def _translate(context: StepContext, decoder: Decoder, work: Path, total: int) -> None:
    """Write each part's translations, one a line after a mark of whether it was cut off; parts that are there stay."""
    beam = Beam(context.recipe.decoding.beam, context.recipe.decoding.length_penalty)
    done = 0
    for part, sources in _parts(work):
        if not part.exists():
            with writing(part) as file:
                for text, cut_off in decoder.hypotheses(sources, beam):
                    file.write(f"{cut_off:d}\t{normalise(text)}\n")
        done += len(sources)
        context.progress.update(done, total, "sentences")


def _parts(work: Path) -> Iterator[tuple[Path, list[str]]]:
    """The file of each part's translations, and the part's sources."""
    sources, number = read_lines(work / "sources.txt"), 0
    while part := list(islice(sources, SENTENCES_PER_PART)):
        yield work / "translations" / f"{number:06}.tsv", part
        number += 1


def _write_rows(context: StepContext, decoder: Decoder, work: Path, counts: dict[str, Any]) -> None:
    """Write source and translation of what is kept, as text to look at and as pieces to binarise; counts what is not.

    A translation is cut into pieces anew, as any reference would be: the model that learns it sees one spelling.
    """
    languages = context.recipe.languages
    filters = context.recipe.domains[context.slice["domain"]].filters
    counts["tokens"] = {languages.source: 0, languages.target: 0}
    names = [f"train.{language}" for language in (languages.source, languages.target)]
    with ExitStack() as stack:
        files = [
            stack.enter_context(writing(folder / name)) for folder in (context.dir, work / "pieces") for name in names
        ]
        for part, sources in _parts(work):
            marks, translations = zip(*(line.split("\t") for line in read_lines(part)), strict=True)
            pieces = decoder.pieces(sources), decoder.pieces(translations)
            for source, translation, mark, *sides in zip(sources, translations, marks, *pieces, strict=True):
                reason = reason_to_drop_translation(source, translation, filters, languages, cut_off=mark == "1")
                # An end of sentence comes on top of either side.
                sizes = [len(side) + 1 for side in sides]
                if reason is None and max(sizes) > MAX_PIECES:
                    reason = "too_long"
                if reason is not None:
                    counts["dropped"][reason] += 1
                    counts["kept"] -= 1
                    continue
                for file, line in zip(files, (source, translation, *map(" ".join, sides)), strict=True):
                    file.write(line + "\n")
                for language, size in zip(counts["tokens"], sizes, strict=True):
                    counts["tokens"][language] += size
    refuse_nothing(context.slice["domain"], counts)


def _binarize(context: StepContext, work: Path) -> None:
    """Run fairseq-preprocess, without its workers: CTranslate2 is not safe to fork."""
    output = context.dir / DATA / (context.slice["domain"] + TRANSFER)
    shutil.rmtree(output, ignore_errors=True)
    argv = commands.preprocess(
        context.recipe,
        text=work / "pieces",
        dictionary=context.parent("subword") / DICTIONARY,
        output=output,
        workers=1,
        splits=["train"],
    )
    context.commands.append(["fairseq-preprocess", *argv])
    (context.dir / "command.sh").write_text(shlex.join(context.commands[-1]) + "\n", encoding="utf-8")
    preprocess.main(options.get_preprocessing_parser().parse_args(argv))
