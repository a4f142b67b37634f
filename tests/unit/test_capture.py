"""The gates that a capture report must pass, and the advice where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from mtkd.capture import failed_gates
from mtkd.recipe import Gates

GOOD: dict[str, Any] = {
    "corpus": "bank",
    "teacher": "bank",
    "references": "given",
    "temperature": [1.0, 2.0],
    "top_k": 8,
    "coverage": 0.75,
    "reference_in_top_k": 0.8,
    "fidelity": 0.4,
    "coverage_by_k": {"1": 0.4, "8": 0.75, "16": 0.85, "32": 0.89},
}
EPSILON = 0.1


def fails(change: dict[str, Any], **gates: float | None) -> list[str]:
    return failed_gates(GOOD | change, Gates(**gates), EPSILON)


def test_a_good_report_passes_the_default_gates() -> None:
    assert fails({}) == []


def test_coverage_is_asked_for_out_of_what_label_smoothing_leaves() -> None:
    assert fails({"coverage": 0.451}, coverage=0.5) == []
    (reason,) = fails({"coverage": 0.449}, coverage=0.5)
    assert "bank" in reason
    assert "44.9%" in reason
    assert "distill.gates.coverage asks for 45.0%" in reason
    assert failed_gates(GOOD | {"coverage": 0.451}, Gates(coverage=0.5), 0.0) != []


@pytest.mark.parametrize(
    ("bad", "figure", "threshold"),
    [
        ({"coverage": 0.2}, "coverage", "22.5%"),
        ({"reference_in_top_k": 0.2}, "reference_in_top_k", "25.0%"),
        ({"fidelity": 2.5}, "fidelity", "2"),
    ],
)
def test_each_gate_names_domain_figure_threshold_and_advice(bad: dict[str, Any], figure: str, threshold: str) -> None:
    (reason,) = fails(bad)
    for part in ("bank", threshold, "train the teacher longer", "distill.top_k", f"relax distill.gates.{figure}"):
        assert part in reason


@pytest.mark.parametrize("gate", ["coverage", "reference_in_top_k", "fidelity"])
def test_null_lets_anything_pass(gate: str) -> None:
    worst = {"coverage": 0.0, "reference_in_top_k": 0.0, "fidelity": 99.0}
    assert len(fails(worst)) == 3
    assert len(fails(worst, **{gate: None})) == 2


def test_a_teachers_own_translations_need_not_be_believed_in() -> None:
    assert fails({"reference_in_top_k": 0.0, "references": "teacher"}) == []
    assert len(fails({"reference_in_top_k": 0.0})) == 1


def test_the_advice_names_the_least_top_k_that_would_do() -> None:
    (reason,) = fails({}, coverage=0.9)
    assert "raise distill.top_k to 16" in reason
    (reason,) = fails({}, coverage=0.99)
    assert "32 entries hold 89.0%" in reason
    assert "raise distill.top_k" not in reason


def test_a_mixture_is_named_with_its_temperature() -> None:
    (reason,) = fails({"teacher": "0.5 generic + 0.5 bank", "temperature": [2.0], "fidelity": 9.0})
    assert "(teacher 0.5 generic + 0.5 bank at T = 2)" in reason
