"""Which differences between systems are more than chance: every test of a family, and Holm's correction over it.

What it owns: which texts are tested, the shape of a table of tests. What it must not know: which system is the baseline
and why; how one test is made: `scoring.py`.
Why a family at a time: a correction says something only of the questions that were asked together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mtkd.scoring import METRICS, Score, holm

ALPHA = 0.05
TOGETHER = "pooled"
"""The test on the sentences of all domains together; no domain may be called so."""
Outputs = Mapping[str, list[str]]
"""A system's sentences by test set."""
Tests = dict[str, dict[str, dict[str, Score]]]
"""Metric -> system -> test set, TOGETHER among them -> {"difference", "p_value", "p_holm", "significant", ...}."""
Bootstrap = Callable[[list[str], dict[str, list[str]], list[str]], dict[str, dict[str, Score]]]
"""`scoring.paired_bootstrap` for a language, a seed and a number of resamples."""


def tests_against(
    baseline: Outputs, others: Mapping[str, Outputs], references: Outputs, domains: Sequence[str], test: Bootstrap
) -> Tests:
    """Every other system less the baseline on each test set that both have, and on all domains' sentences together.

    Holm's correction is over all tests of one metric.
    """
    tests: Tests = {metric: {} for metric in METRICS}

    def add(name: str, found: dict[str, dict[str, Score]]) -> None:
        for system, by_metric in found.items():
            for metric, row in by_metric.items():
                tests[metric].setdefault(system, {})[name] = row

    for test_set, lines in baseline.items():
        systems = {system: of[test_set] for system, of in others.items() if test_set in of}
        add(test_set, test(lines, systems, references[test_set]))
    pooled = {system: together(of, domains) for system, of in others.items()}
    add(TOGETHER, test(together(baseline, domains), pooled, together(references, domains)))
    correct(tests)
    return tests


def tests_of(
    system: Outputs, others: Mapping[str, Outputs], references: Outputs, domains: Sequence[str], test: Bootstrap
) -> Tests:
    """One system less every other: `tests_against` seen from the other side."""
    tests = tests_against(system, others, references, domains, test)
    turn(tests)
    return tests


def turn(tests: Mapping[str, Any]) -> None:
    """Make tests of systems against a baseline the baseline's against them; the bootstrap has no sides."""
    for row in _rows(tests):
        row["difference"] = -row["difference"]


def correct(tests: Mapping[str, Any]) -> None:
    """Add Holm's `p_holm`, and `significant`, to every test; `tests` are by metric and then by whatever they are."""
    for of in tests.values():
        rows = _rows(of)
        for row, p_holm in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
            row["p_holm"] = p_holm
            row["significant"] = p_holm < ALPHA


def together(of: Outputs, domains: Sequence[str]) -> list[str]:
    """The sentences of these domains, one after the other."""
    return [line for domain in domains for line in of[domain]]


def _rows(tests: Any) -> list[dict[str, Any]]:
    """The tests at the leaves of nested mappings."""
    return [tests] if "p_value" in tests else [row for of in tests.values() for row in _rows(of)]
