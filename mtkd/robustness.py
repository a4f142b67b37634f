"""What becomes of the systems on test sets that were changed: other letters, typos, no full stop, short sentences.

What it owns: the shape of these results. What it must not know: how the sets are changed (`corpus/robustness.py`),
files. Why against routing too: a classifier that mistakes a changed sentence sends it to the wrong teacher.
"""

from __future__ import annotations

from typing import Any

from mtkd.comparisons import correct, together, turn
from mtkd.scoring import METRICS, check_lengths, macro, paired_bootstrap, score

AGAINST = ("mixed", "routing")
"""What the student is tested against."""
ByVariant = dict[str, dict[str, list[str]]]
"""Variant -> domain -> sentences."""


def evaluate_robustness(
    hypotheses: dict[str, ByVariant], references: ByVariant, *, target_lang: str, seed: int, resamples: int = 10_000
) -> dict[str, Any]:
    """Scores of `hypotheses` (by system) on changed test sets, as plain JSON-able data.

    `robustness` variant -> metric -> system -> domain -> score; `robustness_macro` variant -> metric -> system -> mean
    over the domains; `robustness_against` metric -> variant -> system -> test of the student against it, on all
    domains' sentences together, with Holm's correction over all tests of one metric; `robustness_sentences` variant ->
    domain -> count. A domain of which a variant leaves no sentence is left out of that variant.

    Raises:
        MtkdError: not as many hypotheses as there are references.
    """
    kept = {variant: {domain: of for domain, of in sets.items() if of} for variant, sets in references.items()}
    kept = {variant: sets for variant, sets in kept.items() if sets}
    scores: dict[str, Any] = {}
    tests: dict[str, Any] = {metric: {} for metric in METRICS}
    for variant, sets in kept.items():
        systems = {system: {domain: of[variant][domain] for domain in sets} for system, of in hypotheses.items()}
        scores[variant] = _scores(systems, sets, variant, target_lang)
        student = together(systems["student"], list(sets))
        others = {system: together(systems[system], list(sets)) for system in AGAINST if system in systems}
        found = paired_bootstrap(
            student,
            others,
            together(sets, list(sets)),
            target_lang=target_lang,
            seed=seed,
            resamples=resamples,
        )
        for metric, of in tests.items():
            of[variant] = {system: by_metric[metric] for system, by_metric in found.items()}
    turn(tests)
    correct(tests)
    return {
        "robustness": scores,
        "robustness_macro": {
            variant: {
                metric: {system: macro(list(of.values())) for system, of in by_system.items()}
                for metric, by_system in by_metric.items()
            }
            for variant, by_metric in scores.items()
        },
        "robustness_against": tests,
        "robustness_sentences": {
            variant: {domain: len(of) for domain, of in sets.items()} for variant, sets in kept.items()
        },
    }


def _scores(
    systems: dict[str, dict[str, list[str]]], references: dict[str, list[str]], variant: str, target_lang: str
) -> dict[str, Any]:
    """Metric -> system -> domain -> score."""
    found: dict[str, Any] = {metric: {} for metric in METRICS}
    for system, by_domain in systems.items():
        for domain, lines in by_domain.items():
            check_lengths(f"{system} on {domain} ({variant})", lines, references[domain])
            for metric, value in score(lines, references[domain], target_lang=target_lang).items():
                found[metric].setdefault(system, {})[domain] = value
    return found
