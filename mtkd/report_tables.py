"""The report's tables other than the scores': from plain data to cells of text.

What it owns: which figures are shown in which order, what each is said to be, how numbers and durations are written.
What it must not know: HTML, plots, files, where the figures come from; claims are `findings.py`'s.
"""

from __future__ import annotations

from typing import Any

from mtkd.findings import HIGHER, LABELS, LOWER, Table

CAPTURE_FIGURES: dict[str, tuple[str, str]] = {
    "teacher": ("whose beliefs were stored; several are mixed with these weights", ""),
    "references": ("whose words the targets are: given with the text, or the teacher's own translation", ""),
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
NOT_RUN, NOT_ASKED = "not run", "not asked for by the recipe"
"""What stands in the place of a part that is missing."""


def missing_parts(recipe: dict[str, Any]) -> dict[str, str]:
    """Part that a recipe may do without -> what to say where it is missing."""
    distill, sweep = recipe.get("distill", {}), recipe.get("sweep")
    corpora = [corpus for domain in recipe.get("domains", {}).values() for corpus in domain.get("corpora", [])]
    systems = set(recipe.get("systems", ("mixed", "teachers")))
    asked = {
        "robustness": bool(recipe.get("robustness")),
        "routing": "routing" in systems,
        "translations": not systems.isdisjoint({"sequence_kd", "word_and_sequence_kd"}),
        "gap": {"mixed", "teachers"} <= systems,
        "sentences": "mixed" in systems,
        "cost": "teachers" in systems,
        "sweep": sweep is None or any(sweep.values()),
        "captures": distill.get("source") != "online"
        and any([distill.get("kd_weight", 1.0), *(sweep or {}).get("kd_weight", [])]),
        "transfer": not corpora or any(corpus.get("references") == "none" for corpus in corpora),
    }
    return {part: NOT_RUN if wanted else NOT_ASKED for part, wanted in asked.items()}


def gate_limits(recipe: dict[str, Any]) -> dict[str, str]:
    """Figure of a capture -> what the recipe's gates ask of it; only where one asks anything."""
    gates = recipe.get("distill", {}).get("gates", {})
    limits = {}
    if gates.get("coverage") is not None:
        # A label-smoothed teacher keeps about epsilon in its tail, whatever it knows.
        epsilon = recipe["training"]["teacher"]["label_smoothing"]
        limits["coverage"] = f"at least {gates['coverage'] * (1.0 - epsilon):.1%}"
    if gates.get("reference_in_top_k") is not None:
        limits["reference_in_top_k"] = f"at least {gates['reference_in_top_k']:.1%}, of given ones"
    if gates.get("fidelity") is not None:
        limits["fidelity"] = f"at most {gates['fidelity']:g}"
    return limits


def comparisons(results: dict[str, Any]) -> Table | None:
    """Every test against mixed fine-tuning that was made."""
    tests = {
        metric: {
            system: results["significance"][metric].get(system, {}) | {"pooled": row} for system, row in systems.items()
        }
        for metric, systems in results.get("pooled", {}).items()
    }
    return _tests(tests, "comparison with mixed", "")


def student_comparisons(results: dict[str, Any]) -> Table | None:
    """Every test of the student against another system that was made."""
    return _tests(results.get("student_against", {}), "comparison with the student", "student less ")


def _tests(tests: dict[str, Any], title: str, less: str) -> Table | None:
    rows = []
    for metric, systems in tests.items():
        for system, by_test_set in systems.items():
            for test_set, row in by_test_set.items():
                figures = [f"{row['difference']:+.2f}", f"{row['p_value']:.4f}", f"{row['p_holm']:.4f}"]
                where = "all domains together" if test_set == "pooled" else test_set
                name = f"{LABELS.get(metric, metric)}: {less}{LABELS.get(system, system)} on {where}"
                rows.append([name, *figures, "yes" if row["significant"] else "no"])
    return Table([title, "difference", "p", "p (Holm)", "significant"], rows) if rows else None


def robustness_tables(results: dict[str, Any]) -> list[Table]:
    """Macro averages on changed test sets, a table a metric: a row a change, a column a system, the student's leads.

    The first row is of the test sets as they are; it has no tests here.
    """
    tables = []
    for metric, tests in results.get("robustness_against", {}).items():
        means = {name: by_metric[metric] for name, by_metric in results["robustness_macro"].items()}
        systems = list(dict.fromkeys(system for of in means.values() for system in of))
        against = list(dict.fromkeys(system for of in tests.values() for system in of))
        rows = [
            [
                name.replace("_", " "),
                *(f"{of[system]['score']:.1f}" for system in systems),
                *(lead(tests.get(name, {}).get(system)) for system in against),
            ]
            for name, of in {"as they are": results["macro"][metric], **means}.items()
        ]
        leads = [f"student less {LABELS.get(system, system)}" for system in against]
        tables.append(Table([LABELS.get(metric, metric), *(LABELS.get(name, name) for name in systems), *leads], rows))
    return tables


def robustness_domain_tables(results: dict[str, Any]) -> list[Table]:
    """Scores on each domain's changed test set, a table a metric."""
    variants, sentences = results.get("robustness", {}), results.get("robustness_sentences", {})
    tables = []
    for metric in next(iter(variants.values()), {}):
        systems = list(dict.fromkeys(system for of in variants.values() for system in of[metric]))
        rows = [
            [
                f"{variant.replace('_', ' ')}: {domain} ({count:,} sentences)",
                *(f"{of[metric][system][domain]['score']:.1f}" for system in systems),
            ]
            for variant, of in variants.items()
            for domain, count in sentences[variant].items()
        ]
        tables.append(Table([LABELS.get(metric, metric), *(LABELS.get(name, name) for name in systems)], rows))
    return tables


def routing_table(results: dict[str, Any]) -> Table | None:
    """What the classifier takes each domain's test sentences for."""
    routing = results.get("routing")
    if not routing:
        return None
    domains = list(routing["accuracy"])
    rows = [
        [domain, *(f"{routing['confusion'][domain][other]:,}" for other in domains), f"{share:.1%}"]
        for domain, share in routing["accuracy"].items()
    ]
    rows.append(["macro average", *[""] * len(domains), f"{routing['macro_accuracy']:.1%}"])
    return Table(["sentences of", *(f"taken for {domain}" for domain in domains), "accuracy"], rows)


def routing_cost(results: dict[str, Any], sizes: dict[str, dict[str, Any]]) -> Table | None:
    """What routing takes to serve: every teacher is held ready, and the classifier in front of them."""
    routing = results.get("routing")
    if not routing:
        return None
    models = {model: of["float32_bytes"] for model, of in sizes.items() if of.get("float32_bytes")}
    teachers = [size for model, size in models.items() if model.startswith("teacher.")]
    rows = [["classifier", f"{routing['bytes'] / 1e6:,.1f} MB"]]
    if len(teachers) == len(results["domains"]):
        together = sum(teachers) + routing["bytes"]
        rows.append([f"{len(teachers)} teachers in float32 and the classifier", f"{together / 1e6:,.1f} MB"])
    if "student" in models:
        rows.append(["the student in float32, for comparison", f"{models['student'] / 1e6:,.1f} MB"])
    rows.append(["time to choose a teacher for a sentence", f"{routing['ms_per_sentence']:.2f} ms"])
    return Table(["to serve by routing", ""], rows)


def lead(row: dict[str, Any] | None) -> str:
    """The difference of a test, marked where it is significant."""
    if row is None:
        return "-"
    mark = (HIGHER if row["difference"] > 0 else LOWER) if row["significant"] else ""
    return f"{row['difference']:+.1f} {mark}".rstrip()


def heat_tables(results: dict[str, Any]) -> list[Table]:
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


def gap_table(gap: dict[str, Any]) -> Table | None:
    """Each domain's teacher against mixed fine-tuning."""
    rows = [
        [domain, *(f"{of[role]['score']:.1f}" for role in ("teacher", "mixed")), f"{of['difference']:+.1f}"]
        for domain, of in gap.get("domains", {}).items()
    ]
    return Table(["BLEU on dev", "own teacher", "mixed", "difference"], rows) if rows else None


def capture_table(captures: dict[str, dict[str, Any]], limits: dict[str, str]) -> Table | None:
    """Figures down, corpora across, so that each figure's gate and meaning stand beside it."""
    if not captures:
        return None
    rows = []
    for figure, (meaning, spec) in CAPTURE_FIGURES.items():
        values = [of.get(figure) for of in captures.values()]
        if any(value is not None for value in values):
            shown = [format(value, spec) if isinstance(value, int | float) else _plain(value) for value in values]
            rows.append([figure, *shown, *([limits.get(figure, "")] if limits else []), meaning])
    return Table(["figure", *captures, *(["gate"] if limits else []), "what it is"], rows)


def coverage_table(captures: dict[str, dict[str, Any]]) -> Table | None:
    """What other k would hold of each corpus, where it was measured: k down, corpora across."""
    sampled = {corpus: of["coverage_by_k"] for corpus, of in captures.items() if of.get("coverage_by_k")}
    tops = sorted({int(k) for of in sampled.values() for k in of})
    rows = [[f"{k:,}", *(f"{of[str(k)]:.1%}" if str(k) in of else "-" for of in sampled.values())] for k in tops]
    return Table(["top_k", *sampled], rows) if rows else None


def steps_table(steps: list[dict[str, Any]]) -> Table | None:
    """Time and memory of every step, and together."""
    if not steps:
        return None
    rows = [[step["name"], _duration(step.get("seconds")), _memory(step.get("peak_rss_bytes"))] for step in steps]
    total = sum(step.get("seconds") or 0 for step in steps)
    highest = max(step.get("peak_rss_bytes") or 0 for step in steps)
    return Table(["step", "time", "peak memory"], [*rows, ["all", _duration(total), _memory(highest)]])


def turned(groups: dict[str, Any]) -> Table | None:
    """A table of nested counts by group: figures down, groups across."""
    columns = {group: _flat(of) for group, of in groups.items()}
    figures = dict.fromkeys(figure for of in columns.values() for figure in of)
    rows = [[figure, *(of.get(figure, "-") for of in columns.values())] for figure in figures]
    return Table(["", *columns], rows) if rows else None


def listing(values: dict[str, Any]) -> Table | None:
    """Nested values as a row each."""
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
