"""What may be said of a run's results: the verdict, the systems' tables, the cost of serving.

What it owns: the wording of claims and the tables' cells, as plain text. What it must not know: HTML, plots, files,
torch, sacreBLEU (so the command line can print a table at once). Why claims are made by rule: a win is stated only
where the test allows it, in every run alike. `results` is always what `evaluation.evaluate` returned.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LABELS = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "teachers": "teachers (oracle)",
    "tagged": "tagged (oracle tag)",
    "sequence_kd": "sequence-level KD",
    "word_and_sequence_kd": "word + sequence KD",
    "uniform_ensemble": "uniform ensemble",
    "routing": "routing by classifier",
}
SYSTEM_NOTES = {
    "tagged": "mixed fine-tuning, each source beginning with its domain's symbol, so it must be told the domain; other "
    "text has no symbol.",
    "sequence_kd": "mixed fine-tuning on each domain's train sources as its teacher translates them.",
    "word_and_sequence_kd": "the student, learning from its teachers' translations and what they believe about these.",
    "uniform_ensemble": "the mean of all teachers' probabilities at each step of decoding.",
    "routing": "each sentence by the teacher that a classifier of domains chooses.",
    "teachers": "each domain by its own teacher, so it must be told the domain.",
}
MACRO = "macro average"
"""The tables' last column; with its space it can never be a domain's name."""
HIGHER, LOWER = "\u2191", "\u2193"
DEMONSTRATION_BLEU = 20.0
"""A student whose macro BLEU is below this is not called a translator."""


@dataclass(frozen=True)
class Table:
    """A table of ready-made texts; the first column names the rows, `bold` holds (row, column) places."""

    header: list[str]
    rows: list[list[str]]
    bold: frozenset[tuple[int, int]] = frozenset()

    def markdown(self) -> str:
        """The table in GitHub's Markdown, in which a bar would begin another cell, and a tag would not be seen."""
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)]]
        for place, row in enumerate(self.rows):
            cells = [re.sub(r"([|<])", r"\\\1", cell) for cell in row]
            lines.append([f"**{cell}**" if (place, column) in self.bold else cell for column, cell in enumerate(cells)])
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def verdict(results: dict[str, Any]) -> str:
    """One paragraph: what may be claimed of the student against mixed fine-tuning, and what may not."""
    if not results:
        return "The evaluation was not run."
    macro, domains = results["macro"], results["domains"]
    figures = " and ".join(f"{of['student']['score']:.1f} {_label(metric)}" for metric, of in macro.items())
    over = f"over {len(domains)} domains" if len(domains) > 1 else f"on {domains[0]}"
    sentences = []
    if results["baseline"] is None:
        sentences.append(f"The student has {figures} {over}; mixed fine-tuning was not run, so nothing is claimed.")
    else:
        directions = {metric: _direction(results, metric, "student", MACRO) for metric in macro}
        sentences.append(_claim(directions))
        against = ", ".join(
            f"{of['student']['score'] - of['mixed']['score']:+.1f} {_label(metric)}" for metric, of in macro.items()
        )
        sentences.append(f"It has {figures} {over} ({against}).")
        sentences.append(_by_test_set(results))
    if macro["bleu"]["student"]["score"] < DEMONSTRATION_BLEU:
        sentences.append(
            f"Below {DEMONSTRATION_BLEU:.0f} BLEU this is a demonstration, not a translator: it needs more text and "
            "longer training."
        )
    return " ".join(sentences)


def table_rows(results: dict[str, Any], metric: str = "bleu") -> tuple[list[str], list[list[str]]]:
    """Header and rows of the systems' table for one metric: a row a system, a column a test set, the macro average.

    An arrow marks a score that is significantly above or below that of mixed fine-tuning.
    """
    table = systems_table(results, metric)
    return table.header, table.rows


def render_table(results: dict[str, Any]) -> str:
    """The systems' tables of all metrics in Markdown, with the notes that make them readable on their own."""
    if not results:
        return "not run"
    tables = [systems_table(results, metric).markdown() for metric in results["scores"]]
    return "\n\n".join([*tables, "\n".join(f"- {note}" for note in table_notes(results))])


def table_notes(results: dict[str, Any]) -> list[str]:
    """What a reader must know of the systems' tables; the signatures are among it."""
    first = next(iter(results["test_sets"]))
    notes = [f"{MACRO}: unweighted mean of the domains' scores ({', '.join(results['domains'])})."]
    notes += [f"{_label(system)}: {said}" for system, said in SYSTEM_NOTES.items() if system in results["systems"]]
    if unseen := [name for name in results["test_sets"] if name not in (*results["domains"], "general")]:
        notes.append(f"{', '.join(unseen)}: held out, a field that nobody trained on.")
    if results["baseline"]:
        notes.append(
            f"{HIGHER} {LOWER}: significantly above, below mixed fine-tuning (sacreBLEU's paired bootstrap, Holm over "
            f"all comparisons of the metric, p < {results['alpha']}); at {MACRO}: on all domains' sentences together. "
            "Bold: the best of its column, where its lead over mixed fine-tuning (or mixed's over all) is significant."
        )
    for metric, of in results["scores"].items():
        found = of["student"][first]["signature"]
        tested = next((row["signature"] for row in results["pooled"].get(metric, {}).values()), None)
        notes.append(f"{_label(metric)}: `{found}`" + (f"; tests: `{tested}`" if tested else ""))
    return notes


def serving_cost(sizes: dict[str, dict[str, Any]]) -> Table | None:
    """The student against all teachers together; None where either is unknown."""
    teachers = [of for model, of in sizes.items() if model.startswith("teacher.")]
    student = sizes.get("student")
    if not teachers or not student:
        return None
    rows = []
    units: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("parameters", "parameters", _millions),
        ("float32_bytes", "size in float32", _megabytes),
        ("int8_bytes", "size in int8", _megabytes),
    )
    for key, title, shown in units:
        values = [of.get(key) for of in teachers]
        known = [value for value in values if value]
        total = sum(known) if len(known) == len(values) else None
        one = student.get(key)
        ratio = f"{total / one:.1f} x" if total and one else "-"
        rows.append([title, shown(one) if one else "-", shown(total) if total else "-", ratio])
    return Table(["to serve all domains", "student", f"all {len(teachers)} teachers", "ratio"], rows)


def systems_table(results: dict[str, Any], metric: str) -> Table:
    """A row a system, a column a test set and their macro average; bold where the best is significantly so."""
    systems, columns = results["systems"], [*results["test_sets"], MACRO]
    rows = []
    for system in systems:
        cells = []
        for column in columns:
            found = _score(results, metric, system, column)
            mark = {1: " " + HIGHER, -1: " " + LOWER, 0: ""}[_direction(results, metric, system, column)]
            cells.append("-" if found is None else f"{found:.1f}{mark}")
        rows.append([LABELS.get(system, system), *cells])
    bold = set()
    for place, column in enumerate(columns, start=1):
        best = _significantly_best(results, metric, column)
        if best is not None:
            bold.add((systems.index(best), place))
    return Table([_label(metric), *columns], rows, frozenset(bold))


def _score(results: dict[str, Any], metric: str, system: str, column: str) -> float | None:
    of = results["macro"][metric] if column == MACRO else results["scores"][metric][system]
    found = of.get(system if column == MACRO else column)
    return None if found is None else float(found["score"])


def _direction(results: dict[str, Any], metric: str, system: str, column: str) -> int:
    """1 significantly above mixed fine-tuning, -1 below, 0 neither.

    The macro average is not a score of one text, so it is judged by the test on all domains' sentences together, and
    only where that points the same way as the averages do.
    """
    if column == MACRO:
        row = results["pooled"].get(metric, {}).get(system)
    else:
        row = results["significance"].get(metric, {}).get(system, {}).get(column)
    if row is None or not row["significant"]:
        return 0
    ahead = (_score(results, metric, system, column) or 0.0) - (_score(results, metric, "mixed", column) or 0.0)
    return int(ahead > 0 and row["difference"] > 0) - int(ahead < 0 and row["difference"] < 0)


def _significantly_best(results: dict[str, Any], metric: str, column: str) -> str | None:
    """The best system of a column, if it is above mixed, or is mixed and above all others."""
    scores = {system: _score(results, metric, system, column) for system in results["systems"]}
    known = {system: found for system, found in scores.items() if found is not None}
    best = max(known, key=known.__getitem__)
    if best == "mixed":
        beaten = [_direction(results, metric, system, column) < 0 for system in known if system != best]
        return best if beaten and all(beaten) else None
    return best if _direction(results, metric, best, column) > 0 else None


def _claim(directions: dict[str, int]) -> str:
    """The sentence on all domains together, from metric -> direction."""
    groups = {way: [_label(metric) for metric, found in directions.items() if found == way] for way in (1, -1, 0)}
    if not groups[1] and not groups[-1]:
        return "No significant difference between the student and mixed fine-tuning."
    parts = [
        f"significantly {word} than mixed fine-tuning in {' and '.join(groups[way])}"
        for way, word in ((1, "better"), (-1, "worse"))
        if groups[way]
    ]
    rest = f", with no significant difference in {' and '.join(groups[0])}" if groups[0] else ""
    return f"The student is {', but '.join(parts)}{rest}."


def _by_test_set(results: dict[str, Any]) -> str:
    """The student's BLEU against mixed, each test set named once."""
    groups: dict[int, list[str]] = {1: [], -1: [], 0: []}
    for test_set in results["test_sets"]:
        groups[_direction(results, "bleu", "student", test_set)].append(test_set)
    words = {1: "better on", -1: "worse on", 0: "no significant difference on"}
    return "By test set (BLEU): " + "; ".join(f"{words[way]} {', '.join(of)}" for way, of in groups.items() if of) + "."


def _label(metric: str) -> str:
    return LABELS.get(metric, metric)


def _millions(value: float) -> str:
    return f"{value / 1e6:,.1f} M"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.1f} MB"
