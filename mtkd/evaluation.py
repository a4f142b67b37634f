"""Hypotheses and references in, scores and what may be claimed from them out.

What it owns: the comparison of systems (each against mixed fine-tuning, the share of the gap closed) and the shape
of the results. What it must not know: files, torch, fairseq, plots; how one score is computed: `scoring.py`.

Test sets are the domains and, where it has hypotheses, the general text. Models are `generic`, `mixed`, `student` and
`teacher.<domain>`; the system `teachers` answers each domain with its own teacher, which is routing by an oracle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from mtkd.errors import MtkdError
from mtkd.scoring import METRICS, Score, check_lengths, holm, macro, paired_bootstrap, score

BASELINE = "mixed"
"""The system that the others are tested against: mixed fine-tuning, the strongest simple single model."""
TEACHERS = "teachers"
ALPHA = 0.05
WORTH_IT = 0.5
"""BLEU that a teacher must be ahead of mixed fine-tuning on dev before distilling it is likely to show."""


@dataclass(frozen=True)
class EvaluationInputs:
    """What was translated by whom, and what it should have been.

    `hypotheses` maps model -> test set -> sentences, `references` test set -> sentences in the same order.
    """

    hypotheses: dict[str, dict[str, list[str]]]
    references: dict[str, list[str]]
    domains: list[str]
    systems: list[str]
    target_lang: str
    seed: int
    resamples: int = 10_000


def evaluate(inputs: EvaluationInputs) -> dict[str, Any]:
    """Everything that is known of the systems, as plain JSON-able data.

    `scores` metric -> system -> test set -> score; `macro` metric -> system -> unweighted mean of the domains' scores;
    `heatmap` metric -> model -> test set -> score, so a teacher is seen off its domain; `significance` metric ->
    system -> test set -> {"difference", "p_value", "p_holm", "significant", "signature"} against `mixed`; `pooled`
    metric -> system -> the same on the sentences of all domains together; `gap_closed` metric -> {"value", "reason"}.
    Holm's correction is over all comparisons of one metric, the pooled ones included.

    Raises:
        MtkdError: hypotheses that are missing, or not as many as there are references.
    """
    test_sets = _test_sets(inputs)
    outputs = {system: _outputs(inputs, system, test_sets) for system in inputs.systems}
    heatmap: dict[str, dict[str, dict[str, Score]]] = {metric: {} for metric in METRICS}
    for model, by_test_set in inputs.hypotheses.items():
        for test_set in (name for name in test_sets if name in by_test_set):
            check_lengths(f"{model} on {test_set}", by_test_set[test_set], inputs.references[test_set])
            scored = score(by_test_set[test_set], inputs.references[test_set], target_lang=inputs.target_lang)
            for metric, value in scored.items():
                heatmap[metric].setdefault(model, {})[test_set] = value
    scores = {
        metric: {
            system: {name: models[_model(system, name)][name] for name in outputs[system]} for system in inputs.systems
        }
        for metric, models in heatmap.items()
    }
    means = {
        metric: {
            system: macro([by_test_set[domain] for domain in inputs.domains]) for system, by_test_set in of.items()
        }
        for metric, of in scores.items()
    }
    significance, pooled = _comparisons(inputs, outputs)
    return {
        "target_lang": inputs.target_lang,
        "domains": list(inputs.domains),
        "test_sets": test_sets,
        "sentences": {name: len(inputs.references[name]) for name in test_sets},
        "systems": list(inputs.systems),
        "baseline": BASELINE if BASELINE in inputs.systems else None,
        "resamples": inputs.resamples,
        "alpha": ALPHA,
        "scores": scores,
        "macro": means,
        "heatmap": heatmap,
        "significance": significance,
        "pooled": pooled,
        "gap_closed": {metric: gap_closed(means[metric], pooled.get(metric, {})) for metric in METRICS},
    }


def gap_closed(means: dict[str, Score], pooled: dict[str, Score]) -> dict[str, Any]:
    """(student - mixed) / (teachers - mixed) on macro averages, as {"value": float | None, "reason": str | None}.

    `None` where teachers - mixed is not significant or not positive: a share of nothing is not a number.
    """
    missing = [system for system in (BASELINE, TEACHERS, "student") if system not in means]
    if missing:
        return {"value": None, "reason": f"not among the systems: {', '.join(missing)}"}
    mixed, teachers, student = (means[system]["score"] for system in (BASELINE, TEACHERS, "student"))
    if teachers <= mixed:
        return {"value": None, "reason": "the teachers are not better than mixed fine-tuning"}
    if not pooled[TEACHERS]["significant"]:
        return {"value": None, "reason": "the difference between teachers and mixed fine-tuning is not significant"}
    return {"value": (student - mixed) / (teachers - mixed), "reason": None}


def teacher_gap(
    dev_hypotheses: dict[str, dict[str, list[str]]],
    dev_references: dict[str, list[str]],
    domains: list[str],
    target_lang: str,
) -> dict[str, Any]:
    """Teacher minus mixed in BLEU per domain, on dev text: is there a gap for distillation to close?

    Returns {"domains": {domain: {"teacher", "mixed", "difference", "worth_it"}}, "messages": [one line a domain]}.

    Raises:
        MtkdError: hypotheses that are missing, or not as many as there are references.
    """
    if BASELINE not in dev_hypotheses:
        return {"domains": {}, "messages": ["no mixed fine-tuning among the systems: the teachers' gap is not known"]}
    found: dict[str, Any] = {}
    messages = []
    for domain in domains:
        references = dev_references[domain]
        scored = {}
        for role, model in (("teacher", f"teacher.{domain}"), ("mixed", BASELINE)):
            hypotheses = _hypotheses(dev_hypotheses, model, domain)
            check_lengths(f"{model} on {domain} (dev)", hypotheses, references)
            scored[role] = score(hypotheses, references, target_lang=target_lang)["bleu"]
        difference = scored["teacher"]["score"] - scored["mixed"]["score"]
        found[domain] = {**scored, "difference": difference, "worth_it": difference >= WORTH_IT}
        messages.append(_gap_message(domain, difference))
    return {"domains": found, "messages": messages}


def _gap_message(domain: str, difference: float) -> str:
    figure = f"({difference:+.1f} BLEU on dev)"
    if difference >= WORTH_IT:
        return f"domain {domain}: the teacher is better than mixed fine-tuning {figure}"
    how, gap = ("hardly", "almost no gap") if round(difference, 1) > 0 else ("not", "no gap")
    return (
        f"domain {domain}: the teacher is {how} better than mixed fine-tuning {figure}: "
        f"there is {gap} for distillation to close"
    )


def _comparisons(
    inputs: EvaluationInputs, outputs: dict[str, dict[str, list[str]]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every system against the baseline, on each test set and on all domains' sentences together."""
    if BASELINE not in inputs.systems:
        return {}, {}
    test = partial(paired_bootstrap, target_lang=inputs.target_lang, seed=inputs.seed, resamples=inputs.resamples)
    significance: dict[str, Any] = {metric: {} for metric in METRICS}
    pooled: dict[str, Any] = {metric: {} for metric in METRICS}
    baseline = outputs[BASELINE]
    others = {system: by_test_set for system, by_test_set in outputs.items() if system != BASELINE}
    for test_set in baseline:
        systems = {system: of[test_set] for system, of in others.items() if test_set in of}
        for system, found in test(baseline[test_set], systems, inputs.references[test_set]).items():
            for metric, row in found.items():
                significance[metric].setdefault(system, {})[test_set] = row

    def together(by_test_set: dict[str, list[str]]) -> list[str]:
        return [line for domain in inputs.domains for line in by_test_set[domain]]

    systems = {system: together(of) for system, of in others.items()}
    for system, found in test(together(baseline), systems, together(inputs.references)).items():
        for metric, row in found.items():
            pooled[metric][system] = row
    for metric in METRICS:
        rows = [row for of in significance[metric].values() for row in of.values()] + list(pooled[metric].values())
        for row, p_holm in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
            row["p_holm"] = p_holm
            row["significant"] = p_holm < ALPHA
    return significance, pooled


def _test_sets(inputs: EvaluationInputs) -> list[str]:
    """The domains in the recipe's order, then whatever else has references (the general text)."""
    return [*inputs.domains, *(name for name in inputs.references if name not in inputs.domains)]


def _model(system: str, test_set: str) -> str:
    return f"teacher.{test_set}" if system == TEACHERS else system


def _outputs(inputs: EvaluationInputs, system: str, test_sets: list[str]) -> dict[str, list[str]]:
    """A system's sentences by test set; no teacher is the general text's own."""
    names = inputs.domains if system == TEACHERS else test_sets
    return {name: _hypotheses(inputs.hypotheses, _model(system, name), name) for name in names}


def _hypotheses(hypotheses: dict[str, dict[str, list[str]]], model: str, test_set: str) -> list[str]:
    try:
        return hypotheses[model][test_set]
    except KeyError:
        raise MtkdError(f"no translation of '{test_set}' by '{model}'; translate it and evaluate again") from None
