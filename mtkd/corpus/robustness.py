"""Test sets as people type: in capitals, with slips of the fingers, without a full stop, very short.

What it owns: `VARIANTS`, one row a kind of untidy text, and which pairs of a test set each of them takes. What it must
not know: models, scores, files. Why the changes are `augment`'s: what a model is tried on is what it was made ready
for, on text that it has not seen. Why pairs are left out: a score should be of untidy text only, so a pair whose
source stays as it was is in no variant; a variant's score is therefore of fewer pairs than the test set has.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from mtkd.corpus.augment import (
    Rewrite,
    composed,
    no_final_punctuation,
    row_generator,
    title_case,
    typos,
    upper_case,
)

SHORT_WORDS = 6
"""`short` has the sources of at most so many words. Recipes drop pairs of fewer than four, so these have four to six;
with five a small domain's test set of some 300 pairs would keep twenty of them, too few to score."""
Variant = Callable[[str, str, random.Random], tuple[str, str] | None]
"""Source and reference as they become, by the row's own random numbers; None where the variant has no such pair."""


def perturbed(
    sources: Sequence[str], references: Sequence[str], *, variant: str, seed: int
) -> tuple[list[str], list[str]]:
    """The sources and references of one of `VARIANTS`, in their order; pairs that it does not take are left out.

    A pair becomes the same whatever other pairs there are. No pair may be left: nothing is to be scored then.
    """
    rows = [
        row
        for source, reference in zip(sources, references, strict=True)
        if (row := VARIANTS[variant](source, reference, row_generator(variant, source, reference, seed=seed)))
    ]
    return [source for source, _ in rows], [reference for _, reference in rows]


def short(source: str, reference: str, _: random.Random) -> tuple[str, str] | None:
    """A pair as it is, if its source has at most SHORT_WORDS words: there is little to tell a domain by."""
    return (source, reference) if len(source.split()) <= SHORT_WORDS else None


def _changed(rewrite: Rewrite) -> Variant:
    """The variant of the pairs whose source an augmentation changes."""

    def variant(source: str, reference: str, rng: random.Random) -> tuple[str, str] | None:
        sides = composed(rewrite(source, reference, rng))
        return sides if sides[0] != source else None

    return variant


VARIANTS: dict[str, Variant] = {
    "upper_case": _changed(upper_case),
    "title_case": _changed(title_case),
    "typos": _changed(typos),
    "no_final_punctuation": _changed(no_final_punctuation),
    "short": short,
}
"""What becomes of a reference, too. upper_case, title_case: it takes the case of its source, and scores are cased, so a
translation in ordinary case loses. typos: it stays, a slip is to be understood and not translated.
no_final_punctuation: it loses its mark as well, and pairs where only one side has one are left out. short: it stays."""
