"""What a run found, as one page for people, one file for machines and one text to paste.

What it owns: `index.html`, `results.json`, `results.md`. What it must not know: where the figures come from (they are
given as plain data), torch, fairseq; what may be claimed of them is `findings.py`'s. Why one self-contained page: it
is mailed and archived, and must still open, without a script or an address, when everything else is gone. Whatever
is missing is shown as "not run".
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mtkd.corpus.textfile import writing
from mtkd.findings import LABELS, Table, render_table, serving_cost, systems_table, table_notes, table_rows, verdict
from mtkd.plots import domain_curves, heat_map, training_curves

__all__ = ["ReportInputs", "render_table", "table_rows", "verdict", "write_report"]

CAPTURE_FIGURES: dict[str, tuple[str, str]] = {
    "teacher": ("the checkpoint whose beliefs were stored", ""),
    "rows": ("training sentences that it scored", ","),
    "tokens": ("target tokens in them, end-of-sentence included", ","),
    "top_k": ("entries stored for each token", ""),
    "temperature": ("temperatures for which the tail was stored", ""),
    "coverage": ("share of the teacher's probability that the stored entries hold", ".1%"),
    "tail_mass": ("the rest of it, kept as one number a token", ".1%"),
    "top1_is_reference": ("tokens on which its first choice is the reference: it says nothing new there", ".1%"),
    "reference_in_top_k": ("tokens whose reference is among the stored entries", ".1%"),
    "fidelity": ("nats a token lost by storing, KL(dense || stored) with an even tail", ".4f"),
    "bytes_per_token": ("bytes on disk for each target token", ".1f"),
}
"""Figure of a capture -> what it means, and its format if it is a number."""
CORPUS_PARTS = {
    "clean": "Cleaning: sentence pairs read, kept, dropped by each filter",
    "split": "Split: sentence pairs by side; purged: leaks taken out",
}


@dataclass(frozen=True)
class ReportInputs:
    """All that the report shows, as plain data; every part but `results` may be empty.

    `results` is what `evaluation.evaluate` returned, `gap` what `teacher_gap` did, `corpus` {"clean", "split"} by
    group, `metrics` model -> rows of its training log (losses in bits a token), `captures` domain -> figures,
    `sizes` model -> {"parameters", "float32_bytes", "int8_bytes"}, `steps` [{"name", "seconds", "peak_rss_bytes"}].
    """

    recipe: dict[str, Any]
    results: dict[str, Any]
    corpus: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    captures: dict[str, dict[str, Any]] = field(default_factory=dict)
    sizes: dict[str, dict[str, Any]] = field(default_factory=dict)
    gap: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    command: str = ""


def write_report(inputs: ReportInputs, out: Path) -> None:
    """Write `index.html`, `results.json` and `results.md` under `out`, each beside first and then renamed."""
    parts = {key: value for key, value in asdict(inputs).items() if key != "metrics"}
    written = {
        "results.json": json.dumps(
            {"verdict": verdict(inputs.results), **parts}, indent=2, ensure_ascii=False, default=str
        ),
        "results.md": _markdown(inputs),
        "index.html": _page(inputs),
    }
    for name, text in written.items():
        with writing(out / name) as file:
            file.write(text.rstrip("\n") + "\n")


def _markdown(inputs: ReportInputs) -> str:
    """What a README can paste."""
    parts = [f"# {_title(inputs)}", verdict(inputs.results), render_table(inputs.results)]
    if inputs.results:
        parts += ["## Gap closed", "\n".join(f"- {line}" for line in _gap_closed(inputs.results))]
        parts += ["## Every model on every test set", _heat_tables(inputs.results)[0].markdown()]
    if cost := serving_cost(inputs.sizes):
        parts += ["## Cost of serving", cost.markdown()]
    return "\n\n".join(parts)


def _page(inputs: ReportInputs) -> str:
    """The whole page; jinja2 escapes every text, only our own SVG goes in as it is."""
    results = inputs.results
    source = files("mtkd").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    heat = results.get("heatmap", {})
    return environment.from_string(source).render(
        title=_title(inputs),
        verdict=verdict(results),
        systems=[systems_table(results, metric) for metric in results.get("scores", {})],
        notes=table_notes(results) if results else [],
        comparisons=_comparisons(results),
        gap_closed=_gap_closed(results) if results else [],
        gap=_gap_table(inputs.gap),
        gap_messages=inputs.gap.get("messages", []),
        cost=serving_cost(inputs.sizes),
        heat_map=Markup(heat_map(heat.get("bleu", {}), results.get("test_sets", []), label="BLEU")),  # noqa: S704
        heat_tables=_heat_tables(results),
        training=Markup(training_curves(inputs.metrics)),  # noqa: S704
        by_domain=Markup(domain_curves(inputs.metrics, results.get("domains", []))),  # noqa: S704
        captures=_capture_table(inputs.captures),
        corpus=[(title, _turned(inputs.corpus.get(key, {}))) for key, title in CORPUS_PARTS.items()],
        parity=_listing(inputs.parity),
        recipe=yaml.safe_dump(json.loads(json.dumps(inputs.recipe, default=str)), sort_keys=False, allow_unicode=True)
        if inputs.recipe
        else "",
        command=inputs.command,
        steps=_steps_table(inputs.steps),
        environment=_listing(inputs.environment),
    )


def _title(inputs: ReportInputs) -> str:
    languages = inputs.recipe.get("languages", {})
    pair = f" ({languages['source']} to {languages['target']})" if languages else ""
    return f"{inputs.recipe.get('name', 'mtkd run')}{pair}"


def _gap_closed(results: dict[str, Any]) -> list[str]:
    """The share of (teachers - mixed) that the student has closed, a line a metric."""
    return [
        f"{LABELS.get(metric, metric)}: " + (f"n/a ({of['reason']})" if of["value"] is None else f"{of['value']:.0%}")
        for metric, of in results["gap_closed"].items()
    ]


def _comparisons(results: dict[str, Any]) -> Table | None:
    """Every test against mixed fine-tuning that was made."""
    rows = []
    for metric, systems in results.get("pooled", {}).items():
        for system, together in systems.items():
            tests = {**results["significance"][metric].get(system, {}), "all domains together": together}
            for test_set, row in tests.items():
                figures = [f"{row['difference']:+.2f}", f"{row['p_value']:.4f}", f"{row['p_holm']:.4f}"]
                name = f"{LABELS.get(metric, metric)}: {LABELS.get(system, system)} on {test_set}"
                rows.append([name, *figures, "yes" if row["significant"] else "no"])
    return Table(["comparison with mixed", "difference", "p", "p (Holm)", "significant"], rows) if rows else None


def _heat_tables(results: dict[str, Any]) -> list[Table]:
    """Every model on every test set, a table a metric."""
    test_sets = results.get("test_sets", [])
    return [
        Table(
            [LABELS.get(metric, metric), *test_sets],
            [
                [model, *(f"{of[name]['score']:.1f}" if name in of else "-" for name in test_sets)]
                for model, of in models.items()
            ],
        )
        for metric, models in results.get("heatmap", {}).items()
    ]


def _gap_table(gap: dict[str, Any]) -> Table | None:
    rows = [
        [domain, *(f"{of[role]['score']:.1f}" for role in ("teacher", "mixed")), f"{of['difference']:+.1f}"]
        for domain, of in gap.get("domains", {}).items()
    ]
    return Table(["BLEU on dev", "own teacher", "mixed", "difference"], rows) if rows else None


def _capture_table(captures: dict[str, dict[str, Any]]) -> Table | None:
    """Figures down, domains across, so that each figure's meaning stands beside it."""
    if not captures:
        return None
    rows = []
    for figure, (meaning, spec) in CAPTURE_FIGURES.items():
        values = [of.get(figure) for of in captures.values()]
        if any(value is not None for value in values):
            rows.append(
                [
                    figure,
                    *(format(value, spec) if isinstance(value, int | float) else _plain(value) for value in values),
                    meaning,
                ]
            )
    return Table(["figure", *captures, "what it is"], rows)


def _steps_table(steps: list[dict[str, Any]]) -> Table | None:
    if not steps:
        return None
    rows = [[step["name"], _duration(step.get("seconds")), _memory(step.get("peak_rss_bytes"))] for step in steps]
    total = sum(step.get("seconds") or 0 for step in steps)
    highest = max(step.get("peak_rss_bytes") or 0 for step in steps)
    return Table(["step", "time", "peak memory"], [*rows, ["all", _duration(total), _memory(highest)]])


def _turned(groups: dict[str, Any]) -> Table | None:
    """A table of nested counts by group: figures down, groups across."""
    columns = {group: _flat(of) for group, of in groups.items()}
    figures = dict.fromkeys(figure for of in columns.values() for figure in of)
    rows = [[figure, *(of.get(figure, "-") for of in columns.values())] for figure in figures]
    return Table(["", *columns], rows) if rows else None


def _listing(values: dict[str, Any]) -> Table | None:
    rows = [[key, shown] for key, shown in _flat(values).items()]
    return Table(["", ""], rows) if rows else None


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """Nested mappings as one, its keys joined by colons, its values as text."""
    if not isinstance(value, dict):
        return {path or "value": _plain(value)}
    return {
        key: shown
        for name, child in value.items()
        for key, shown in _flat(child, f"{path}: {name}" if path else str(name)).items()
    }


def _plain(value: Any) -> str:
    """A value of unknown kind as a reader would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(one) for one in value)
    return "-" if value is None else str(value)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _memory(count: float | None) -> str:
    return f"{count / 2**20:,.0f} MiB" if count else "-"
