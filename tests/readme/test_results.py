"""README's scores are those that were measured."""

from __future__ import annotations

import re

import pytest

from tests.readme.page import ROOT, between


@pytest.mark.readme
@pytest.mark.parametrize(
    ("marker", "file"),
    [
        ("results", "data_recipes/quickstart/results.md"),
        ("demo-output", "data_recipes/quickstart/results.md"),
        ("experiment", "docs/results/experiment_en_de.md"),
    ],
)
def test_shown_scores_are_the_measured_ones(marker: str, file: str) -> None:
    path = ROOT / file
    measured = scores(path.read_text(encoding="utf-8")) if path.exists() else []
    shown = scores(between(marker))
    assert bool(shown) == path.exists()
    assert [row for row in shown if row not in measured] == []


def scores(text: str) -> list[list[str]]:
    """Cells of every row of scores in a table, of Markdown's or a terminal's lines."""
    lines = [re.split(r"[|\u2502]", line)[1:-1] for line in text.splitlines()]
    cells = [[cell.strip(" *") for cell in line] for line in lines]
    return [row for row in cells if any(re.match(r"-?\d+\.\d", cell) for cell in row)]
