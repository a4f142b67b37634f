"""An experiment's tables: what one cell found, and all cells beside each other, as cells of text.

What it owns: which figures of a cell are shown in which order. What it must not know: HTML, files, how a cell was run.
Claims are `findings.py`'s: every mark of a significant difference is made there or from a test's own word. What a cell
does not have is left out, or said to be missing; nothing is worked out anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mtkd.findings import HIGHER, LABELS, LOWER, MACRO, Table, systems_table, table_notes, verdict
from mtkd.report_tables import (
    NOT_RUN,
    capture_table,
    gap_table,
    lead,
    robustness_domain_tables,
    robustness_tables,
    routing_cost,
    routing_table,
    turned,
)
from mtkd.sentence_tables import sentence_counts

EXAMPLES_ELSEWHERE = "By chrF of each sentence, student less mixed fine-tuning; a run's report has examples."
_OUTSIDE = ("generic", "mixed", "student")
"""What is shown of text that is of no domain: what was known before, and what is left of it."""


@dataclass(frozen=True)
class Part:
    """One heading of a cell with its tables and lines; a line may have Markdown's code marks."""

    title: str
    tables: list[Table] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    said: str = ""


def overview(cells: Mapping[str, dict[str, Any]]) -> Table:
    """A row a cell: the student against mixed fine-tuning and the teachers, gap closed, text that is no domain's."""
    done = [cell["results"] for cell in cells.values() if cell["done"]]
    others = [name for name in (done[0]["test_sets"] if done else []) if name not in done[0]["domains"]]
    header = ["BLEU", "parameters", "student", "mixed", "teachers (oracle)", "gap closed"]
    rows = []
    for name, cell in cells.items():
        if not cell["done"]:
            rows.append([name, NOT_RUN, *["-"] * (len(header) - 2 + len(others))])
            continue
        table = systems_table(cell["results"], "bleu")
        shown = [_cell(table, system, MACRO) for system in ("student", "mixed", LABELS["teachers"])]
        outside = [" / ".join(_cell(table, system, other) for system in _OUTSIDE) for other in others]
        size = cell["sizes"].get("student", {}).get("parameters")
        rows.append([name, _millions(size), *shown, _gap_closed(cell["results"], "bleu"), *outside])
    return Table([*header, *(f"{other}: {' / '.join(_OUTSIDE)}" for other in others)], rows)


def systems_by_cell(cells: Mapping[str, dict[str, Any]]) -> Table | None:
    """Macro average BLEU: a row a system, a column a finished cell; marked against the cell's own mixed fine-tuning."""
    tables = {name: systems_table(cell["results"], "bleu") for name, cell in cells.items() if cell["done"]}
    labels = list(dict.fromkeys(row[0] for table in tables.values() for row in table.rows))
    rows = [[label, *(_cell(table, label, MACRO) for table in tables.values())] for label in labels]
    return Table([f"BLEU, {MACRO}", *tables], rows) if rows else None


def cell_parts(cell: dict[str, Any]) -> list[Part]:
    """Everything that a finished cell found, the answer first."""
    results = cell["results"]
    metrics, by_domain = list(results["scores"]), robustness_domain_tables(results)
    routing = _known([routing_table(results), routing_cost(results, cell["sizes"])])
    parts = [
        Part("Systems", [systems_table(results, metric) for metric in metrics], said=verdict(results)),
        Part("The student against every other system", _known(against_table(results, metric) for metric in metrics)),
        Part("Gap closed", [], [f"{LABELS.get(metric, metric)}: {_gap_closed(results, metric)}" for metric in metrics]),
        Part(
            "Was there a gap? On dev", _known([gap_table(cell.get("gap", {}))]), cell.get("gap", {}).get("messages", [])
        ),
        Part("Sentence by sentence", _known([sentence_counts(results)]), said=EXAMPLES_ELSEWHERE),
        Part("Changed test sets: macro averages, then by domain", [*robustness_tables(results), *by_domain[:1]]),
        Part("Routing: the classifier in front of the teachers", routing),
        Part("What the teachers wrote down", _known([capture_table(cell.get("captures", {}), {})])),
        Part("The teachers' translations of the train text", _known([turned(cell.get("translations", {}))])),
        Part("Size and training time", _known([cost_table(cell)])),
    ]
    return [part if part.tables or part.lines else Part(part.title, [], [NOT_RUN]) for part in parts]


def against_table(results: dict[str, Any], metric: str) -> Table | None:
    """The student's lead over each other system on each test set, marked where Holm leaves it significant."""
    columns = [*results["test_sets"], "pooled"]
    rows = [
        [f"student - {LABELS.get(system, system)}", *(lead(of.get(column)) for column in columns)]
        for system, of in results.get("student_against", {}).get(metric, {}).items()
    ]
    return Table([LABELS.get(metric, metric), *columns[:-1], "all domains together"], rows) if rows else None


def cost_table(cell: dict[str, Any]) -> Table | None:
    """What each system takes to serve and took to train, its models alone and with all that they need."""
    rows = []
    for system, models in cell.get("systems", {}).items():
        sizes = [cell["sizes"].get(model, {}) for model in models]
        time = cell.get("time", {}).get(system, {})
        rows.append([
            LABELS.get(system, system),
            str(len(models)),
            _millions(_sum(sizes, "parameters")),
            _megabytes(_sum(sizes, "float32_bytes")),
            _minutes(time.get("own_s")),
            _minutes(time.get("all_s")),
        ])  # fmt: skip
    header = ["system", "models", "parameters", "float32", "minutes to train them", "with every step they need"]
    return Table(header, rows) if rows else None


def reading_notes(cells: Mapping[str, dict[str, Any]]) -> list[str]:
    """What a reader must know of the tables, signatures included; each said once."""
    notes = [note for cell in cells.values() if cell["done"] for note in table_notes(cell["results"])]
    if not notes:
        return []
    own = (
        f"student - x, student less x: {HIGHER} {LOWER} where a difference is significant by the same test. Holm's "
        "correction is over all of the student's comparisons, and over those on changed test sets, which are of all "
        "domains' sentences together."
    )
    share = "gap closed: (student - mixed) / (teachers - mixed) on macro averages; in brackets its 95 % interval."
    time = "minutes: of an interrupted step those of all its runs."
    return [*dict.fromkeys(notes), own, share, time]


def _gap_closed(results: dict[str, Any], metric: str) -> str:
    of = results["gap_closed"][metric]
    if of["value"] is None:
        return f"n/a ({of['reason']})"
    low_high = of.get("interval")
    return f"{of['value']:.0%}" + (f" ({low_high[0]:.0%} to {low_high[1]:.0%})" if low_high else "")


def _cell(table: Table, row: str, column: str) -> str:
    """A cell of a table by the names of its row and column; "-" where there is none."""
    if column not in table.header:
        return "-"
    place = table.header.index(column)
    return next((cells[place] for cells in table.rows if cells[0] == row), "-")


def _known(tables: Any) -> list[Table]:
    return [table for table in tables if table is not None]


def _sum(sizes: list[dict[str, Any]], key: str) -> float | None:
    values = [of.get(key) for of in sizes]
    return None if None in values or not values else sum(value for value in values if value)


def _millions(value: float | None) -> str:
    return f"{value / 1e6:,.2f} M" if value else "-"


def _megabytes(value: float | None) -> str:
    return f"{value / 1e6:,.1f} MB" if value else "-"


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 60:,.0f}"
