"""Words the recipe that `mtkd init` writes: every choice with its reason, every file with its count.

What it owns: the text of the file. What it must not know: how anything was found or chosen.
Why not dumped by a YAML library: the comments are what makes the file one that a person can change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from mtkd.corpus.discover import CountedCorpus, Discovery
from mtkd.recipe import Recipe
from mtkd.recipe_text import GENERAL, Columns, Domain

MOST_UNUSABLE = 200
"""More unusable files than this are counted, not listed."""


@dataclass(frozen=True)
class Sides:
    """What a group's text came to: pairs kept by cleaning, and on each side of the split."""

    kept: int
    train: int
    dev: int
    test: int


def recipe_text(recipe: Recipe, found: Discovery, sides: Mapping[str, Sides], *, folder: Path) -> str:
    """A recipe as commented YAML; paths are relative to `folder`, where it will lie."""
    general = [""] if recipe.general is None else ["", *_general(recipe.general, found, sides, folder)]
    lines = [
        "# Written by `mtkd init` for the files of this folder, and yours to change. All keys: docs/recipe.md.",
        "# Paths start at this file's folder. An unknown key is an error: `mtkd check` names the nearest valid one.",
        "",
        f"name: {_scalar(recipe.name)}  # names the run's folder, runs/<name>",
        "",
        "languages:",
        f"  source: {_scalar(recipe.languages.source)}",
        f"  target: {_scalar(recipe.languages.target)}",
        "",
        "# A domain is a folder, or a file beside the folders. Each gets a teacher of its own; one student learns from",
        "# them all. A domain called `general` would be text of no field in particular: for the generic model only.",
        "domains:",
        *(line for name, domain in recipe.domains.items() for line in _group(name, domain, found, sides, folder, "  ")),
        *general,
        *_models(recipe, sides),
        *_unusable(found),
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _general(domain: Domain, found: Discovery, sides: Mapping[str, Sides], folder: Path) -> Iterator[str]:
    yield "# Text of no domain in particular: for the generic model, and a test set that shows what specialising costs."
    yield from _group(GENERAL, domain, found, sides, folder, "")


def _group(
    name: str, domain: Domain, found: Discovery, sides: Mapping[str, Sides], folder: Path, indent: str
) -> Iterator[str]:
    of, split = sides[name], domain.split
    read = sum(counted.pairs for counted in found.groups[name])
    yield f"{indent}{name}:  # {read:,} pairs, {of.kept:,} of them left after cleaning"
    yield f"{indent}  corpora:"
    for counted in found.groups[name]:
        yield from (f"{indent}    {line}" for line in _corpus(counted, folder))
    yield f"{indent}  split:  # was: {of.train:,} train, {of.dev:,} dev, {of.test:,} test"
    yield f"{indent}    test: {split.test}  # a tenth, but at least about 20 and at most about 1,000 pairs"
    yield f"{indent}    dev: {split.dev}"
    yield f"{indent}    minimum: {split.minimum}  # fewer pairs in dev or test are an error; half of what is there"


def _corpus(counted: CountedCorpus, folder: Path) -> Iterator[str]:
    corpus = counted.corpus
    yield f"- reader: {corpus.reader}  # {counted.pairs:,} pairs"
    for key, path in corpus.names().items():
        yield f"  {key}: {_scalar(os.path.relpath(path, folder))}"
    if corpus.columns != Columns():
        yield "  columns:  # by the file's first line"
        columns = corpus.columns.model_dump(exclude_none=True)
        yield from (f"    {key}: {_scalar(name)}" for key, name in columns.items())
    yield f"  licence: {_scalar(corpus.licence)}  # put right: it goes into counts, report and bundle"


def _models(recipe: Recipe, sides: Mapping[str, Sides]) -> Iterator[str]:
    pairs = sum(of.train for of in sides.values())
    yield ""
    yield f"# One vocabulary for all models; the largest that suits {pairs:,} training pairs and that they can fill."
    yield "subword:"
    yield f"  vocab_size: {recipe.subword.vocab_size}  # a multiple of 8"
    yield ""
    yield "# Shares of the training pairs that are rewritten, so that untidy text is translated too; 0: none."
    yield "augmentation:"
    for kind, share in recipe.augmentation.model_dump().items():
        yield f"  {kind}: {share:g}"
    yield ""
    yield "model:  # pico | nano | micro | tiny | small | base | base_deep_shallow | big, as --preset says"
    yield f"  teacher: {recipe.model.teacher}"
    yield f"  student: {recipe.model.student}"
    yield ""
    yield "# By the amount of text: about 30 passes over it for generic, 10 over the largest domain's for teachers, 15"
    yield "# over all of it for the student; fewer where five validations in a row are no better."
    yield "training:"
    for role, training in recipe.training:
        yield f"  {role}:"
        for key in ("updates", "patience", "validate_every", "warmup_updates", "learning_rate", "max_tokens"):
            yield f"    {key}: {getattr(training, key)}"
    yield ""
    yield "# How much the student learns from its teachers, and how much from the translations themselves."
    yield "distill:"
    yield f"  kd_weight: {recipe.distill.kd_weight}"


def _unusable(found: Discovery) -> Iterator[str]:
    if found.unusable:
        yield ""
        yield f"# Not used, {len(found.unusable):,} files:"
        for file in found.unusable[:MOST_UNUSABLE]:
            yield "".join(char if char.isprintable() else "?" for char in f"# - {file.path}: {file.reason}")
        if len(found.unusable) > MOST_UNUSABLE:
            yield f"# - and {len(found.unusable) - MOST_UNUSABLE:,} more"


def _scalar(text: str) -> str:
    """A text as YAML writes it: in quotes where it would be read as something else, as `no` would."""
    return yaml.safe_dump(text, allow_unicode=True, width=10_000).removesuffix("\n").removesuffix("\n...")
