"""One system's scores, and whether two systems differ: sacreBLEU's metrics and its paired bootstrap.

What it owns: `METRICS`, the bootstrap against a baseline, Holm's correction.
What it must not know: domains, which systems a run has, files.
Why: scores of different tools, tokenisers or versions cannot be compared, so a score is always
`{"score": float, "signature": str}`, and a difference of two scores means nothing without its test.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import _compute_p_value

from mtkd.errors import MtkdError, UsageError

logger = logging.getLogger(__name__)

Score = dict[str, Any]

METRICS: dict[str, Callable[[str], Any]] = {
    "bleu": lambda target_lang: BLEU(trg_lang=target_lang),  # tokeniser 13a, or zh, ja-mecab, ko-mecab
    "chrf": lambda target_lang: CHRF(),
}
"""Metric name -> sacreBLEU metric for a target language. Higher is better in every row."""

MAX_RESAMPLED_ROWS = 100_000_000
"""Rows x resamples of one test, all of which are held in memory: 16 bytes each (1.6 GB)."""
_SACREBLEU_SEED = 12345
"""What sacreBLEU takes where it is given none; it reads 0 as none."""


def score(hypotheses: list[str], references: list[str], *, target_lang: str) -> dict[str, Score]:
    """Corpus-level scores by metric.

    Raises:
        MtkdError: no sentences, or not as many hypotheses as references.
        UsageError: the target language needs a tokeniser that is not installed.
    """
    check_lengths("the system", hypotheses, references)
    return {
        name: {
            "score": float(metric.corpus_score(hypotheses, [references]).score),
            "signature": str(metric.get_signature()),
        }
        for name, metric in _metrics(target_lang).items()
    }


def paired_bootstrap(
    baseline: list[str],
    systems: dict[str, list[str]],
    references: list[str],
    *,
    target_lang: str,
    seed: int,
    resamples: int = 10_000,
) -> dict[str, dict[str, Score]]:
    """System -> metric -> {"difference", "p_value", "signature"} against `baseline` (Koehn 2004), as sacreBLEU's.

    The draws and the p-value are those of sacreBLEU's `PairedTest`, which compares |difference| of the resamples,
    centred on its mean, with the measured |difference|: for a real difference that is one tail, in whichever direction
    was measured. Only the resampled scores are got another way: `PairedTest` copies the figures of every drawn
    sentence, and the baseline's anew for every system. Test sets so large that the draws would not fit in memory get
    fewer of them; the signature says how many.

    Raises:
        MtkdError: no sentences, or not as many hypotheses as references.
    """
    for name, hypotheses in {"baseline": baseline, **systems}.items():
        check_lengths(name, hypotheses, references)
    if not systems:
        return {}
    seed = seed or _SACREBLEU_SEED
    affordable = _affordable(resamples, len(references))
    drawn = np.random.default_rng(seed).choice(len(references), size=(affordable, len(references)), replace=True)
    times = _times_drawn(drawn)
    found: dict[str, dict[str, Score]] = {name: {} for name in systems}
    for metric_name, metric in _metrics(target_lang).items():
        measured, resampled = _resampled(metric, baseline, references, times)
        signature = metric.get_signature()
        signature.update("seed", str(seed))
        signature.update("bs", affordable)
        for name, hypotheses in systems.items():
            score_of_system, resampled_of_system = _resampled(metric, hypotheses, references, times)
            difference = score_of_system - measured
            centred = np.abs(resampled_of_system - resampled)
            centred -= centred.mean()
            # sacreBLEU gives the lowest possible p-value to two systems that never differ (0 > 0 is never true).
            p_value = _compute_p_value(centred, abs(difference)) if difference else 1.0
            found[name][metric_name] = {
                "difference": difference,
                "p_value": float(p_value),
                "signature": str(signature),
            }
    return found


def _times_drawn(drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """How often each sentence is drawn [resamples, sentences], from its numbers as they were drawn."""
    times = np.empty(drawn.shape)
    for row, numbers in enumerate(drawn):
        times[row] = np.bincount(numbers, minlength=drawn.shape[1])
    return times


def _resampled(
    metric: Any, hypotheses: list[str], references: list[str], times: npt.NDArray[np.float64]
) -> tuple[float, npt.NDArray[np.float64]]:
    """The score, and the scores [resamples] of what was drawn: a corpus' figures are sums over its sentences."""
    figures = metric._extract_corpus_statistics(hypotheses, [references])
    # All are whole numbers: in float64 their sums are exact in whatever order.
    sums = (times @ np.array(figures, dtype=np.float64)).tolist()
    drawn = np.array([metric._compute_score_from_stats(of).score for of in sums])
    return float(metric._aggregate_and_compute(figures).score), drawn


def resampled_scores(
    systems: dict[str, list[str]], references: list[str], *, target_lang: str, seed: int, resamples: int = 10_000
) -> dict[str, dict[str, npt.NDArray[np.float64]]]:
    """Metric -> system -> its scores [resamples] on test sets drawn with replacement, the same ones for all systems.

    For intervals of what is no difference of two scores, which `paired_bootstrap` tests. Large test sets get as few
    resamples as there.

    Raises:
        MtkdError: no sentences, or not as many hypotheses as references.
    """
    for name, hypotheses in systems.items():
        check_lengths(name, hypotheses, references)
    drawn = np.random.default_rng(seed).integers(
        len(references), size=(_affordable(resamples, len(references)), len(references))
    )
    times = _times_drawn(drawn)
    return {
        name: {system: _resampled(metric, hypotheses, references, times)[1] for system, hypotheses in systems.items()}
        for name, metric in _metrics(target_lang).items()
    }


def holm(p_values: list[float]) -> list[float]:
    """Adjusted p-values, in the order given: reject where they are below alpha (Holm 1979).

    With m values sorted upwards, the i-th becomes max over j <= i of min(1, (m - j + 1) * p_j).
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _affordable(resamples: int, sentences: int) -> int:
    affordable = min(resamples, max(1_000, MAX_RESAMPLED_ROWS // sentences))
    if affordable < resamples:
        logger.info("resamples=%d instead of %d: test set of %d sentences", affordable, resamples, sentences)
    return affordable


def _metrics(target_lang: str) -> dict[str, Any]:
    try:
        return {name: make(target_lang) for name, make in METRICS.items()}
    except (RuntimeError, ImportError) as error:
        raise UsageError(f"scoring '{target_lang}': {' '.join(str(error).split())}") from None


def check_lengths(who: str, hypotheses: list[str], references: list[str]) -> None:
    """sacreBLEU would cut the longer list in silence."""
    if len(hypotheses) != len(references):
        raise MtkdError(f"{who}: {len(hypotheses)} hypotheses for {len(references)} references; translate again")
    if not references:
        raise MtkdError(f"{who}: no sentences to score; the test set is empty")


def macro(scores: list[Score]) -> Score:
    """The unweighted mean over domains; its signature says that it is one."""
    mean = sum(one["score"] for one in scores) / len(scores)
    return {"score": mean, "signature": f"{scores[0]['signature']}|mean:{len(scores)} domains"}
