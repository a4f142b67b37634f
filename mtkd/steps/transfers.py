"""The steps transfer and translate: a teacher translates text of its domain for a student to learn from.

Text without references (transfer), of which only what is worth it is kept; and the domain's own train sources
(translate), of which every row stays.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from fairseq import options
from fairseq_cli import preprocess

from mtkd import commands, fairseq_model, train
from mtkd.context import StepContext
from mtkd.corpus.augment import Augmenter
from mtkd.corpus.clean import normalise
from mtkd.corpus.filters import FILTERS
from mtkd.corpus.leakage import GroupedPair
from mtkd.corpus.located import with_fetched
from mtkd.corpus.subword import DICTIONARY, MODEL, VOCABULARY
from mtkd.corpus.textfile import count_lines, read_lines, write_json, writing
from mtkd.corpus.transfer import COUNTS, clean_transfer, dropped, reason_to_drop_translation, refuse_nothing
from mtkd.decoding import MAX_PIECES, Beam, Decoder
from mtkd.export import Vocabulary, check_conversion, convert
from mtkd.recipe_text import TRANSFER, TRANSLATED, Filters, Languages
from mtkd.steps.files import DATA, FLOAT32, STOCK, TRANSLATIONS, read_json

SOURCES = "sources.txt"
KEPT_REFERENCE = ("cut_off", "untranslated", *FILTERS, "too_long")
"""Why a row keeps its reference; as in REASONS."""
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
        _binarize(context, work, TRANSFER)
        write_json(context.dir / COUNTS, counts)
        kept = f"{counts['kept']:,} of {counts['read']:,} sentences translated and kept"
        context.progress.message(f"{kept} (dropped: {dropped(counts)})")
    shutil.rmtree(work, ignore_errors=True)


def translate(context: StepContext) -> None:
    """Translate a domain's train sources, and binarise them so that row i is still sentence i of the split.

    For sequence-level distillation (Kim and Rush 2016), of each domain by its own teacher (Currey et al. 2020). A
    translation that teaches nothing (cut off, empty, too long, or such that the recipe's filters would drop a reference
    like it) is not used: its row keeps the reference, and is counted. No row is dropped, so that the run sees the rows
    of mixed fine-tuning as often as that does. Where the recipe augments, as large a share is rewritten as there, but
    which rows goes by both sides.
    """
    work, domain = context.dir / "work", context.slice["domain"]
    if not (context.dir / TRANSLATIONS).exists():
        source = context.parent("split") / domain / f"train.{context.recipe.languages.source}"
        if not (work / SOURCES).exists():
            with writing(work / SOURCES) as file:
                file.writelines(line + "\n" for line in read_lines(source))
        decoder = _decoder(context, work)
        counts: dict[str, Any] = {
            "rows": count_lines(source),
            "translated": 0,
            "reference kept": dict.fromkeys(KEPT_REFERENCE, 0),
        }
        _translate(context, decoder, work, counts["rows"])
        _write_translated_rows(context, decoder, work, counts)
        _binarize(context, work, TRANSLATED)
        write_json(context.dir / TRANSLATIONS, counts)
        done = f"{counts['translated']:,} of {counts['rows']:,} rows translated, the others keep their references"
        context.progress.message(done)
    shutil.rmtree(work, ignore_errors=True)


def _clean(context: StepContext, work: Path) -> dict[str, Any]:
    """Write the sources to translate; their counts."""
    cleaned = work / "sources.json"
    if not cleaned.exists():
        counts = clean_transfer(
            with_fetched(context.recipe, context.parents("fetch")),
            context.slice["domain"],
            context.parent("split"),
            work / SOURCES,
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
    sources, number = read_lines(work / SOURCES), 0
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
            marks, translations = _marked(part)
            pieces = decoder.pieces(sources), decoder.pieces(translations)
            for source, translation, mark, *sides in zip(sources, translations, marks, *pieces, strict=True):
                reason = _reason(source, translation, filters, languages, cut_off=mark == "1", sides=sides)
                sizes = [len(side) + 1 for side in sides]
                if reason is not None:
                    counts["dropped"][reason] += 1
                    counts["kept"] -= 1
                    continue
                for file, line in zip(files, (source, translation, *map(" ".join, sides)), strict=True):
                    file.write(line + "\n")
                for language, size in zip(counts["tokens"], sizes, strict=True):
                    counts["tokens"][language] += size
    refuse_nothing(context.slice["domain"], counts)


def _marked(part: Path) -> tuple[Sequence[str], Sequence[str]]:
    """A part's marks and translations."""
    marks, translations = zip(*(line.split("\t") for line in read_lines(part)), strict=True)
    return marks, translations


def _reason(
    source: str, translation: str, filters: Filters, languages: Languages, *, cut_off: bool, sides: Sequence[list[str]]
) -> str | None:
    """Why a translation is not learnt from; `sides`: pieces of source and translation."""
    reason = reason_to_drop_translation(source, translation, filters, languages, cut_off=cut_off)
    # An end of sentence comes on top of either side.
    too_long = max(len(side) + 1 for side in sides) > MAX_PIECES
    return "too_long" if reason is None and too_long else reason


def _write_translated_rows(context: StepContext, decoder: Decoder, work: Path, counts: dict[str, Any]) -> None:
    """Write every row as text to look at and, augmented, as pieces to binarise."""
    recipe, languages = context.recipe, context.recipe.languages
    reserved = read_json(context.parent("subword") / VOCABULARY)["reserved"]
    augmenter = Augmenter(recipe.augmentation, seed=recipe.seed, reserved=reserved)
    names = [f"train.{language}" for language in (languages.source, languages.target)]
    with ExitStack() as stack:
        texts, pieces = (
            [stack.enter_context(writing(folder / name)) for name in names] for folder in (context.dir, work / "pieces")
        )
        for rows in _translated_rows(context, decoder, work, counts):
            augmented = list(augmenter(rows))
            for side, (text, cut) in enumerate(zip(texts, pieces, strict=True), start=1):
                text.writelines(f"{row[side]}\n" for row in rows)
                cut.writelines(" ".join(line) + "\n" for line in decoder.pieces([row[side] for row in augmented]))


def _translated_rows(
    context: StepContext, decoder: Decoder, work: Path, counts: dict[str, Any]
) -> Iterator[list[GroupedPair]]:
    """Each part's rows with their translations or, where these are not used, their references; counts both."""
    languages, domain = context.recipe.languages, context.slice["domain"]
    filters = context.recipe.domains[domain].filters
    references = read_lines(context.parent("split") / domain / f"train.{languages.target}")
    for part, sources in _parts(work):
        marks, translations = _marked(part)
        pieces = decoder.pieces(sources), decoder.pieces(translations)
        rows = []
        for source, translation, mark, *sides in zip(sources, translations, marks, *pieces, strict=True):
            reason = _reason(source, translation, filters, languages, cut_off=mark == "1", sides=sides)
            reference = next(references)
            if reason is None:
                counts["translated"] += 1
            else:
                counts["reference kept"][reason] += 1
            rows.append(GroupedPair(domain, source, translation if reason is None else reference))
        yield rows


def _binarize(context: StepContext, work: Path, suffix: str) -> None:
    """Run fairseq-preprocess, without its workers: CTranslate2 is not safe to fork; and copy the vocabulary's name."""
    output = context.dir / DATA / (context.slice["domain"] + suffix)
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
    shutil.copyfile(context.parent("binarize") / VOCABULARY, context.dir / VOCABULARY)
