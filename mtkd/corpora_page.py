"""What the text of a run is like, as one page for people and one file for machines.

What it owns: `index.html` and `corpora.json`, which figures are shown in which order and how numbers are written.
What it must not know: how text is read, cleaned and split, how the figures came about (they are given), HTML and
colours (`corpora.html.j2`). Why the page shows text itself: no figure tells that a corpus is misaligned, but twenty
pairs do. The file has figures only, so that it may go where the text may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mtkd.corpora_plots import length_panels
from mtkd.corpus.split import SIDES
from mtkd.corpus.statistics import (
    BIN_WORDS,
    CLASSIFIER_TEST,
    CLASSIFIER_TRAIN,
    KNOWN_FROM,
    VOCABULARY_SENTENCES,
    Grid,
    SplitStatistics,
)
from mtkd.corpus.textfile import write_json, writing
from mtkd.findings import Table
from mtkd.html_page import render_page
from mtkd.recipe_text import Languages

PAGE, FIGURES = "index.html", "corpora.json"
RIGHT_TO_LEFT = frozenset({"ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"})
SHOWN_EXAMPLES = 3
SHOWN_CHARACTERS = 400
"""Of a longer text only the beginning is shown."""
LEAK_LABELS = {
    "exact_within": "equal, own group",
    "exact_across": "equal, other group",
    "near_within": "nearly equal, own group",
    "near_across": "nearly equal, other group",
}
ALL = "all groups"
"""A row of sums; with its space it can never be a group's name."""


@dataclass(frozen=True)
class CorporaInputs:
    """All that the page shows; every mapping is by group, `examples` and `archives` may lack some or all.

    `clean` and `split` are what `clean_corpora` and `split_corpora` returned, `examples` what `clean_corpora` wrote of
    dropped pairs, {reason: [{"source", "target"}, ...]}, `archives` what `fetch_corpora` noted of each, {name in the
    recipe: {"file", "bytes", "sha256"}}, `licences` the recipe's.
    """

    name: str
    languages: Languages
    clean: dict[str, Any]
    split: dict[str, Any]
    licences: dict[str, list[str]]
    statistics: SplitStatistics
    examples: dict[str, dict[str, list[dict[str, str]]]] = field(default_factory=dict)
    archives: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class HeatTable:
    """A table of numbers in shaded cells; a row is its name and (text, heat from 0 to 1) cells."""

    header: list[str]
    rows: list[tuple[str, list[tuple[str, float]]]]


def write_corpora_page(inputs: CorporaInputs, out: Path) -> None:
    """Write `index.html` and `corpora.json` under `out`, each beside first and then renamed."""
    write_json(out / FIGURES, figures(inputs))
    with writing(out / PAGE) as file:
        file.write(_page(inputs).rstrip("\n") + "\n")


def figures(inputs: CorporaInputs) -> dict[str, Any]:
    """Every figure of the page as plain data; none of the corpora's text is in it."""
    statistics = inputs.statistics
    return {
        "name": inputs.name,
        "languages": inputs.languages.model_dump(),
        "groups": {
            group: {
                **counts,
                **inputs.split[group],
                "licences": inputs.licences[group],
                "archives": inputs.archives.get(group, {}),
            }
            for group, counts in inputs.clean.items()
        },
        "lengths": {
            group: {language: asdict(one) for language, one in of.items()} for group, of in statistics.lengths.items()
        },
        "length_bin_words": BIN_WORDS,
        "unknown_words": statistics.unknown_words,
        "divergence_bits": statistics.divergence,
        "classifier": asdict(statistics.confusion) if statistics.confusion else None,
    }


def _page(inputs: CorporaInputs) -> str:
    statistics, languages = inputs.statistics, (inputs.languages.source, inputs.languages.target)
    confusion = statistics.confusion
    return render_page(
        "corpora.html.j2",
        title=f"{inputs.name} ({languages[0]} to {languages[1]})",
        summary=_summary(inputs),
        languages=languages,
        directions=["rtl" if language in RIGHT_TO_LEFT else "ltr" for language in languages],
        counts=_counts_table(inputs),
        sources=_sources_table(inputs),
        archives=_archives_table(inputs),
        dropped=_dropped_table(inputs.clean),
        idle=_idle_filters(inputs.clean),
        examples=_examples(inputs.examples),
        purged=_purged_table(inputs.split),
        panels=length_panels(statistics.lengths),
        lengths=_lengths_table(statistics),
        unknown_words={language: grid_table(grid, ".0%") for language, grid in statistics.unknown_words.items()},
        divergence={language: grid_table(grid, ".2f") for language, grid in statistics.divergence.items()},
        known_from=KNOWN_FROM,
        vocabulary_sentences=f"{VOCABULARY_SENTENCES:,}",
        confusion=grid_table(confusion.shares, ".0%", highest=1.0) if confusion else None,
        accuracy=f"{confusion.accuracy:.1%}" if confusion else "",
        chance=f"{confusion.chance:.1%}" if confusion else "",
        classifier_train=f"{CLASSIFIER_TRAIN:,}",
        classifier_test=f"{CLASSIFIER_TEST:,}",
        pairs={group: [_clipped(pair) for pair in pairs] for group, pairs in statistics.pairs.items()},
    )


def grid_table(grid: Grid, spec: str, *, highest: float | None = None) -> HeatTable:
    """A grid with its numbers as `spec` writes them, the hottest at `highest` (the largest number where not given)."""
    top = highest or max((value for of in grid.values() for value in of.values()), default=0.0) or 1.0
    rows = [(row, [(format(value, spec), value / top) for value in of.values()]) for row, of in grid.items()]
    return HeatTable(["", *next(iter(grid.values()))], rows)


def _summary(inputs: CorporaInputs) -> str:
    """One paragraph that says what there is."""
    read, kept = (sum(of[key] for of in inputs.clean.values()) for key in ("read", "kept"))
    train, dev, test = (sum(of[side] for of in inputs.split.values()) for side in SIDES)
    groups = f"{len(inputs.clean)} groups" if len(inputs.clean) > 1 else "1 group"
    said = (
        f"{read:,} sentence pairs of {groups} were read and {kept:,} ({kept / read:.1%}) kept: {train:,} to train on, "
        f"{dev:,} dev and {test:,} test."
    )
    confusion = inputs.statistics.confusion
    if confusion is None:
        return said
    return (
        f"{said} A simple classifier tells the group of a single source sentence in {confusion.accuracy:.0%} of cases; "
        f"guessing would in {confusion.chance:.0%}."
    )


def _counts_table(inputs: CorporaInputs) -> Table:
    """Numbers of pairs and words, a row a group and their sums."""
    groups, clean, split = list(inputs.clean), inputs.clean, inputs.split
    languages = (inputs.languages.source, inputs.languages.target)
    columns: dict[str, list[int]] = {
        "pairs read": [clean[group]["read"] for group in groups],
        "kept": [clean[group]["kept"] for group in groups],
        **{side: [split[group][side] for group in groups] for side in SIDES},
        **{f"words {language}": [clean[group]["words"][language] for group in groups] for language in languages},
    }
    if len(groups) > 1:
        groups.append(ALL)
        columns = {name: [*values, sum(values)] for name, values in columns.items()}
    rows = [[group, *(f"{values[row]:,}" for values in columns.values())] for row, group in enumerate(groups)]
    return Table(["", *columns], rows)


def _sources_table(inputs: CorporaInputs) -> Table:
    """Documents and licences, a row a group."""
    rows = []
    for group, counts in inputs.split.items():
        documents = [counts["documents"][side] for side in SIDES]
        told = " + ".join(f"{count:,}" for count in documents) if any(documents) else "split by sentence"
        rows.append([group, told, ", ".join(inputs.licences[group])])
    return Table(["", "documents (train + dev + test)", "licences"], rows)


def _archives_table(inputs: CorporaInputs) -> Table | None:
    """Every archive that was fetched."""
    rows = [
        [group, str(archive["file"]), f"{archive['bytes'] / 1e6:,.1f} MB", f"{archive['sha256'][:12]}\u2026"]
        for group, archives in inputs.archives.items()
        for archive in archives.values()
    ]
    return Table(["", "archive", "size", "SHA-256"], rows) if rows else None


def _dropped_table(clean: dict[str, Any]) -> HeatTable | None:
    """Pairs that each filter dropped and their share of those read: filters down, groups across."""
    reasons = [reason for reason in _reasons(clean) if any(of["dropped"].get(reason) for of in clean.values())]
    if not reasons:
        return None
    rows = {reason: [(of["dropped"].get(reason, 0), of["read"]) for of in clean.values()] for reason in reasons}
    top = max(count / read for row in rows.values() for count, read in row)
    cells = {reason: [(_share(count, read), count / read / top) for count, read in row] for reason, row in rows.items()}
    cells["all filters"] = [(_share(of["read"] - of["kept"], of["read"]), 0.0) for of in clean.values()]
    return HeatTable(["", *clean], list(cells.items()))


def _share(count: int, whole: int) -> str:
    share = f"{count / whole:.1%}" if count / whole >= 0.001 else "<0.1%"
    return f"{count:,} ({share})" if count else "0"


def _idle_filters(clean: dict[str, Any]) -> list[str]:
    """Filters that dropped nothing of any group."""
    return [reason for reason in _reasons(clean) if not any(of["dropped"].get(reason) for of in clean.values())]


def _reasons(clean: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(reason for of in clean.values() for reason in of["dropped"]))


def _examples(
    examples: dict[str, dict[str, list[dict[str, str]]]],
) -> dict[str, list[tuple[str, list[tuple[str, str]]]]]:
    """Group -> (reason, a few of the pairs it dropped), where there are any."""
    found = {
        group: [
            (reason, [_clipped((pair["source"], pair["target"])) for pair in pairs[:SHOWN_EXAMPLES]])
            for reason, pairs in of.items()
            if pairs
        ]
        for group, of in examples.items()
    }
    return {group: of for group, of in found.items() if of}


def _purged_table(split: dict[str, Any]) -> Table:
    """Pairs that the purge took out of train and dev: kinds of leak down, groups across."""
    rows = [
        [f"{side}: {label}", *(f"{of['purged'][side][kind]:,}" for of in split.values())]
        for side in ("train", "dev")
        for kind, label in LEAK_LABELS.items()
    ]
    return Table(["", *split], rows)


def _lengths_table(statistics: SplitStatistics) -> Table:
    """Lengths in numbers, a row a group and language."""
    rows = [
        [f"{group}, {language}", f"{of.mean:.1f}", *(f"{n:,}" for n in (of.median, of.percentile_95, of.longest))]
        for group, languages in statistics.lengths.items()
        for language, of in languages.items()
    ]
    return Table(["words a sentence", "mean", "median", "95th percentile", "longest"], rows)


def _clipped(pair: Sequence[str]) -> tuple[str, str]:
    source, target = (text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}\u2026" for text in pair)
    return source, target
