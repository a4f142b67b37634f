"""Names of the files that steps hand to one another, and reading them. Imports nothing heavy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtkd.context import StepContext
from mtkd.corpus.textfile import read_lines

DATA = "data"
"""Folder of the binarize step that holds one fairseq-preprocess folder a domain."""
STORE, CAPTURED = "store", "capture.json"
STOCK, FLOAT32, DECODED, HYPOTHESES = "student.pt", "float32", "decode.json", "hypotheses"
ROUTES, CHOICES = "routing.json", "choices"
PERTURBED, TRANSLATIONS = "perturbed", "translate.json"
GAP, SWEEP, RESULTS, BUNDLE = "gap.json", "sweep.json", "results.json", "bundle"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that a step wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def read_references(context: StepContext, side: str, groups: list[str]) -> dict[str, list[str]]:
    """Target sentences of one side of the split, by group."""
    return _read_split(context, side, groups, context.recipe.languages.target)


def read_sources(context: StepContext, side: str, groups: list[str]) -> dict[str, list[str]]:
    """Source sentences of one side of the split, by group."""
    return _read_split(context, side, groups, context.recipe.languages.source)


def read_hypotheses(decoded: Path, side: str) -> dict[str, list[str]]:
    """What a decode step wrote for one side of the split, or one way to change the test sets, by group."""
    return _by_group(decoded / HYPOTHESES, side)


def read_choices(routed: Path, side: str) -> dict[str, list[str]]:
    """The domain that the step route chose for each sentence, by group; `side` as for `read_hypotheses`."""
    return _by_group(routed / CHOICES, side)


def read_perturbed(changed: Path, variant: str, lang: str) -> dict[str, list[str]]:
    """One language of the domains' test sets, changed in one way; without domains of which that left nothing."""
    return {path.parent.name: list(read_lines(path)) for path in (changed / PERTURBED).glob(f"*/{variant}.{lang}")}


def _read_split(context: StepContext, side: str, groups: list[str], lang: str) -> dict[str, list[str]]:
    split = context.parent("split")
    return {group: list(read_lines(split / group / f"{side}.{lang}")) for group in groups}


def _by_group(folder: Path, side: str) -> dict[str, list[str]]:
    return {path.name.split(".")[0]: list(read_lines(path)) for path in folder.glob(f"*.{side}.txt")}
