"""What may be said of a sweep: which point is best on dev, what its lead is worth, and the tables behind it.

What it owns: the wording and the tables' cells, as plain text. What it must not know: HTML, plots, files, sacreBLEU.
Why by rule: the best of many points is ahead of most of them by chance alone, so its lead is stated with its test and
with what the test leaves open. `found` is always what `sweep.compare_points` returned.
"""

from __future__ import annotations

from typing import Any

from mtkd.findings import HIGHER, LABELS, LOWER, MACRO, Table


def point_name(point: dict[str, Any]) -> str:
    """`kd_weight 0.25, temperature 2`; without teachers the temperature says nothing and is left out."""
    if point["kd_weight"] == 0.0:
        return "kd_weight 0"
    return f"kd_weight {point['kd_weight']:g}, temperature {point['temperature']:g}"


def sweep_verdict(found: dict[str, Any]) -> str:
    """One paragraph: the best point on dev, by how much, and why that is not a result on test."""
    points, best = found["points"], found["best"]
    score = _macro(found, "bleu", best)
    behind = max((name for name in points if name != best), key=lambda name: _macro(found, "bleu", name), default=None)
    lead = "" if behind is None else f", {score - _macro(found, 'bleu', behind):.2f} ahead of {_named(found, behind)}"
    sentences = [
        f"Best on dev: {_named(found, best)}, with {score:.1f} BLEU on the macro average{lead}.",
        _against_baseline(found),
        "It was chosen on dev, so dev flatters it, and each point is one training: another seed may choose another.",
    ]
    if best.startswith("student."):
        settings = {key: f"{points[best][key]:g}" for key in ("kd_weight", "temperature")}
        flags = " ".join(f"--set distill.{key}={value}" for key, value in settings.items())
        sentences.append(f"To judge it on test, make it the run's student: {flags}")
    else:
        sentences.append(f"On test this run judges it as '{best}'.")
    return " ".join(sentences)


def sweep_tables(found: dict[str, Any]) -> list[Table]:
    """A row a point: a table of dev scores for each metric, then one of dev NLL; columns are domains and all."""
    points, domains = found["points"], found["domains"]
    names = list(points)
    tables = []
    for metric in found["tests"]:
        rows = []
        for name, point in points.items():
            mark = {1: " " + HIGHER, -1: " " + LOWER, 0: ""}[_direction(found, metric, name)]
            cells = [f"{point['scores'][metric][domain]['score']:.1f}" for domain in domains]
            rows.append([_named(found, name), *cells, f"{_macro(found, metric, name):.1f}{mark}"])
        best = max(names, key=lambda name: _macro(found, metric, name))
        bold = {(names.index(best), len(domains) + 1)} if _direction(found, metric, best) > 0 else set()
        tables.append(Table([f"{_label(metric)} on dev", *domains, MACRO], rows, frozenset(bold)))
    rows = []
    for name, point in points.items():
        nll = point["nll"] or {"all": None, "domains": dict.fromkeys(domains)}
        values = [*(nll["domains"][domain] for domain in domains), nll["all"]]
        rows.append([_named(found, name), *("-" if value is None else f"{value:.3f}" for value in values)])
    return [*tables, Table(["NLL on dev (bits a token)", *domains, "all tokens"], rows)]


def sweep_notes(found: dict[str, Any]) -> list[str]:
    """What a reader must know of the sweep's tables; the signatures are among it."""
    sentences = ", ".join(f"{domain} {count:,}" for domain, count in found["sentences"].items())
    notes = [
        f"{MACRO}: unweighted mean of the domains' dev scores (sentences: {sentences}).",
        "NLL: lower is better; at the validation with the lowest loss, by which a checkpoint is chosen.",
    ]
    if found["baseline"] is not None:
        notes.append(
            f"{HIGHER} {LOWER}: significantly above, below {_named(found, found['baseline'])} (sacreBLEU's paired "
            f"bootstrap on all dev sentences together, Holm over all points of the metric, p < {found['alpha']}). "
            "Bold: the best, where that is so."
        )
    for metric, of in found["tests"].items():
        macro = found["points"][found["best"]]["macro"][metric]["signature"]
        tested = next((row["signature"] for row in of.values()), None)
        notes.append(f"{_label(metric)}: `{macro}`" + (f"; tests: `{tested}`" if tested else ""))
    return notes


def _against_baseline(found: dict[str, Any]) -> str:
    """The sentence on the tests; a lead is called significant only where they allow it."""
    best, baseline, count = found["best"], found["baseline"], len(found["points"]) - 1
    if count == 0:
        return "There is no other point."
    if baseline is None:
        return "No point has a kd_weight of 0, so nothing was tested: the lead may be chance."
    if best == baseline:
        behind = sum(_direction(found, "bleu", name) < 0 for name in found["points"])
        return f"Significantly behind it in BLEU: {behind} of {count} points (paired bootstrap on dev, Holm)."
    parts = []
    for metric, of in found["tests"].items():
        ahead = _macro(found, metric, best) - _macro(found, metric, baseline)
        word = "significant" if _direction(found, metric, best) else "not significant"
        if of[best]["significant"] and word == "not significant":
            word = "no claim, all sentences together point the other way"
        parts.append(f"{ahead:+.2f} {_label(metric)} ({word}, p = {of[best]['p_holm']:.4f})")
    how = f"paired bootstrap on dev, Holm over {count} point{'s' if count > 1 else ''}"
    return f"Against {_named(found, baseline)} it has {' and '.join(parts)}: {how}."


def _direction(found: dict[str, Any], metric: str, name: str) -> int:
    """1 significantly above the baseline, -1 below, 0 neither.

    The test is on all domains' sentences together, the score an average: a claim needs both to point the same way.
    """
    row = found["tests"][metric].get(name)
    if row is None or not row["significant"]:
        return 0
    ahead = _macro(found, metric, name) - _macro(found, metric, found["baseline"])
    return int(ahead > 0 and row["difference"] > 0) - int(ahead < 0 and row["difference"] < 0)


def _macro(found: dict[str, Any], metric: str, name: str) -> float:
    return float(found["points"][name]["macro"][metric]["score"])


def _named(found: dict[str, Any], name: str) -> str:
    return point_name(found["points"][name])


def _label(metric: str) -> str:
    return LABELS.get(metric, metric)
