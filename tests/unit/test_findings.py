"""What may be claimed of the systems, and how their tables mark it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mtkd import findings
from mtkd.findings import Table, render_table, serving_cost, table_rows, verdict
from tests.unit.report_inputs import DOMAINS, SCORES, SYSTEMS, WON, make_results


def test_table_marks_only_what_is_significant() -> None:
    header, rows = table_rows(WON)
    assert header == ["BLEU", "smarthome", "religion", "office", "general", "macro average"]
    assert rows == [
        ["generic", "14.0", "9.0", "12.0 \u2193", "21.0", "11.7 \u2193"],
        ["mixed", "24.0", "19.0", "22.0", "20.0", "21.7"],
        ["teachers (oracle)", "33.0", "24.0", "27.0", "-", "28.0"],
        ["student", "28.0 \u2191", "19.5", "24.5", "20.4", "24.0 \u2191"],
    ]


def bold(results: dict[str, Any]) -> list[str]:
    return re.findall(r"\*\*(.*?)\*\*", findings.systems_table(results, "bleu").markdown())


def test_the_best_is_bold_only_where_it_is_significantly_so() -> None:
    scores = {system: of for system, of in SCORES.items() if system != "teachers"}
    everything = {(system, name) for system in SYSTEMS for name in [*DOMAINS, "general", "pooled"]}
    assert bold(make_results(set(), scores)) == []
    assert bold(make_results({("student", "smarthome"), ("generic", "general")}, scores)) == [
        "21.0 \u2191",
        "28.0 \u2191",
    ]
    behind = scores | {"student": dict.fromkeys(scores["student"], 1.0)}
    assert "24.0" in bold(make_results(everything, behind))
    assert "24.0" not in bold(make_results({("generic", "smarthome")}, behind))


def test_a_pooled_test_that_contradicts_the_macro_average_claims_nothing() -> None:
    results = make_results({("student", "pooled")})
    for metric in ("bleu", "chrf"):
        results["pooled"][metric]["student"]["difference"] = -0.3
    assert "No significant difference" in verdict(results)


@pytest.mark.parametrize(
    ("significant", "shift", "words"),
    [
        (set(), 0.0, "No significant difference between the student and mixed fine-tuning."),
        ({("student", "pooled")}, 0.0, "The student is significantly better than mixed fine-tuning in BLEU and chrF."),
        ({("student", "pooled")}, -9.0, "The student is significantly worse than mixed fine-tuning in BLEU and chrF."),
    ],
)
def test_a_win_is_claimed_only_when_significant(significant: set[tuple[str, str]], shift: float, words: str) -> None:
    moved = SCORES | {"student": {name: value + shift for name, value in SCORES["student"].items()}}
    results = make_results(significant, moved)
    for metric in ("bleu", "chrf"):
        results["pooled"][metric]["student"]["difference"] = 2.3 + shift
    assert verdict(results).startswith(words)


def test_metrics_that_disagree_are_both_told() -> None:
    results = make_results({("student", "pooled")})
    results["pooled"]["chrf"]["student"]["significant"] = False
    assert verdict(results).startswith(
        "The student is significantly better than mixed fine-tuning in BLEU, with no significant difference in chrF."
    )


def test_verdict_says_what_holds_by_test_set() -> None:
    results = make_results({("student", "smarthome"), ("student", "pooled")})
    assert "better on smarthome; no significant difference on religion, office, general." in verdict(results)


def test_a_weak_student_is_called_a_demonstration() -> None:
    weak = {system: {name: value / 4 for name, value in of.items()} for system, of in SCORES.items()}
    assert "a demonstration, not a translator" in verdict(make_results(set(), weak))
    assert "demonstration" not in verdict(make_results(set()))


def test_without_mixed_or_results_nothing_is_claimed() -> None:
    alone = make_results(set(), {"student": SCORES["student"]})
    assert "mixed fine-tuning was not run, so nothing is claimed" in verdict(alone)
    assert "\u2191" not in render_table(alone)
    assert verdict({}) == "The evaluation was not run."
    assert render_table({}) == "not run"


def test_every_table_carries_its_signatures() -> None:
    text = render_table(WON)
    assert text.count("| student |") == 2
    assert "- BLEU: `bleu|version:2.6.0`; tests: `bleu|bs:10000|seed:1`" in text
    assert "- chrF: `chrf|version:2.6.0`" in text


def test_serving_cost_is_unknown_without_teachers() -> None:
    assert serving_cost({"student": {"parameters": 5}}) is None
    assert serving_cost({}) is None


def test_markdown_of_a_table() -> None:
    table = Table(["a", "b"], [["x", "1"], ["y", "2"]], frozenset({(1, 1)}))
    assert table.markdown() == "| a | b |\n| --- | ---: |\n| x | 1 |\n| y | **2** |"
