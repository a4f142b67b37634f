"""Sentence by sentence, as tables: how often the student is better than mixed fine-tuning, and the examples.

What it owns: which figures of `sentences.by_sentence` are shown in which order. What it must not know: HTML, sacreBLEU.
"""

from __future__ import annotations

from typing import Any

from mtkd.findings import LABELS, Table

EXPLAINED = (
    "By chrF of each sentence, student less mixed fine-tuning. The examples are chosen by rule, not by hand: of the "
    "sentences that the two translate differently, those at the ends, the quartiles and the median of that difference."
)


def sentence_counts(results: dict[str, Any]) -> Table | None:
    """A row a domain: sentences that the student translates better, worse, alike; its mean lead by source length."""
    rows = []
    for domain, of in results.get("by_sentence", {}).items():
        count = of["better"] + of["worse"] + of["same"]
        shares = [f"{of[which] / count:.0%}" for which in ("better", "worse", "same")]
        leads = [_third(of["lengths"].get(third)) for third in ("short", "middle", "long")]
        rows.append([domain, *shares, *leads])
    header = ["sentences", "better", "worse", "same chrF", "short ones", "middle", "long ones"]
    return Table(header, rows) if rows else None


def example_tables(results: dict[str, Any]) -> list[Table]:
    """A table a domain: the text of each example, from its source to what each system made of it."""
    return [
        Table(
            [domain, "chrF", "text"],
            [row for number, example in enumerate(of["examples"], 1) for row in _example(number, example)],
        )
        for domain, of in results.get("by_sentence", {}).items()
        if of["examples"]
    ]


def _example(number: int, example: dict[str, Any]) -> list[list[str]]:
    outputs = [
        [f"{number} {LABELS.get(system, system)}", f"{example['chrf'][system]:.0f}", text]
        for system, text in example["outputs"].items()
    ]
    given = [[f"{number} {example['place']}: source", "", example["source"]]]
    return [*given, [f"{number} reference", "", example["reference"]], *outputs]


def _third(of: dict[str, Any] | None) -> str:
    if of is None:
        return "-"
    least, most = of["words"]
    return f"{of['difference']:+.1f} ({least} to {most} words)"
