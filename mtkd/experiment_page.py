"""What an experiment found, as a text for docs/results/ and as one self-contained page.

What it owns: `results.md` and `index.html`, the order of things. What it must not know: where the figures come from (it
is given what `experiment.collect` returned), which of them are shown (`experiment_tables.py`), HTML's look.
Why both from the same parts: what is copied into the documentation is what the page says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mtkd.corpus.textfile import writing
from mtkd.experiment_tables import Part, cell_parts, overview, reading_notes, systems_by_cell
from mtkd.findings import Table
from mtkd.html_page import render_page
from mtkd.plots import domain_curves, heat_map, training_curves
from mtkd.report_tables import NOT_RUN

PAGE, TEXT = "index.html", "results.md"


def write_page(found: dict[str, Any], out: Path) -> None:
    """Write `index.html` and `results.md` under `out`, each beside first and then renamed."""
    for name, text in ((TEXT, _markdown(found)), (PAGE, _page(found))):
        with writing(out / name) as file:
            file.write(text.rstrip("\n") + "\n")


def _markdown(found: dict[str, Any]) -> str:
    cells = found["cells"]
    blocks = [f"# {_title(found)}", _state(cells), *(table.markdown() for table in _overviews(cells))]
    blocks += _listed(reading_notes(cells))
    for name, cell in cells.items():
        blocks += [f"## {name}", f"{_settings(cell)}."]
        if not cell["done"]:
            blocks.append(NOT_RUN)
        for part in _parts(cell):
            said = [part.said] if part.said else []
            blocks += [f"### {part.title}", *said, *(table.markdown() for table in part.tables), *_listed(part.lines)]
    commands = "\n".join(cell["command"] for cell in cells.values())
    return "\n\n".join([*blocks, "## Commands", "Every cell, as it would be run alone:", f"```\n{commands}\n```"])


def _page(found: dict[str, Any]) -> str:
    cells = found["cells"]
    return render_page(
        "experiment.html.j2",
        title=_title(found),
        state=_state(cells),
        overviews=_overviews(cells),
        notes=reading_notes(cells),
        cells=[(name, _settings(cell), _parts(cell), _pictures(name, cell)) for name, cell in cells.items()],
        commands=[cell["command"] for cell in cells.values()],
    )


def _overviews(cells: dict[str, Any]) -> list[Table]:
    by_system = systems_by_cell(cells)
    return [overview(cells), *([by_system] if by_system else [])]


def _pictures(name: str, cell: dict[str, Any]) -> list[tuple[Markup, str, str]]:
    """Every model on every test set, and how each was trained: SVG, what it is, a caption.

    The SVG is our own, and so not escaped.
    """
    if not cell["done"]:
        return []
    results, metrics = cell["results"], cell.get("metrics", {})
    scores = heat_map(results["heatmap"]["bleu"], results["test_sets"], label=f"BLEU-{name}")
    training = training_curves(metrics, f"training-{name}")
    by_domain = domain_curves(metrics, results["domains"], f"domains-{name}")
    return [
        (Markup(scores), "BLEU by model (rows) and test set (columns)", "Lighter is higher."),  # noqa: S704
        (Markup(training), "NLL on dev text by update", "Teachers on their own domain's, the others on all."),  # noqa: S704
        (Markup(by_domain), "NLL on each domain's dev text", "The student against mixed fine-tuning."),  # noqa: S704
    ]


def _parts(cell: dict[str, Any]) -> list[Part]:
    return cell_parts(cell) if cell["done"] else []


def _title(found: dict[str, Any]) -> str:
    return f"{found['name']} ({found['languages']['source']} to {found['languages']['target']})"


def _state(cells: dict[str, Any]) -> str:
    """How much of the experiment there is; never to be read as if it were all."""
    missing = [name for name, cell in cells.items() if not cell["done"]]
    if not missing:
        return f"All {len(cells)} cells were run."
    return f"{len(cells) - len(missing)} of {len(cells)} cells were run; not run: {', '.join(missing)}."


def _settings(cell: dict[str, Any]) -> str:
    return ", ".join(
        f"`{key}={value if isinstance(value, str) else json.dumps(value)}`" for key, value in cell["settings"].items()
    )


def _listed(lines: list[str]) -> list[str]:
    return ["\n".join(f"- {line}" for line in lines)] if lines else []
