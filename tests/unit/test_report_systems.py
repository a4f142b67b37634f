"""What the report shows of further systems: the student's leads, changed test sets, routing, intervals, notes."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtkd.findings import LABELS, SYSTEM_NOTES, table_notes
from mtkd.report import write_report
from mtkd.report_tables import (
    NOT_ASKED,
    NOT_RUN,
    missing_parts,
    robustness_domain_tables,
    robustness_tables,
    routing_cost,
    routing_table,
    student_comparisons,
)
from mtkd.systems import SYSTEMS
from tests.unit.report_inputs import WON, Page, make_inputs

ROUTING = {
    "accuracy": {"smarthome": 0.9, "religion": 1.0, "office": 0.8},
    "macro_accuracy": 0.9,
    "confusion": {
        "smarthome": {"smarthome": 90, "religion": 0, "office": 10},
        "religion": {"smarthome": 0, "religion": 100, "office": 0},
        "office": {"smarthome": 1500, "religion": 5, "office": 6020},
    },
    "bytes": 1_200_000,
    "ms_per_sentence": 0.534,
}


def row(difference: float, *, significant: bool) -> dict[str, Any]:
    return {"difference": difference, "p_value": 0.0001, "p_holm": 0.002, "significant": significant, "signature": "s"}


@pytest.fixture
def results() -> dict[str, Any]:
    """Results of which the student is ahead of mixed on typos, and not significantly behind routing."""
    score = {"score": 20.0, "signature": "bleu|version:2.6.0"}
    by_system = {"mixed": {"law": score}, "student": {"law": score | {"score": 22.5}}}
    found = deepcopy(WON)
    found |= {
        "routing": ROUTING,
        "student_against": {
            "bleu": {"routing": {"office": row(1.5, significant=False), "pooled": row(-2, significant=True)}}
        },
        "robustness": {"no_final_punctuation": {"bleu": by_system}},
        "robustness_macro": {"no_final_punctuation": {"bleu": {system: of["law"] for system, of in by_system.items()}}},
        "robustness_against": {
            "bleu": {
                "no_final_punctuation": {"mixed": row(2.5, significant=True), "routing": row(-0.2, significant=False)}
            }
        },
        "robustness_sentences": {"no_final_punctuation": {"law": 1234}},
    }
    found["gap_closed"]["bleu"] = {"value": 0.25, "interval": [0.1, 0.412], "reason": None}
    return found


def test_changed_test_sets_stand_below_the_whole_ones_with_the_students_leads(results) -> None:
    [table] = robustness_tables(results)
    assert table.header == ["BLEU", "mixed", "student", "student less mixed", "student less routing by classifier"]
    assert table.rows == [
        ["as they are", "21.7", "24.0", "-", "-"],
        ["no final punctuation", "20.0", "22.5", "+2.5 \u2191", "-0.2"],
    ]
    [by_domain] = robustness_domain_tables(results)
    assert by_domain.rows == [["no final punctuation: law (1,234 sentences)", "20.0", "22.5"]]


def test_every_test_of_the_student_is_told(results) -> None:
    table = student_comparisons(results)
    assert table.rows == [
        ["BLEU: student less routing by classifier on office", "+1.50", "0.0001", "0.0020", "no"],
        ["BLEU: student less routing by classifier on all domains together", "-2.00", "0.0001", "0.0020", "yes"],
    ]


def test_routing_costs_all_teachers_and_its_classifier(results) -> None:
    sizes = make_inputs().sizes
    assert routing_table(results).rows[2] == ["office", "1,500", "5", "6,020", "80.0%"]
    assert routing_table(results).rows[-1][-1] == "90.0%"
    cost = dict(routing_cost(results, sizes).rows)
    assert cost["3 teachers in float32 and the classifier"] == "88.8 MB"
    assert cost["the student in float32, for comparison"] == "29.2 MB"
    assert cost["time to choose a teacher for a sentence"] == "0.53 ms"
    assert "3 teachers in float32 and the classifier" not in dict(routing_cost(results, {"student": {}}).rows)


def test_without_them_there_are_no_tables() -> None:
    assert robustness_tables(WON) == robustness_domain_tables(WON) == []
    assert routing_table(WON) is routing_cost(WON, {}) is student_comparisons(WON) is None


def test_the_page_and_the_text_show_them(results, tmp_path: Path) -> None:
    inputs = replace(make_inputs(), results=results, translations={"law": {"rows": 900, "translated": 876}})
    write_report(replace(inputs, metrics={}, sweep={}), tmp_path)
    page, text = Page(tmp_path / "index.html").text, (tmp_path / "results.md").read_text(encoding="utf-8")
    for shown in ("25% (95 % interval: 10% to 41%)", "no final punctuation", "88.8 MB", "taken for office"):
        assert shown in page, shown
        assert shown in text, shown
    assert "876" in page
    assert "All 2 comparisons of the student with another system" in page


def test_every_system_that_needs_one_has_a_name_and_a_note() -> None:
    assert set(SYSTEM_NOTES) <= set(SYSTEMS)
    assert set(SYSTEMS) - set(SYSTEM_NOTES) == {"generic", "mixed", "student"}
    assert set(SYSTEM_NOTES) <= set(LABELS)
    both = table_notes(WON | {"systems": ["tagged", "teachers", "student"], "test_sets": ["law", "general", "cooking"],
                              "domains": ["law"], "scores": {}, "baseline": None})  # fmt: skip
    assert [note.partition(":")[0] for note in both] == [
        "macro average",
        "tagged (oracle tag)",
        "teachers (oracle)",
        "cooking",
    ]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"robustness": ["typos"]}, "robustness"),
        ({"systems": ["routing"]}, "routing"),
        ({"systems": ["sequence_kd"]}, "translations"),
        ({"systems": ["word_and_sequence_kd"]}, "translations"),
    ],
)
def test_what_the_recipe_asks_for_is_missing_and_what_it_does_not_is_not(change: dict[str, Any], part: str) -> None:
    plain = {"systems": ["student"], "robustness": []}
    assert missing_parts(plain)[part] == NOT_ASKED
    assert missing_parts(plain | change)[part] == NOT_RUN
