"""From a fairseq checkpoint to a servable bundle, through gates that compare what is served with what was trained.

What it owns: conversion, the parity gates, and the bundle's files. What it must not know: recipes, the DAG.
Why gates: a converted or quantised model that is subtly wrong still translates fluently.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from ctranslate2.converters import FairseqConverter
from fairseq.data import Dictionary

from mtkd import __version__, fairseq_model
from mtkd.bundle import MANIFEST, SUBWORD_MODEL, Manifest, ModelBundle, describe_files
from mtkd.corpus.subword import dictionary_symbols, fingerprint
from mtkd.decoding import Beam, Decoder
from mtkd.errors import ExportRefused, UsageError
from mtkd.scoring import score

MAX_NLL_DIFFERENCE = 0.001
"""Nats a token between fairseq and the float32 conversion."""
MAX_INT8_COST = {"bleu": 0.5, "chrf": 0.3}
"""Points on dev that int8 may cost against float32."""
PARITY_PAIRS = 100
VERSIONED = ("fairseq-fixed", "torch", "ctranslate2", "sentencepiece", "sacrebleu")


@dataclass(frozen=True)
class Vocabulary:
    """The files that make text into a model's symbols, and the pair of languages."""

    subword_model: Path
    dictionary: Path
    source_lang: str
    target_lang: str


def convert(stock: Path, vocabulary: Vocabulary, target: Path, *, quantization: str | None = None) -> None:
    """Convert a stock fairseq checkpoint into a CTranslate2 model folder, written beside and renamed.

    Raises:
        ExportRefused: the model is of a kind CTranslate2 cannot convert.
    """
    beside = target.with_name(target.name + ".partial")
    dictionaries = target.with_name(target.name + ".dict")
    for folder in (beside, dictionaries):
        shutil.rmtree(folder, ignore_errors=True)
    dictionaries.mkdir(parents=True)
    for lang in (vocabulary.source_lang, vocabulary.target_lang):
        shutil.copyfile(vocabulary.dictionary, dictionaries / f"dict.{lang}.txt")
    converter = FairseqConverter(
        str(stock), str(dictionaries), source_lang=vocabulary.source_lang, target_lang=vocabulary.target_lang
    )
    try:
        converter.convert(str(beside), quantization=quantization)
    except ValueError as error:
        raise ExportRefused(f"{stock}: CTranslate2 cannot convert this model: {error}") from None
    finally:
        shutil.rmtree(dictionaries)
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)


@torch.no_grad()
def fairseq_nll(stock: Path, vocabulary: Vocabulary, sources: Sequence[str], targets: Sequence[str]) -> float:
    """Negative log-likelihood of the targets in nats a token, EOS included, by fairseq in float32."""
    dictionary = Dictionary.load(str(vocabulary.dictionary))
    model = fairseq_model.load_model(stock, dictionary, vocabulary.source_lang, vocabulary.target_lang)
    total, tokens = 0.0, 0
    for source, target in zip(sources, targets, strict=True):
        ids = [dictionary.encode_line(text, add_if_not_exist=False).long()[None] for text in (source, target)]
        previous = ids[1].roll(1)
        log_q_TV = model(ids[0], torch.tensor([ids[0].size(1)]), previous)[0][0].log_softmax(-1)
        total -= float(log_q_TV.gather(1, ids[1].T).sum())
        tokens += ids[1].size(1)
    return total / tokens


def check_conversion(
    stock: Path, float32: Path, vocabulary: Vocabulary, sources: Sequence[str], targets: Sequence[str]
) -> dict[str, float]:
    """Compare the NLL of (at most PARITY_PAIRS) sentence pairs under fairseq and under the conversion.

    Raises:
        ExportRefused: they differ by more than MAX_NLL_DIFFERENCE.
    """
    decoder = Decoder(float32, vocabulary.subword_model, threads=1)
    step = max(1, len(sources) // PARITY_PAIRS)
    sources, targets = sources[::step], targets[::step]
    pieces = [[" ".join(line) for line in decoder.pieces(side)] for side in (sources, targets)]
    trained = fairseq_nll(stock, vocabulary, pieces[0], pieces[1])
    converted = decoder.nll(sources, targets)
    if not abs(trained - converted) <= MAX_NLL_DIFFERENCE:
        raise ExportRefused(
            f"{float32}: NLL is {converted:.4f} nats a token after conversion, {trained:.4f} in fairseq: "
            f"more than {MAX_NLL_DIFFERENCE} apart, the converted model is not the trained one"
        )
    return {"fairseq_nll": trained, "float32_nll": converted}


def check_quantisation(
    float32: Sequence[str], int8: Sequence[str], references: Sequence[str], target_lang: str
) -> dict[str, dict[str, Any]]:
    """Scores of both compute types on dev text.

    Raises:
        ExportRefused: int8 costs more than MAX_INT8_COST.
    """
    scores = {
        name: score(list(hypotheses), list(references), target_lang=target_lang)
        for name, hypotheses in (("float32", float32), ("int8", int8))
    }
    for metric, allowed in MAX_INT8_COST.items():
        cost = scores["float32"][metric]["score"] - scores["int8"][metric]["score"]
        if cost > allowed:
            raise ExportRefused(
                f"int8 costs {cost:.2f} {metric} on dev (allowed: {allowed}); serve float32, or train longer: "
                "weights with large outliers quantise badly"
            )
    return scores


def build_bundle(
    stock: Path,
    float32: Path,
    vocabulary: Vocabulary,
    output: Path,
    *,
    manifest: Manifest,
    dev_sources: Sequence[str],
    dev_targets: Sequence[str],
    threads: int,
) -> ModelBundle:
    """Write the bundle at `output`, beside and renamed; `manifest` comes without files, versions and int8 parity.

    Raises:
        ExportRefused: int8 is too much worse than float32 on the dev text.
    """
    beside = output.with_name(output.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    shutil.copytree(float32, beside / "float32")
    convert(stock, vocabulary, beside / "int8", quantization="int8")
    shutil.copyfile(vocabulary.subword_model, beside / SUBWORD_MODEL)
    beam = Beam(manifest.beam, manifest.length_penalty)
    hypotheses = {
        name: Decoder(beside / name, vocabulary.subword_model, threads=threads).translate(dev_sources, beam)
        for name in ("float32", "int8")
    }
    quantised = check_quantisation(hypotheses["float32"], hypotheses["int8"], dev_targets, vocabulary.target_lang)
    complete = replace(
        manifest,
        vocabulary=fingerprint(dictionary_symbols(vocabulary.dictionary)),
        parity=manifest.parity | {"dev": quantised},
        versions={"mtkd": __version__} | {name: version(name) for name in VERSIONED},
        files=describe_files(beside),
    )
    (beside / MANIFEST).write_text(complete.to_json(), encoding="utf-8")
    shutil.rmtree(output, ignore_errors=True)
    beside.rename(output)
    return ModelBundle.open(output)


def export_checkpoint(
    checkpoint_path: Path,
    *,
    subword_model: Path,
    dictionary: Path,
    source_lang: str,
    target_lang: str,
    dev_source: Path,
    dev_target: Path,
    output: Path,
    threads: int = 1,
    beam: int = 5,
    length_penalty: float = 1.0,
) -> ModelBundle:
    """Make a bundle of any fairseq `transformer` checkpoint, trained here or elsewhere.

    Raises:
        UsageError: dev text that is missing, empty or of unequal length.
        CheckpointError: a checkpoint that is broken, unsafe or of another vocabulary.
        ExportRefused: a gate failed.
    """
    dev_sources, dev_targets = (_lines(path) for path in (dev_source, dev_target))
    if not dev_sources or len(dev_sources) != len(dev_targets):
        raise UsageError(
            f"{dev_source} has {len(dev_sources)} lines, {dev_target} {len(dev_targets)}: "
            "the gates need the same number in both, and at least one"
        )
    vocabulary = Vocabulary(subword_model, dictionary, source_lang, target_lang)
    for path in (subword_model, dictionary):
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
    work = output.with_name(output.name + ".work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        parameters = fairseq_model.to_stock(
            checkpoint_path, work / "student.pt", source_lang=source_lang, target_lang=target_lang
        )
        convert(work / "student.pt", vocabulary, work / "float32")
        parity = check_conversion(work / "student.pt", work / "float32", vocabulary, dev_sources, dev_targets)
        manifest = Manifest(
            name=output.name,
            source_lang=source_lang,
            target_lang=target_lang,
            domains=[],
            vocabulary="",
            parameters=parameters,
            beam=beam,
            length_penalty=length_penalty,
            max_source_positions=1024,
            max_target_positions=1024,
            parity=dict(parity),
            provenance={"checkpoint": checkpoint_path.name},
        )
        return build_bundle(
            work / "student.pt",
            work / "float32",
            vocabulary,
            output,
            manifest=manifest,
            dev_sources=dev_sources,
            dev_targets=dev_targets,
            threads=threads,
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    return text.removesuffix("\n").split("\n") if text.strip() else []
