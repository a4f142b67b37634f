"""Sentence by sentence: how often the student translates better than mixed fine-tuning, how much worse, and what.

What it owns: which sentences are shown as examples, and by which measure a translation is better. What it must not
know: files, how a page looks, corpus scores (`scoring.py`). Why the examples are chosen by rule: those that someone
picks show what they want to show.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sacrebleu.metrics import CHRF

from mtkd.scoring import check_lengths

COMPARED = ("mixed", "student")
"""The one that is compared with, and the one that is asked about."""
SHOWN = (*COMPARED, "teachers")
PLACES = {"most lost": 0.0, "lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75, "most gained": 1.0}
"""Examples: name -> quantile of student less mixed, among the sentences that the two translate differently."""
THIRDS = ("short", "middle", "long")


def by_sentence(sources: list[str], references: list[str], outputs: dict[str, list[str]]) -> dict[str, Any]:
    """One test set, by chrF of every sentence (Popovic 2015); `outputs` maps each of SHOWN to its sentences.

    Returns {"better", "worse", "same": how many sentences the student translates with a higher, lower, equal chrF;
    "lengths": THIRDS -> {"words": [least, most] in the source, "sentences", "difference": mean chrF of student less
    mixed}; "examples": [{"place": one of PLACES, "source", "reference", "outputs": system -> its sentence,
    "chrf": system -> chrF}]}. A third that is empty is left out, and so are places of the same sentence.

    Raises:
        MtkdError: no sentences, or not as many of a system as there are references.
    """
    for system, lines in outputs.items():
        check_lengths(system, lines, references)
    metric = CHRF()
    chrf = {
        system: np.array([metric.sentence_score(*pair).score for pair in zip(lines, _each(references), strict=True)])
        for system, lines in outputs.items()
    }
    baseline, student = COMPARED
    difference = chrf[student] - chrf[baseline]
    words = np.array([len(source.split()) for source in sources])
    thirds = zip(THIRDS, np.array_split(np.argsort(words, kind="stable"), len(THIRDS)), strict=True)
    differ = np.array([row for row, line in enumerate(outputs[student]) if line != outputs[baseline][row]], dtype=int)
    ranked = differ[np.argsort(difference[differ], kind="stable")]
    places = {round(quantile * (len(ranked) - 1)): place for place, quantile in PLACES.items()} if len(ranked) else {}
    return {
        "better": int((difference > 0).sum()),
        "worse": int((difference < 0).sum()),
        "same": int((difference == 0).sum()),
        "lengths": {
            third: {
                "words": [int(words[rows].min()), int(words[rows].max())],
                "sentences": len(rows),
                "difference": float(difference[rows].mean()),
            }
            for third, rows in thirds
            if len(rows)
        },
        "examples": [
            {
                "place": place,
                "source": sources[ranked[rank]],
                "reference": references[ranked[rank]],
                "outputs": {system: lines[ranked[rank]] for system, lines in outputs.items()},
                "chrf": {system: float(of[ranked[rank]]) for system, of in chrf.items()},
            }
            for rank, place in places.items()
        ],
    }


def _each(references: list[str]) -> list[list[str]]:
    """sacreBLEU takes any number of references for a sentence."""
    return [[reference] for reference in references]
