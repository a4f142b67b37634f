"""What a run found, as one page for people, one file for machines and one text to paste.

What it owns: `index.html`, `results.json`, `results.md`. What it must not know: where the figures come from (they are
given as plain data), torch, fairseq; what may be claimed of them is `findings.py`'s. Why one self-contained page: it
is mailed and archived, and must still open, without a script or an address, when everything else is gone. Whatever
is missing is shown as "not run", or as not asked for by the recipe.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from mtkd.corpus.textfile import writing
from mtkd.findings import LABELS, render_table, serving_cost, systems_table, table_notes, table_rows, verdict
from mtkd.html_page import render_page
from mtkd.plots import domain_curves, heat_map, sweep_curves, sweep_domain_curves, training_curves
from mtkd.report_tables import (
    capture_table,
    comparisons,
    coverage_table,
    gap_table,
    gate_limits,
    heat_tables,
    listing,
    missing_parts,
    robustness_domain_tables,
    robustness_tables,
    routing_cost,
    routing_table,
    steps_table,
    student_comparisons,
    turned,
)
from mtkd.sentence_tables import EXPLAINED, example_tables, sentence_counts
from mtkd.sweep_findings import sweep_notes, sweep_tables, sweep_verdict

__all__ = ["ReportInputs", "render_table", "table_rows", "verdict", "write_report"]

CORPUS_PARTS = {
    "clean": "Cleaning: sentence pairs read, kept, dropped by each filter",
    "split": "Split: sentence pairs by side; purged: leaks taken out",
}


@dataclass(frozen=True)
class ReportInputs:
    """All that the report shows, as plain data; every part but `results` may be empty.

    `results` is what `evaluation.evaluate` returned, `gap` what `teacher_gap` did, `corpus` {"clean", "split"} by
    group, `metrics` model -> rows of its training log (losses in bits a token), `captures` corpus -> figures,
    `failed_gates` what they fall short of (None: nobody has looked), `transfer` domain -> counts of its text
    without references, `translations` domain -> counts of its train rows that its teacher translated, `sizes` model
    -> {"parameters", "float32_bytes", "int8_bytes"}, `sweep` what `sweep.compare_points` returned, `steps`
    [{"name", "seconds", "peak_rss_bytes"}], `command` what was typed.
    """

    recipe: dict[str, Any]
    results: dict[str, Any]
    corpus: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    captures: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed_gates: list[str] | None = None
    transfer: dict[str, dict[str, Any]] = field(default_factory=dict)
    translations: dict[str, dict[str, Any]] = field(default_factory=dict)
    sizes: dict[str, dict[str, Any]] = field(default_factory=dict)
    gap: dict[str, Any] = field(default_factory=dict)
    sweep: dict[str, Any] = field(default_factory=dict)
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
        parts += ["## Every model on every test set", heat_tables(inputs.results)[0].markdown()]
    if changed := robustness_tables(inputs.results):
        parts += ["## Changed test sets, macro averages", *(table.markdown() for table in changed)]
    if "routing" in inputs.results:
        of_routing = routing_table(inputs.results), routing_cost(inputs.results, inputs.sizes)
        parts += ["## Routing", *(table.markdown() for table in of_routing if table)]
    if counts := sentence_counts(inputs.results):
        examples = [table.markdown() for table in example_tables(inputs.results)]
        parts += ["## Sentence by sentence", EXPLAINED, counts.markdown(), *examples]
    if inputs.sweep:
        notes = "\n".join(f"- {note}" for note in sweep_notes(inputs.sweep))
        tables = [table.markdown() for table in sweep_tables(inputs.sweep)]
        parts += ["## Sweep, on dev", sweep_verdict(inputs.sweep), *tables, notes]
    if cost := serving_cost(inputs.sizes):
        parts += ["## Cost of serving", cost.markdown()]
    return "\n\n".join(parts)


def _page(inputs: ReportInputs) -> str:
    """The whole page; jinja2 escapes every text, only our own SVG goes in as it is."""
    results = inputs.results
    heat, gates = results.get("heatmap", {}), gate_limits(inputs.recipe)
    return render_page(
        "report.html.j2",
        title=_title(inputs),
        verdict=verdict(results),
        systems=[systems_table(results, metric) for metric in results.get("scores", {})],
        notes=table_notes(results) if results else [],
        comparisons=comparisons(results),
        student_comparisons=student_comparisons(results),
        sentences=sentence_counts(results),
        examples=example_tables(results),
        examples_explained=EXPLAINED,
        robustness=robustness_tables(results),
        robustness_by_domain=robustness_domain_tables(results),
        routing=routing_table(results),
        routing_cost=routing_cost(results, inputs.sizes),
        gap_closed=_gap_closed(results) if results else [],
        gap=gap_table(inputs.gap),
        gap_messages=inputs.gap.get("messages", []),
        cost=serving_cost(inputs.sizes),
        heat_map=Markup(heat_map(heat.get("bleu", {}), results.get("test_sets", []), label="BLEU")),  # noqa: S704
        heat_tables=heat_tables(results),
        training=Markup(training_curves(inputs.metrics)),  # noqa: S704
        by_domain=Markup(domain_curves(inputs.metrics, results.get("domains", []))),  # noqa: S704
        sweep=sweep_verdict(inputs.sweep) if inputs.sweep else "",
        sweep_tables=sweep_tables(inputs.sweep) if inputs.sweep else [],
        sweep_notes=sweep_notes(inputs.sweep) if inputs.sweep else [],
        sweep_plot=Markup(sweep_curves(inputs.sweep)),  # noqa: S704
        sweep_by_domain=Markup(sweep_domain_curves(inputs.sweep)),  # noqa: S704
        captures=capture_table(inputs.captures, gates),
        coverage=coverage_table(inputs.captures),
        gates=gates,
        failed_gates=inputs.failed_gates,
        transfer=turned(inputs.transfer),
        translations=turned(inputs.translations),
        corpus=[(title, turned(inputs.corpus.get(key, {}))) for key, title in CORPUS_PARTS.items()],
        parity=listing(inputs.parity),
        recipe=yaml.safe_dump(json.loads(json.dumps(inputs.recipe, default=str)), sort_keys=False, allow_unicode=True)
        if inputs.recipe
        else "",
        command=inputs.command,
        steps=steps_table(inputs.steps),
        environment=listing(inputs.environment),
        missing=missing_parts(inputs.recipe),
    )


def _title(inputs: ReportInputs) -> str:
    languages = inputs.recipe.get("languages", {})
    pair = f" ({languages['source']} to {languages['target']})" if languages else ""
    return f"{inputs.recipe.get('name', 'mtkd run')}{pair}"


def _gap_closed(results: dict[str, Any]) -> list[str]:
    """The share of (teachers - mixed) that the student has closed, a line a metric."""
    return [f"{LABELS.get(metric, metric)}: {_share(of)}" for metric, of in results["gap_closed"].items()]


def _share(of: dict[str, Any]) -> str:
    if of["value"] is None:
        return f"n/a ({of['reason']})"
    if of.get("interval") is None:
        return f"{of['value']:.0%}"
    low, high = of["interval"]
    return f"{of['value']:.0%} (95 % interval: {low:.0%} to {high:.0%})"
