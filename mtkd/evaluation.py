"""Hypotheses and references in, scores and what may be claimed from them out.

What it owns: the comparison of systems (each against mixed fine-tuning, the student against each, the share of the
gap closed) and the shape of the results. What it must not know: files, torch, fairseq, plots; how one score is computed
(`scoring.py`), how a family of tests is corrected (`comparisons.py`).

Test sets are the domains and whatever else has references: the general text, fields that nobody trained on. Models are
called as their systems are, but for `teacher.<domain>`: the system `teachers` answers each domain with its own teacher,
which is routing by an oracle; `routing` asks a classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mtkd.comparisons import ALPHA, TOGETHER, Bootstrap, Tests, tests_against, tests_of
from mtkd.errors import MtkdError
from mtkd.scoring import METRICS, Score, check_lengths, macro, paired_bootstrap, resampled_scores, score

BASELINE = "mixed"
"""The system that the others are tested against: mixed fine-tuning, the strongest simple single model."""
TEACHERS, STUDENT = "teachers", "student"
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
    metric -> system -> the same on the sentences of all domains together; `student_against` metric -> every other
    system -> test set, or TOGETHER -> the same for student less system; `gap_closed` metric -> see `gap_closed`.
    Holm's correction is over all comparisons of one metric with `mixed`, the pooled ones included, and over all of the
    student's.

    Raises:
        MtkdError: hypotheses that are missing, or not as many as there are references.
    """
    test_sets = _test_sets(inputs)
    outputs = {system: system_outputs(inputs, system, test_sets) for system in inputs.systems}
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
    test = partial(paired_bootstrap, target_lang=inputs.target_lang, seed=inputs.seed, resamples=inputs.resamples)
    significance, pooled = _against_baseline(inputs, outputs, test)
    others = {system: of for system, of in outputs.items() if system != STUDENT}
    resampled = _resampled_macro(inputs, outputs)
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
        "student_against": tests_of(outputs[STUDENT], others, inputs.references, inputs.domains, test),
        "gap_closed": {
            metric: gap_closed(means[metric], pooled.get(metric, {}), resampled.get(metric)) for metric in METRICS
        },
    }


def gap_closed(
    means: dict[str, Score], pooled: dict[str, Score], resampled: dict[str, npt.NDArray[np.float64]] | None = None
) -> dict[str, Any]:
    """(student - mixed) / (teachers - mixed) on macro averages: {"value": float, "interval": [low, high], "reason"}.

    `value` is None where teachers - mixed is not significant or not positive: a share of nothing is not a number.
    `interval` holds 95 % of the shares on `resampled` macro averages, by system (paired bootstrap, percentiles); it is
    None where more than 2.5 % of them have no gap, as the share then has no bound.
    """
    missing = [system for system in (BASELINE, TEACHERS, STUDENT) if system not in means]
    if missing:
        return _no_share(f"not among the systems: {', '.join(missing)}")
    mixed, teachers, student = (means[system]["score"] for system in (BASELINE, TEACHERS, STUDENT))
    if teachers <= mixed:
        return _no_share("the teachers are not better than mixed fine-tuning")
    if not pooled[TEACHERS]["significant"]:
        return _no_share("the difference between teachers and mixed fine-tuning is not significant")
    interval = _interval(resampled) if resampled else None
    return {"value": (student - mixed) / (teachers - mixed), "interval": interval, "reason": None}


def routed(hypotheses: dict[str, dict[str, list[str]]], choices: dict[str, list[str]]) -> dict[str, list[str]]:
    """Each test set as the teachers translate it that a classifier chose: `choices` test set -> domain by sentence.

    Raises:
        MtkdError: translations that are missing, or not as many as there are choices.
    """
    found = {}
    for test_set, domains in choices.items():
        by_domain = {domain: _hypotheses(hypotheses, f"teacher.{domain}", test_set) for domain in set(domains)}
        for domain, lines in by_domain.items():
            check_lengths(f"teacher.{domain} on {test_set}", lines, domains)
        found[test_set] = [by_domain[domain][line] for line, domain in enumerate(domains)]
    return found


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


def _against_baseline(
    inputs: EvaluationInputs, outputs: dict[str, dict[str, list[str]]], test: Bootstrap
) -> tuple[Tests, dict[str, dict[str, Score]]]:
    """Every system against the baseline, on each test set and on all domains' sentences together."""
    if BASELINE not in inputs.systems:
        return {}, {}
    others = {system: of for system, of in outputs.items() if system != BASELINE}
    tests = tests_against(outputs[BASELINE], others, inputs.references, inputs.domains, test)
    pooled = {metric: {system: rows.pop(TOGETHER) for system, rows in of.items()} for metric, of in tests.items()}
    return tests, pooled


def _resampled_macro(
    inputs: EvaluationInputs, outputs: dict[str, dict[str, list[str]]]
) -> dict[str, dict[str, npt.NDArray[np.float64]]]:
    """Metric -> system -> macro averages [resamples], each domain drawn by itself; of what the gap is made of."""
    systems = (BASELINE, TEACHERS, STUDENT)
    if not set(systems) <= outputs.keys():
        return {}
    drawn = [
        resampled_scores(
            {system: outputs[system][domain] for system in systems},
            inputs.references[domain],
            target_lang=inputs.target_lang,
            seed=inputs.seed + number,
            resamples=inputs.resamples,
        )
        for number, domain in enumerate(inputs.domains)
    ]
    # Of a large test set there are fewer resamples.
    count = min(len(of[BASELINE]) for by_metric in drawn for of in by_metric.values())
    return {
        metric: {system: np.mean([of[metric][system][:count] for of in drawn], axis=0) for system in systems}
        for metric in METRICS
    }


def _interval(resampled: dict[str, npt.NDArray[np.float64]]) -> list[float] | None:
    gap = resampled[TEACHERS] - resampled[BASELINE]
    if (gap <= 0).mean() > ALPHA / 2:
        return None
    shares = (resampled[STUDENT] - resampled[BASELINE])[gap > 0] / gap[gap > 0]
    return [float(bound) for bound in np.quantile(shares, [ALPHA / 2, 1 - ALPHA / 2])]


def _no_share(reason: str) -> dict[str, Any]:
    return {"value": None, "interval": None, "reason": reason}


def _test_sets(inputs: EvaluationInputs) -> list[str]:
    """The domains in the recipe's order, then whatever else has references (the general text)."""
    return [*inputs.domains, *(name for name in inputs.references if name not in inputs.domains)]


def _model(system: str, test_set: str) -> str:
    return f"teacher.{test_set}" if system == TEACHERS else system


def system_outputs(inputs: EvaluationInputs, system: str, test_sets: list[str]) -> dict[str, list[str]]:
    """A system's sentences by test set; no teacher is the general text's own.

    Raises:
        MtkdError: some were not translated.
    """
    names = [name for name in test_sets if system != TEACHERS or name in inputs.domains]
    return {name: _hypotheses(inputs.hypotheses, _model(system, name), name) for name in names}


def _hypotheses(hypotheses: dict[str, dict[str, list[str]]], model: str, test_set: str) -> list[str]:
    try:
        return hypotheses[model][test_set]
    except KeyError:
        raise MtkdError(f"no translation of '{test_set}' by '{model}'; translate it and evaluate again") from None
