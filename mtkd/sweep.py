"""The students of a sweep against each other, on dev: which kd_weight and which temperature to take.

What it owns: `compare_points` and the shape of its result.
What it must not know: files, recipes, torch; how one score is computed (`scoring.py`); what may be claimed of the
result (`findings.py`). Why dev alone: a point is fitted to the text that it is chosen on, and test is to stay unread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mtkd.comparisons import ALPHA
from mtkd.scoring import METRICS, Score, check_lengths, holm, macro, paired_bootstrap, score

OWN = "student"
"""The run's own student, which the others are tested against where no point has a kd_weight of 0."""


@dataclass(frozen=True)
class SweepPoint:
    """One student: its settings, its dev translations by domain, and the rows of its training log."""

    kd_weight: float
    temperature: float
    hypotheses: dict[str, list[str]]
    metrics: list[dict[str, Any]]


def compare_points(
    points: dict[str, SweepPoint],
    references: dict[str, list[str]],
    *,
    target_lang: str,
    seed: int,
    resamples: int = 10_000,
) -> dict[str, Any]:
    """Everything that is known of the points (model -> point), as plain JSON-able data; `references` by domain.

    `points` model -> {"kd_weight", "temperature", "scores": metric -> domain -> score, "macro": metric -> score,
    "nll": what `chosen_nll` says}; `best` the model with the highest macro BLEU; `baseline` the model that the others
    are tested against; `tests` metric -> model -> {"difference", "p_value", "p_holm", "significant", "signature"} on
    the sentences of all domains together, Holm's correction being over all points of a metric: it also pays for
    having looked for the best of them.

    Raises:
        MtkdError: not as many hypotheses as references.
    """
    rows = {name: _row(name, point, references, target_lang) for name, point in points.items()}
    baseline = _baseline(points)
    tests: dict[str, dict[str, Any]] = {metric: {} for metric in METRICS}
    if baseline is not None:
        together = {name: _together(point.hypotheses, references) for name, point in points.items()}
        found = paired_bootstrap(
            together.pop(baseline),
            together,
            _together(references, references),
            target_lang=target_lang,
            seed=seed,
            resamples=resamples,
        )
        for metric, of in tests.items():
            of |= {name: by_metric[metric] for name, by_metric in found.items()}
            for row, p_holm in zip(of.values(), holm([row["p_value"] for row in of.values()]), strict=True):
                row |= {"p_holm": p_holm, "significant": p_holm < ALPHA}
    return {
        "domains": list(references),
        "sentences": {domain: len(lines) for domain, lines in references.items()},
        "alpha": ALPHA,
        "points": rows,
        "best": max(rows, key=lambda name: rows[name]["macro"]["bleu"]["score"]),
        "baseline": baseline,
        "tests": tests,
    }


def chosen_nll(metrics: list[dict[str, Any]], domains: list[str]) -> dict[str, Any] | None:
    """Dev NLL in bits a token at the validation with the lowest loss, which is what a checkpoint is chosen by.

    {"update", "all", "domains": domain -> NLL or None}; None where nothing was validated.
    """
    valid = [row for row in metrics if row.get("split") == "valid" and {"loss", "nll_loss"} <= row.keys()]
    if not valid:
        return None
    row = min(valid, key=lambda row: row["loss"])
    by_domain = {domain: row.get(f"{domain}_nll_loss") for domain in domains}
    return {"update": row["update"], "all": row["nll_loss"], "domains": by_domain}


def _row(name: str, point: SweepPoint, references: dict[str, list[str]], target_lang: str) -> dict[str, Any]:
    scores: dict[str, dict[str, Score]] = {metric: {} for metric in METRICS}
    for domain, lines in references.items():
        check_lengths(f"{name} on {domain} (dev)", point.hypotheses[domain], lines)
        for metric, value in score(point.hypotheses[domain], lines, target_lang=target_lang).items():
            scores[metric][domain] = value
    return {
        "kd_weight": point.kd_weight,
        "temperature": point.temperature,
        "scores": scores,
        "macro": {metric: macro(list(of.values())) for metric, of in scores.items()},
        "nll": chosen_nll(point.metrics, list(references)),
    }


def _baseline(points: dict[str, SweepPoint]) -> str | None:
    """The point without teachers, else the run's own student, if it is one of the points."""
    without = next((name for name, point in points.items() if point.kd_weight == 0.0), None)
    return without or (OWN if OWN in points else None)


def _together(lines: dict[str, list[str]], references: dict[str, list[str]]) -> list[str]:
    """All domains' sentences, in the order of the references."""
    return [line for domain in references for line in lines[domain]]
