"""One system's scores, and whether two systems differ: sacreBLEU's metrics and its paired bootstrap.

What it owns: `METRICS`, the bootstrap against a baseline, Holm's correction.
What it must not know: domains, which systems a run has, files.
Why: scores of different tools, tokenisers or versions cannot be compared, so a score is always
`{"score": float, "signature": str}`, and a difference of two scores means nothing without its test.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from mtkd.errors import MtkdError, UsageError

logger = logging.getLogger(__name__)

Score = dict[str, Any]

METRICS: dict[str, Callable[[str], Any]] = {
    "bleu": lambda target_lang: BLEU(trg_lang=target_lang),  # tokeniser 13a, or zh, ja-mecab, ko-mecab
    "chrf": lambda target_lang: CHRF(),
}
"""Metric name -> sacreBLEU metric for a target language. Higher is better in every row."""

MAX_RESAMPLED_ROWS = 20_000_000
"""Rows x resamples of one test: sacreBLEU holds them all in memory, at up to 80 bytes each (1.6 GB)."""


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
    """System -> metric -> {"difference", "p_value", "signature"} against `baseline` (Koehn 2004), by sacreBLEU.

    sacreBLEU compares |difference| of the resamples, centred on its mean, with the measured |difference|: for a real
    difference that is one tail, in whichever direction was measured. 10,000 resamples of 200 sentences and 4 systems
    take about 8 s on one core. Test sets so large that the resamples would not fit in memory get fewer of them; the
    signature says how many.

    Raises:
        MtkdError: no sentences, or not as many hypotheses as references.
    """
    for name, hypotheses in {"baseline": baseline, **systems}.items():
        check_lengths(name, hypotheses, references)
    if not systems:
        return {}
    affordable = _affordable(resamples, len(references))
    named = [("baseline", baseline), *systems.items()]
    with _sacrebleu_seed(seed):
        test = PairedTest(named, _metrics(target_lang), [references], test_type="bs", n_samples=affordable, n_jobs=1)
        signatures, table = test()
    found: dict[str, dict[str, Score]] = {name: {} for name in systems}
    for metric, title in zip(METRICS, signatures, strict=True):
        base, *others = table[title]
        for name, result in zip(systems, others, strict=True):
            difference = float(result.score - base.score)
            # sacreBLEU gives the lowest possible p-value to two systems that never differ (0 > 0 is never true).
            p_value = float(result.p_value) if difference else 1.0
            found[name][metric] = {
                "difference": difference,
                "p_value": p_value,
                "signature": str(signatures[title]),
            }
    return found


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
    found: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    for name, metric in _metrics(target_lang).items():
        rng = np.random.default_rng(seed)
        figures = {
            system: np.array(metric._extract_corpus_statistics(hypotheses, [references]), dtype=np.float64)
            for system, hypotheses in systems.items()
        }
        scores: dict[str, list[float]] = {system: [] for system in systems}
        for _ in range(_affordable(resamples, len(references))):
            # How often each sentence is drawn: the corpus' figures are sums over sentences.
            times = np.bincount(rng.integers(len(references), size=len(references)), minlength=len(references))
            for system, of in figures.items():
                scores[system].append(metric._compute_score_from_stats((times @ of).tolist()).score)
        found[name] = {system: np.array(of) for system, of in scores.items()}
    return found


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


@contextmanager
def _sacrebleu_seed(seed: int) -> Iterator[None]:
    """sacreBLEU takes its seed from the environment only, and takes 0 for no seed: that becomes its default, 12345."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = str(seed or 12345)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SACREBLEU_SEED"]
        else:
            os.environ["SACREBLEU_SEED"] = before


def macro(scores: list[Score]) -> Score:
    """The unweighted mean over domains; its signature says that it is one."""
    mean = sum(one["score"] for one in scores) / len(scores)
    return {"score": mean, "signature": f"{scores[0]['signature']}|mean:{len(scores)} domains"}
