"""An experiment's page: every figure of every cell, claims by rule alone, and a cell that was not run said to be so."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from mtkd.experiment_page import write_page
from mtkd.experiment_tables import against_table, cell_parts, cost_table, overview, reading_notes, systems_by_cell
from tests.unit.report_inputs import DOMAINS, WON, Page, make_inputs, make_results

SIZE = {"parameters": 8_893_440, "float32_bytes": 36_000_000, "int8_bytes": 9_000_000}
MODELS = ["generic", "mixed", *(f"teacher.{domain}" for domain in DOMAINS), "student"]


def lead_of(difference: float, *, significant: bool) -> dict[str, Any]:
    return {"difference": difference, "p_value": 0.01, "p_holm": 0.04, "significant": significant, "signature": "bs"}


def make_cell(results: dict[str, Any] = WON, **changes: Any) -> dict[str, Any]:
    """A finished cell as `experiment.collect` has it."""
    results = deepcopy(results)
    results["gap_closed"]["bleu"] = {"value": 0.25, "interval": [0.1, 0.4], "reason": None}
    lead = {"smarthome": lead_of(4.0, significant=True), "religion": lead_of(-1.0, significant=True)}
    lead |= {"office": lead_of(2.5, significant=False), "pooled": lead_of(2.0, significant=True)}
    results["student_against"] = {"bleu": {"mixed": lead, "teachers": {"pooled": lead_of(-4.5, significant=True)}}}
    score = {domain: {"score": 12.0, "signature": "bleu"} for domain in DOMAINS}
    results["robustness"] = {"typos": {"bleu": {"mixed": score, "student": score | {"office": {"score": 10.0}}}}}
    results["robustness_macro"] = {"typos": {"bleu": {"mixed": {"score": 12.0}, "student": {"score": 11.3}}}}
    results["robustness_against"] = {"bleu": {"typos": {"mixed": lead_of(-0.7, significant=True)}}}
    results["robustness_sentences"] = {"typos": dict.fromkeys(DOMAINS, 100)}
    results["routing"] = {
        "accuracy": dict.fromkeys(DOMAINS, 0.9312),
        "macro_accuracy": 0.9312,
        "confusion": {domain: dict.fromkeys(DOMAINS, 10) for domain in DOMAINS},
        "bytes": 1_234_567,
        "ms_per_sentence": 1.5,
    }
    systems = {"mixed": ["mixed"], "teachers": [f"teacher.{domain}" for domain in DOMAINS], "student": ["student"]}
    inputs = make_inputs()
    return {
        "settings": {"model.student": "small", "distill.kd_weight": 0.5},
        "command": "mtkd run recipe.yaml --set distill.kd_weight=0.5 --workspace runs/x",
        "done": True,
        "results": results,
        "captures": inputs.captures,
        "gap": inputs.gap,
        "sizes": dict.fromkeys(MODELS, SIZE),
        "systems": systems,
        "metrics": {name: rows for name, rows in inputs.metrics.items() if name in ("mixed", "student")},
        "time": {name: {"own_s": 600.0 * len(of), "all_s": 7200.0} for name, of in systems.items()},
    } | changes


NOT_DONE = {
    "settings": {"model.student": "nano"},
    "command": "mtkd run recipe.yaml --set model.student=nano",
    "done": False,
}
FOUND: dict[str, Any] = {
    "name": "experiment_en_de",
    "languages": {"source": "en", "target": "de"},
    "cells": {"small_half": make_cell(), "nano_half": NOT_DONE},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("experiment")
    write_page(FOUND, out)
    return out


def test_the_overview_has_a_row_a_cell_and_says_which_was_not_run() -> None:
    table = overview(FOUND["cells"])
    half, nano = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert (half["parameters"], half["student"], half["mixed"]) == ("8.89 M", "24.0 ↑", "21.7")
    assert (half["teachers (oracle)"], half["gap closed"]) == ("28.0", "25% (10% to 40%)")
    assert half["general: generic / mixed / student"] == "21.0 / 20.0 / 20.4"
    assert nano["parameters"] == "not run"
    assert set(list(nano.values())[2:]) == {"-"}


def test_systems_are_seen_side_by_side_in_every_finished_cell() -> None:
    table = systems_by_cell(FOUND["cells"] | {"other": make_cell(make_results(set()))})
    assert table is not None
    assert table.header == ["BLEU, macro average", "small_half", "other"]
    assert ["student", "24.0 ↑", "24.0"] in table.rows
    assert systems_by_cell({"a": NOT_DONE}) is None


def test_only_what_is_significant_is_marked() -> None:
    table = against_table(make_cell()["results"], "bleu")
    assert table is not None
    assert table.header == ["BLEU", *DOMAINS, "general", "all domains together"]
    assert table.rows[0] == ["student - mixed", "+4.0 ↑", "-1.0 ↓", "+2.5", "-", "+2.0 ↑"]
    assert table.rows[1] == ["student - teachers (oracle)", "-", "-", "-", "-", "-4.5 ↓"]


def test_changed_test_sets_are_shown_together_and_by_domain() -> None:
    parts = {part.title: part for part in cell_parts(make_cell())}
    together, by_domain = parts["Changed test sets: macro averages, then by domain"].tables
    assert together.rows[-1] == ["typos", "12.0", "11.3", "-0.7 ↓"]
    assert ["typos: office (100 sentences)", "12.0", "10.0"] in by_domain.rows


def test_teachers_cost_what_all_of_them_cost() -> None:
    table = cost_table(make_cell())
    assert table is not None
    teachers = next(row for row in table.rows if row[0] == "teachers (oracle)")
    assert teachers == ["teachers (oracle)", "3", "26.68 M", "108.0 MB", "30", "120"]


def test_without_a_gap_there_is_no_share_of_it() -> None:
    results = make_results(set())
    results["gap_closed"]["bleu"] = {"value": None, "interval": None, "reason": "the teachers are not better"}
    cells = {"a": make_cell() | {"results": results}}
    assert "n/a (the teachers are not better)" in overview(cells).rows[0]


def test_parts_that_a_cell_lacks_are_said_to_be_not_run() -> None:
    bare = {"settings": {}, "command": "mtkd run", "done": True, "results": WON, "sizes": {}}
    parts = {part.title: part for part in cell_parts(bare)}
    assert parts["Routing: the classifier in front of the teachers"].lines == ["not run"]
    assert parts["Systems"].tables
    assert parts["Gap closed"].lines[0] == "BLEU: 25%"


def test_signatures_are_given_once() -> None:
    cells = {"a": make_cell(), "b": make_cell()}
    notes = reading_notes(cells)
    assert len([note for note in notes if "bleu|version" in note]) == 1
    assert reading_notes({"a": NOT_DONE}) == []


def test_the_text_says_what_was_run_claims_by_rule_and_gives_the_commands(written: Path) -> None:
    text = (written / "results.md").read_text(encoding="utf-8")
    assert text.startswith("# experiment_en_de (en to de)\n")
    assert "1 of 2 cells were run; not run: nano_half." in text
    assert "The student is significantly better than mixed fine-tuning in BLEU" in text
    assert "`model.student=small`, `distill.kd_weight=0.5`." in text
    assert "## nano_half\n\n`model.student=nano`.\n\nnot run\n" in text
    assert "| office | 10 | 10 | 10 | 93.1% |" in text
    assert text.count("bleu|version:2.6.0") == 1
    assert "KL(dense \\|\\| stored)" in text
    for cell in FOUND["cells"].values():
        assert cell["command"] in text


def test_nothing_is_claimed_that_no_test_allows(tmp_path: Path) -> None:
    cell = make_cell(make_results(set()))
    cell["results"] |= {"student_against": {}, "robustness_against": {}}
    write_page({**FOUND, "cells": {"a": cell}}, tmp_path)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert not any("↑" in line or "↓" in line for line in tables)
    assert "No significant difference between the student and mixed fine-tuning." in text


def test_the_page_is_whole_and_needs_nothing_else(written: Path) -> None:
    page = Page(written / "index.html")
    text = " ".join(" ".join(page.words).split())
    assert "script" not in page.tags
    assert len(page.ids) == len(set(page.ids))
    assert all(address.startswith("#") for address in page.addresses)
    curves = "NLL on dev text by update", "NLL on each domain's dev text"
    for shown in ("small_half", "nano_half", "not run", "25% (10% to 40%)", "mtkd run recipe.yaml", "-4.5 ↓", *curves):
        assert shown in text
