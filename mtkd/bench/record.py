"""What was measured, as figures: medians, ratios, the machine; as a JSON file and as rows of a table.

What it owns: the arithmetic and the file's shape. What it must not know: how anything is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from mtkd import __version__
from mtkd.bench.alternate import Measured
from mtkd.processes import available_cores
from mtkd.workspace import write_json

Figures = dict[str, Any]
HEADER = ["variant", "median s", "time / baseline", "tokens/s", "peak MB", "peak / baseline", "MB before"]


def compare(measured: Mapping[str, Measured], baseline: str) -> dict[str, Figures]:
    """Figures of every variant; ratios are those to `baseline` in the same round, and their median, least and most.

    Times are compared a token: batches of one size may hold more tokens or fewer.
    """
    base = measured[baseline]
    found: dict[str, Figures] = {}
    for name, variant in measured.items():
        seconds = [answer["seconds"] for answer in variant.rounds]
        costs = [answer["seconds"] / answer["tokens"] for answer in variant.rounds]
        facts = {key: value for key, value in variant.facts.items() if key != "peak_bytes"}
        found[name] = {
            "seconds": seconds,
            "median_s": median(seconds),
            **ratios(costs, [answer["seconds"] / answer["tokens"] for answer in base.rounds]),
            "tokens_per_second": median(answer["tokens"] / answer["seconds"] for answer in variant.rounds),
            "peak_bytes": variant.facts["peak_bytes"],
            "peak_ratio": variant.facts["peak_bytes"] / base.facts["peak_bytes"],
            "baseline_bytes": variant.about["baseline_bytes"],
            **facts,
        }
    return found


def ratios(seconds: Sequence[float], of: Sequence[float]) -> Figures:
    """Median, least and most of the ratios within each round."""
    found = [mine / theirs for mine, theirs in zip(seconds, of, strict=True)]
    return {"ratio": median(found), "ratio_min": min(found), "ratio_max": max(found)}


def machine(measured: Mapping[str, Measured]) -> Figures:
    """Where it was measured and with what; the same for every variant."""
    about = next(iter(measured.values())).about
    return {"cores": available_cores()} | {key: value for key, value in about.items() if key != "baseline_bytes"}


def record(benchmark: str, command: str, settings: Figures, results: list[Figures], about: Figures) -> Figures:
    """All of one benchmark; `results` has an entry for every comparison, each with its `settings` and `variants`."""
    return {
        "benchmark": benchmark,
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "mtkd": __version__,
        **about,
        "settings": settings,
        "results": results,
    }


def write_record(path: Path, content: Figures) -> None:
    """Write the JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def table_rows(variants: Mapping[str, Figures]) -> list[list[str]]:
    """One comparison under `HEADER`."""
    return [
        [
            name,
            f"{figures['median_s']:.4g}",
            f"{figures['ratio']:.2f} ({figures['ratio_min']:.2f} to {figures['ratio_max']:.2f})",
            f"{figures['tokens_per_second']:,.0f}",
            f"{figures['peak_bytes'] / 1e6:,.0f}",
            f"{figures['peak_ratio']:.2f}",
            f"{figures['baseline_bytes'] / 1e6:,.0f}",
        ]
        for name, figures in variants.items()
    ]
