"""Numbers in, inline SVG out.

What it owns: the report's pictures. What it must not know: files, pages, how the numbers came about.
Why SVG as text: it goes into the page as it is, takes the page's text colour (so it works on light and dark), and the
same numbers always give the same bytes. Colours are those of Okabe and Ito, and cividis: both can be told apart by
colour-blind readers; lines differ in marker too.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Curves = dict[str, list[tuple[float, float]]]
"""Label -> (x, y) pairs."""
TEXT = "#010203"
"""Stands for the page's text colour: replaced by `currentColor`."""
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "grid.color": TEXT,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.markersize": 4,
}


def heat_map(scores: dict[str, dict[str, Any]], test_sets: list[str], *, label: str) -> str:
    """One cell for each model (rows) and test set (columns); `scores` maps model -> test set -> {"score"}.

    Returns "" where there is nothing to draw.
    """
    if not scores or not test_sets:
        return ""
    models = list(scores)
    grid = [[scores[model].get(name, {}).get("score", math.nan) for name in test_sets] for model in models]
    with _style(f"heat-map-{label}"):
        figure = Figure(figsize=(2.4 + 1.0 * len(test_sets), 0.9 + 0.42 * len(models)), layout="constrained")
        axes = figure.add_subplot()
        highest = max([value for values in grid for value in values if not math.isnan(value)], default=0.0) or 1.0
        axes.pcolormesh(np.array(grid), cmap="cividis", vmin=0, vmax=highest)
        for row, values in enumerate(grid):
            for column, value in enumerate(values):
                colour = TEXT if math.isnan(value) else "#ffffff" if value < highest / 2 else "#000000"
                text = "-" if math.isnan(value) else f"{value:.1f}"
                axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour)
        axes.set_xticks([column + 0.5 for column in range(len(test_sets))], test_sets)
        axes.set_yticks([row + 0.5 for row in range(len(models))], models)
        axes.invert_yaxis()
        axes.set_xlabel("test set")
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        numbers = "; ".join(
            f"{model}: " + ", ".join(f"{name} {one['score']:.1f}" for name, one in scores[model].items())
            for model in models
        )
        return _svg(figure, f"heat-map-{label}", f"Heat map of {label} by model and test set. {numbers}.")


def training_curves(metrics: dict[str, list[dict[str, Any]]], name: str = "training") -> str:
    """Dev NLL (bits a token) by update, one line a model; "" where no model was validated. `name` is the picture's."""
    curves = {model: found for model, rows in metrics.items() if (found := _curve(rows, "nll_loss"))}
    if not curves:
        return ""
    with _style(name):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for index, (model, curve) in enumerate(curves.items()):
            _line(axes, curve, model, index)
        _label(axes)
        axes.set_ylabel("dev NLL (bits a token)")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return _svg(figure, name, f"Dev NLL while training. {_ends(curves)}.")


def domain_curves(metrics: dict[str, list[dict[str, Any]]], domains: list[str], name: str = "domains") -> str:
    """Dev NLL of each domain by update, student against mixed fine-tuning, one panel a domain; "" without rows."""
    panels = {
        domain: {
            model: curve
            for model in ("student", "mixed")
            if (curve := _curve(metrics.get(model, []), f"{domain}_nll_loss"))
        }
        for domain in domains
    }
    panels = {domain: curves for domain, curves in panels.items() if curves}
    if not panels:
        return ""
    ends = " ".join(f"{domain}: {_ends(curves)}." for domain, curves in panels.items())
    alt = f"Dev NLL of each domain, student and mixed fine-tuning. {ends}"
    return _panels(name, alt, panels, ylabel="dev NLL (bits a token)", label=_label)


def sweep_curves(found: dict[str, Any]) -> str:
    """Macro BLEU and NLL on dev by kd_weight, one line a temperature; `found` is `sweep.compare_points`'s result.

    All temperatures share the point without teachers. Where one kd_weight was tried alone, it is the line, and the
    temperature goes along the axis. Returns "" where there is nothing to draw.
    """
    points = list(found.get("points", {}).values())
    if not points:
        return ""
    axis = _sweep_axis(points)
    bleu = _sweep_lines(points, [point["macro"]["bleu"]["score"] for point in points])
    nll = _sweep_lines(points, [point["nll"]["all"] if point["nll"] else None for point in points])
    with _style("sweep"):
        figure = Figure(figsize=(7.6, 3.2), layout="constrained")
        for place, (title, lines) in enumerate({"macro BLEU": bleu, "NLL (bits a token)": nll}.items(), start=1):
            axes = figure.add_subplot(1, 2, place)
            for index, (name, line) in enumerate(lines.items()):
                _line(axes, line, name, index)
            _label_sweep(axes, points)
            axes.set_ylabel(f"{title} on dev")
            if place == 1:
                figure.legend(loc="outside upper center", ncols=4)
        numbers = f"Macro BLEU: {_values(bleu)}. NLL in bits a token: {_values(nll)}."
        return _svg(figure, "sweep", f"Dev scores of the sweep by {axis}. {numbers}")


def sweep_domain_curves(found: dict[str, Any]) -> str:
    """BLEU on dev by kd_weight, one panel a domain, lines as in `sweep_curves`; "" where there is nothing to draw."""
    points = list(found.get("points", {}).values())
    if not points:
        return ""
    panels = {
        domain: _sweep_lines(points, [point["scores"]["bleu"][domain]["score"] for point in points])
        for domain in found["domains"]
    }
    numbers = " ".join(f"{domain}: {_values(lines)}." for domain, lines in panels.items())
    alt = f"Dev BLEU of each domain by {_sweep_axis(points)}. {numbers}"
    return _panels("sweep-domains", alt, panels, ylabel="BLEU on dev", label=lambda axes: _label_sweep(axes, points))


def _sweep_axis(points: list[dict[str, Any]]) -> str:
    """What goes along the axis: the temperature only where nothing else differs."""
    return "kd_weight" if len({point["kd_weight"] for point in points}) > 1 else "temperature"


def _sweep_lines(points: list[dict[str, Any]], values: list[float | None]) -> Curves:
    """Label -> (place on the axis, value), one line a level of what is not on it; an unknown value is left out."""
    axis = _sweep_axis(points)
    other = "temperature" if axis == "kd_weight" else "kd_weight"
    lines: Curves = {}
    for level in sorted({point[other] for point in points if point["kd_weight"]}) or [points[0][other]]:
        line = [
            (point[axis], value)
            for point, value in zip(points, values, strict=True)
            if value is not None and (point[other] == level or not point["kd_weight"])
        ]
        if line:
            lines[f"{other} {level:g}"] = sorted(line)
    return lines


def _label_sweep(axes: Axes, points: list[dict[str, Any]]) -> None:
    axis = _sweep_axis(points)
    axes.set_xlabel("kd_weight (0: no teachers)" if axis == "kd_weight" else axis)
    places = sorted({point[axis] for point in points})
    axes.set_xticks(places, [f"{place:g}" for place in places])


def _values(lines: Curves) -> str:
    return "; ".join(f"{name}: " + ", ".join(f"{y:.2f} at {x:g}" for x, y in line) for name, line in lines.items())


def _panels(name: str, alt: str, panels: dict[str, Curves], *, ylabel: str, label: Callable[[Axes], None]) -> str:
    """One small plot a title, three a row; a line has the same colour in all of them."""
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    lines = list(dict.fromkeys(line for curves in panels.values() for line in curves))
    shown: dict[str, Any] = {}
    with _style(name):
        figure = Figure(figsize=(1.0 + 2.4 * columns, 0.6 + 2.1 * rows), layout="constrained")
        for place, (title, curves) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(rows, columns, place)
            for line, curve in curves.items():
                _line(axes, curve, line, lines.index(line))
            axes.set_title(title, fontsize=10)
            label(axes)
            if place % columns == 1 or columns == 1:
                axes.set_ylabel(ylabel)
            handles, titles = axes.get_legend_handles_labels()
            shown |= dict(zip(titles, handles, strict=True))
        figure.legend(list(shown.values()), list(shown), loc="outside upper center", ncols=4)
        return _svg(figure, name, alt)


def _curve(rows: list[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """The (update, value) pairs of the validations that have this figure."""
    return [(row["update"], row[key]) for row in rows if row.get("split") == "valid" and row.get(key) is not None]


def _ends(curves: Curves) -> str:
    return ", ".join(f"{model} ends at {curve[-1][1]:.2f} bits" for model, curve in curves.items())


def _line(axes: Axes, curve: list[tuple[float, float]], label: str, index: int) -> None:
    places, values = zip(*curve, strict=True)
    axes.plot(
        places,
        values,
        label=label,
        color=LINE_COLOURS[index % len(LINE_COLOURS)],
        marker=MARKERS[index % len(MARKERS)],
        linestyle="-" if index % 2 == 0 else "--",
    )


def _label(axes: Axes) -> None:
    axes.set_xlabel("update")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


@contextmanager
def _style(name: str) -> Iterator[None]:
    """Our settings for one figure; the salt makes the ids that matplotlib invents the same in every run."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        yield


def _svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an <svg> element for a page: ids its own, no metadata, sized by the page, with `alt` text."""
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = text.replace(TEXT, "currentColor")
    view_box = re.search(r'viewBox="0 0 ([\d.]+) [\d.]+"', text)
    assert view_box, "matplotlib writes a viewBox"
    escaped = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    # The parser of HTML knows the namespaces; without them the page names no address at all.
    head = f'<svg {view_box[0]} style="width: {view_box[1]}pt" role="img" aria-label="{escaped}">'
    return head + text[text.index(">") + 1 :]
