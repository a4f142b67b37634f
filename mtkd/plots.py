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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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


def training_curves(metrics: dict[str, list[dict[str, Any]]]) -> str:
    """Dev NLL (bits a token) by update, one line a model; "" where no model was validated."""
    curves = {model: found for model, rows in metrics.items() if (found := _curve(rows, "nll_loss"))}
    if not curves:
        return ""
    with _style("training"):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for index, (model, curve) in enumerate(curves.items()):
            _line(axes, curve, model, index)
        _label(axes)
        axes.set_ylabel("dev NLL (bits a token)")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return _svg(figure, "training", f"Dev NLL while training. {_ends(curves)}.")


def domain_curves(metrics: dict[str, list[dict[str, Any]]], domains: list[str]) -> str:
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
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    with _style("domains"):
        figure = Figure(figsize=(1.0 + 2.4 * columns, 0.6 + 2.1 * rows), layout="constrained")
        for place, (domain, curves) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(rows, columns, place)
            for index, model in enumerate(("student", "mixed")):
                if model in curves:
                    _line(axes, curves[model], model, index)
            axes.set_title(domain, fontsize=10)
            _label(axes)
            if place % columns == 1 or columns == 1:
                axes.set_ylabel("dev NLL (bits a token)")
            if place == 1:
                axes.legend()
        ends = " ".join(f"{domain}: {_ends(curves)}." for domain, curves in panels.items())
        return _svg(figure, "domains", f"Dev NLL of each domain, student and mixed fine-tuning. {ends}")


def _curve(rows: list[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    """The (update, value) pairs of the validations that have this figure."""
    return [(row["update"], row[key]) for row in rows if row.get("split") == "valid" and row.get(key) is not None]


def _ends(curves: dict[str, list[tuple[int, float]]]) -> str:
    return ", ".join(f"{model} ends at {curve[-1][1]:.2f} bits" for model, curve in curves.items())


def _line(axes: Axes, curve: list[tuple[int, float]], label: str, index: int) -> None:
    updates, values = zip(*curve, strict=True)
    axes.plot(
        updates,
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
