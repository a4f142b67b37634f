"""Cleans a domain's text without references, and says which of its teacher's translations of it may be learnt from.

What it owns: what is dropped of such text, before and after it is translated, and the counts (`transfer.json`).
What it must not know: teachers, models, who translates. How leaks are found: `leakage.py`.
Why purged once more: this text was in no split, so nothing has kept it from giving a dev or test set away.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtkd.corpus.clean import Progress, normalise
from mtkd.corpus.filters import FILTERS, reason_to_drop
from mtkd.corpus.leakage import LEAKS, GroupedPair, HeldOut
from mtkd.corpus.readers import count_pairs, read_corpus
from mtkd.corpus.split import read_side
from mtkd.corpus.textfile import writing
from mtkd.errors import CorpusError
from mtkd.recipe import Recipe
from mtkd.recipe_text import Filters, Languages

logger = logging.getLogger(__name__)

COUNTS = "transfer.json"
REASONS = ("empty", *FILTERS, "duplicate", "has_reference", *LEAKS, "cut_off", "untranslated", "too_long")
"""Why a sentence is dropped: by itself, for other text there is, for its translation."""
_REPORT_EVERY = 20_000


def clean_transfer(
    recipe: Recipe, domain: str, split_dir: Path, out: Path, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Write what is kept of a domain's text without references into the file `out`, normalised, a sentence a line.

    Returns the counts: `read`, `kept`, `dropped` (by REASONS), `licences`.

    Raises:
        CorpusError: a file that cannot be used, or nothing left.
    """
    counts = _counts(recipe, domain)
    with writing(out) as file:
        file.writelines(source + "\n" for source in _kept(recipe, domain, split_dir, counts, progress))
    refuse_nothing(domain, counts)
    logger.info("domain=%s read=%d kept=%d", domain, counts["read"], counts["kept"])
    return counts


def reason_to_drop_translation(
    source: str, translation: str, filters: Filters, languages: Languages, *, cut_off: bool
) -> str | None:
    """Why a normalised translation teaches nothing: it was cut off, is empty, or a reference like it would be dropped.

    A hypothesis that is cut off by the limit on its length is a loop, and its last token no end of a sentence.
    """
    if cut_off:
        return "cut_off"
    return reason_to_drop(source, translation, filters, languages) if translation else "untranslated"


def refuse_nothing(domain: str, counts: dict[str, Any]) -> None:
    """Stop where no sentence is left.

    Raises:
        CorpusError: with the reasons.
    """
    if counts["kept"] == 0:
        raise CorpusError(
            f"'{domain}': none of its {counts['read']} sentences without references is left ({dropped(counts)}); "
            "take that corpus out, or mend what dropped them"
        )


def dropped(counts: dict[str, Any]) -> str:
    """The reasons that dropped something, with their counts: `duplicate 3, cut_off 1`."""
    return ", ".join(f"{reason} {count}" for reason, count in counts["dropped"].items() if count) or "none"


def describe_transfer(recipe: Recipe, split_dir: Path | None = None) -> dict[str, list[str]]:
    """Lines for people about each domain's text without references, as far as it is known before it is translated.

    Without a split, what leaks or has a reference in train is not looked for.

    Raises:
        CorpusError: a file that cannot be used, or nothing left.
    """
    lines = {}
    for domain in recipe.transfer_domains():
        counts = _counts(recipe, domain)
        for _ in _kept(recipe, domain, split_dir, counts, None):
            pass
        refuse_nothing(domain, counts)
        lines[domain] = [
            f"{counts['read']} sentences without references read, {counts['kept']} kept for its teacher to translate "
            f"(dropped: {dropped(counts)}); {', '.join(counts['licences'])}"
        ]
    return lines


def _counts(recipe: Recipe, domain: str) -> dict[str, Any]:
    corpora = recipe.domains[domain].with_references(False)
    return {
        "read": 0,
        "kept": 0,
        "dropped": dict.fromkeys(REASONS, 0),
        "licences": sorted({corpus.licence for corpus in corpora}),
    }


def _kept(
    recipe: Recipe, domain: str, split_dir: Path | None, counts: dict[str, Any], progress: Progress | None
) -> Iterator[str]:
    """Stream the sentences that are kept; all of them are counted."""
    corpora = recipe.domains[domain].with_references(False)
    total = sum(count_pairs(corpus) for corpus in corpora) if progress else 0
    reasons = _SourceReasons(recipe, domain, split_dir)
    for corpus in corpora:
        for pair in read_corpus(corpus, recipe.languages):
            counts["read"] += 1
            if progress and counts["read"] % _REPORT_EVERY == 0:
                progress(domain, counts["read"], total)
            source = normalise(pair.source)
            if reason := reasons.reason_to_drop(source):
                counts["dropped"][reason] += 1
            else:
                counts["kept"] += 1
                yield source


class _SourceReasons:
    """Why a source without a reference is dropped, given those before it and the split's texts."""

    def __init__(self, recipe: Recipe, domain: str, split_dir: Path | None) -> None:
        self._domain = domain
        # A source alone is filtered as a pair with itself, in its own language, in which only a copy would be no fault.
        self._filters = recipe.domains[domain].filters.model_copy(update={"copies": False})
        self._languages = Languages(source=recipe.languages.source, target=recipe.languages.source)
        self._seen: set[bytes] = set()
        self._has_reference: set[bytes] = set()
        self._held_out = HeldOut([])
        if split_dir is not None:
            train = read_side(split_dir, domain, "train", recipe.languages)
            self._has_reference = {_digest(pair.source) for pair in train}
            sides = [(group, side) for side in ("dev", "test") for group in recipe.corpora_groups()]
            self._held_out = HeldOut(
                pair for group, side in sides for pair in read_side(split_dir, group, side, recipe.languages)
            )

    def reason_to_drop(self, source: str) -> str | None:
        """The first of REASONS that drops this normalised sentence; None keeps it."""
        if reason := reason_to_drop(source, source, self._filters, self._languages):
            return reason
        digest = _digest(source)
        if digest in self._seen:
            return "duplicate"
        self._seen.add(digest)
        if digest in self._has_reference:
            return "has_reference"
        # No held-out target is empty, so that only sources are compared.
        return self._held_out.leak(GroupedPair(self._domain, source, ""))


def _digest(source: str) -> bytes:
    """What is remembered of a sentence, so that memory does not grow with its length."""
    return hashlib.blake2b(source.encode(), digest_size=16).digest()
