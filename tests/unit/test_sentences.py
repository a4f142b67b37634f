"""Sentence by sentence: who is better how often, which examples are shown by which rule, and how they look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sacrebleu import sentence_chrf

from mtkd.errors import MtkdError
from mtkd.findings import Table
from mtkd.report import write_report
from mtkd.sentence_tables import example_tables, sentence_counts
from mtkd.sentences import PLACES, by_sentence
from tests.unit.report_inputs import WON, Page, make_inputs

REFERENCE = "the old bridge over the river is closed"
GRADED = [
    "the old bridge over the river is closed",
    "the old bridge over the river is shut",
    "an old bridge over a river is shut",
    "a bridge over water",
    "something else entirely",
]
"""The reference in ever worse translations."""


def compare(student: list[str], mixed: list[str], **more: list[str]) -> dict[str, Any]:
    sources = [" ".join(["word"] * (number + 1)) for number in range(len(mixed))]
    return by_sentence(sources, [REFERENCE] * len(mixed), {"mixed": mixed, "student": student, **more})


def test_each_sentence_counts_once() -> None:
    found = compare(student=[GRADED[0], GRADED[4], GRADED[2]], mixed=[GRADED[2], GRADED[2], GRADED[2]])
    assert (found["better"], found["worse"], found["same"]) == (1, 1, 1)


def test_examples_are_the_ends_the_quartiles_and_the_median_of_what_differs() -> None:
    # Five rows gain more and more, in mixed order; rows that are alike are no examples.
    student = [GRADED[1], GRADED[4], REFERENCE, GRADED[0], GRADED[3], REFERENCE, GRADED[2]]
    mixed = [GRADED[2], GRADED[2], REFERENCE, GRADED[4], GRADED[2], REFERENCE, GRADED[4]]
    found = compare(student, mixed)
    assert [example["place"] for example in found["examples"]] == list(PLACES)
    rows = [1, 4, 0, 6, 3]
    assert [example["outputs"]["student"] for example in found["examples"]] == [student[row] for row in rows]
    assert [example["source"].count("word") - 1 for example in found["examples"]] == rows
    for example in found["examples"]:
        for system, text in example["outputs"].items():
            expected = sentence_chrf(text, [REFERENCE]).score
            assert example["chrf"][system] == pytest.approx(expected)


def test_one_difference_is_shown_once_and_none_not_at_all() -> None:
    assert len(compare([GRADED[1], REFERENCE], [GRADED[2], REFERENCE])["examples"]) == 1
    alike = compare([REFERENCE], [REFERENCE])
    assert (alike["same"], alike["examples"]) == (1, [])


def test_teachers_are_shown_where_they_are_given() -> None:
    found = compare([GRADED[1]], [GRADED[2]], teachers=[REFERENCE])
    [example] = found["examples"]
    assert list(example["outputs"]) == ["mixed", "student", "teachers"]
    assert example["chrf"]["teachers"] == pytest.approx(100.0)


def test_lengths_are_thirds_of_the_sources_words() -> None:
    student, mixed = [GRADED[4]] * 2 + [GRADED[2]] * 2 + [GRADED[0]] * 2, [GRADED[2]] * 6
    lengths = compare(student, mixed)["lengths"]
    assert {third: of["words"] for third, of in lengths.items()} == {
        "short": [1, 2],
        "middle": [3, 4],
        "long": [5, 6],
    }
    assert lengths["short"]["difference"] < lengths["middle"]["difference"] == 0 < lengths["long"]["difference"]
    assert list(compare([REFERENCE], [REFERENCE])["lengths"]) == ["short"]


def test_a_missing_translation_is_refused() -> None:
    with pytest.raises(MtkdError, match="student: 1 hypotheses for 2 references"):
        compare(student=[REFERENCE], mixed=[REFERENCE, REFERENCE])


def test_counts_have_a_row_a_domain() -> None:
    results = make_inputs().results
    table = sentence_counts(results)
    assert table is not None
    assert table.rows[0] == ["smarthome", "55%", "30%", "15%", "-", "-", "+1.2 (12 to 80 words)"]
    assert (sentence_counts(WON), example_tables(WON)) == (None, [])


def test_report_shows_the_text_as_it_is(tmp_path: Path) -> None:
    write_report(make_inputs(), tmp_path)
    text = Page(tmp_path / "index.html").text
    assert "a | <b> bridge" in text
    assert "1 median: source" in text
    written = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| 1 median: source |  | a \\| \\<b> bridge |" in written
    assert "| 1 student | 100 | eine Br\u00fccke |" in written


def test_markdown_hides_neither_bars_nor_tags() -> None:
    assert Table(["a", "b"], [["x|y", "<br>"]]).markdown().endswith("| x\\|y | \\<br> |")
