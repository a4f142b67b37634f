"""The page about a run's text stands alone, shows every part, and shows hostile text as text."""

from __future__ import annotations

import json
import random
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtkd.corpora_page import CorporaInputs, figures, grid_table, write_corpora_page
from mtkd.corpora_plots import length_panels
from mtkd.corpus.leakage import LEAKS
from mtkd.corpus.statistics import describe_split
from mtkd.plan import build_plan
from mtkd.recipe_file import load_recipe
from mtkd.recipe_text import Languages
from mtkd.runner import run_step
from mtkd.workspace import Workspace
from tests.unit.corpus_text import random_text
from tests.unit.report_inputs import Page
from tests.unit.split_text import LANGUAGES, write_split
from tests.unit.workflow_recipe import write_recipe

HOSTILE = """<script>alert("x")</script> 'q' & </td></table> {{ 7 * 7 }} &lt;b&gt;"""
LONG_WORD = "Donaudampfschifffahrt" * 100
ARCHIVE = {"file": "law_1.0_all.deb", "bytes": 2_500_000, "sha256": "0123456789abcdef" * 4}
LETTERS = {"law": "abcdef", "music": "efghij"}


def pair_of(source: str, target: str) -> dict[str, str]:
    return {"source": source, "target": target}


def inputs_of(folder: Path, groups: tuple[str, ...] = ("law", "music"), **changes: Any) -> CorporaInputs:
    rng = random.Random(1)

    def pairs(letters: str, count: int) -> list[tuple[str, str]]:
        return [
            (random_text(rng, rng.randint(1, 70), letters=letters), random_text(rng, 8, letters=letters))
            for _ in range(count)
        ]

    sides = {
        group: {side: pairs(LETTERS[group], count) for side, count in (("train", 60), ("dev", 25), ("test", 20))}
        for group in groups
    }
    sides["law"]["train"][:6] = [(HOSTILE, HOSTILE), (LONG_WORD, "kurz")] * 3
    split = {
        group: {
            **{side: len(of) for side, of in by_side.items()},
            "documents": {"train": 30, "dev": 4, "test": 3} if group == "law" else dict.fromkeys(by_side, 0),
            "purged": {side: dict.fromkeys(LEAKS, 0) | {"near_across": 17} for side in ("train", "dev")},
        }
        for group, by_side in sides.items()
    }
    clean = {
        group: {
            "read": 2000,
            "kept": 1950,
            "dropped": {"empty": 0, "copies": 49 if group == "law" else 50, "max_ratio": group == "law", "script": 0},
            "words": {"en": 12_345, "de": 11_000},
        }
        for group in groups
    }
    given: dict[str, Any] = {
        "name": "demo",
        "languages": LANGUAGES,
        "clean": clean,
        "split": split,
        "licences": {group: ["CC0-1.0", "MPL-2.0"] for group in groups},
        "statistics": describe_split(write_split(folder / "split", sides), groups, LANGUAGES),
        "examples": {"law": {"copies": [pair_of(HOSTILE, HOSTILE)], "empty": [pair_of("only source", "")]}},
        "archives": {"law": {"deb:law": ARCHIVE}},
    }
    return CorporaInputs(**given | changes)


@pytest.fixture
def inputs(tmp_path: Path) -> CorporaInputs:
    return inputs_of(tmp_path)


def page_of(inputs: CorporaInputs, out: Path) -> Page:
    write_corpora_page(inputs, out)
    return Page(out / "index.html")


def test_the_page_shows_every_part(inputs: CorporaInputs, tmp_path: Path) -> None:
    text = page_of(inputs, tmp_path / "out").text
    for shown in (
        "Text of demo (en to de)",
        "4,000 sentence pairs of 2 groups were read and 3,900 (97.5%) kept: 120 to train on, 50 dev and 40 test.",
        "A simple classifier tells the group of a single source sentence in 100% of cases; guessing would in 50%.",
        "all groups 4,000 3,900 120 50 40 24,690 22,000",
        "law 30 + 4 + 3 CC0-1.0, MPL-2.0 music split by sentence CC0-1.0, MPL-2.0",
        "law law_1.0_all.deb 2.5 MB 0123456789ab\u2026",
        "copies 49 (2.5%) 50 (2.5%) max_ratio 1 (<0.1%) 0 all filters 50 (2.5%) 50 (2.5%)",
        "Dropped nothing: empty, script.",
        "only source (empty)",
        "train: nearly equal, other group 17 17",
        "law, de",
        "law 100% 0% music 0% 100%",
        "0.00",
        "law: 20 pairs",
    ):
        assert shown in text, shown


def test_hostile_text_is_shown_as_text(inputs: CorporaInputs, tmp_path: Path) -> None:
    statistics = replace(inputs.statistics, pairs={"law": [(HOSTILE, LONG_WORD)], "music": []})
    licences = inputs.licences | {"law": [HOSTILE]}
    page = page_of(replace(inputs, statistics=statistics, licences=licences, name=HOSTILE), tmp_path / "out")
    source = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert not {"script", "link", "iframe", "img", "object", "b"} & set(page.tags)
    assert page.open == []
    assert page.text.count(HOSTILE) == 6  # title, heading, licence, both sides of an example, a random pair
    assert "<script" not in source
    assert LONG_WORD not in source
    assert f"{LONG_WORD[:400]}\u2026" in source


def test_the_page_needs_nothing_from_elsewhere_and_repeats_no_id(inputs: CorporaInputs, tmp_path: Path) -> None:
    page = page_of(inputs, tmp_path / "out")
    assert page.open == []
    assert page.addresses == []
    assert len(page.ids) == len(set(page.ids))
    source = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "http" not in source
    assert "url(" not in source
    assert "@import" not in source


def test_the_page_is_the_same_in_every_run(inputs: CorporaInputs, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_corpora_page(inputs, tmp_path / name)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["corpora.json", "index.html"]
    for name in ("corpora.json", "index.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_one_group_has_nothing_to_be_told_from(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path, ("law",))
    text = page_of(inputs, tmp_path / "out").text
    assert "2,000 sentence pairs of 1 group were read" in text
    assert "There is one group only" in text
    assert "guessing" not in text
    assert "all groups 2,000" not in text
    assert figures(inputs)["classifier"] is None


def test_what_is_missing_is_left_out(inputs: CorporaInputs, tmp_path: Path) -> None:
    nothing = {group: of | {"dropped": {"empty": 0}, "kept": of["read"]} for group, of in inputs.clean.items()}
    text = page_of(replace(inputs, examples={}, archives={}, clean=nothing), tmp_path / "out").text
    assert "What the filters dropped Nothing." in text
    assert "Examples" not in text
    assert "Archives" not in text
    empty = {"law": {"copies": []}, "music": {}}
    assert "Examples" not in page_of(replace(inputs, examples=empty), tmp_path / "empty").text


def test_a_filter_shows_three_examples_at_most(inputs: CorporaInputs, tmp_path: Path) -> None:
    many = {"music": {"copies": [pair_of(f"example {number}", "x") for number in range(9)]}}
    text = page_of(replace(inputs, examples=many), tmp_path / "out").text
    assert re.findall(r"example \d", text) == ["example 0", "example 1", "example 2"]


def test_text_from_right_to_left_runs_so(inputs: CorporaInputs, tmp_path: Path) -> None:
    statistics = replace(
        inputs.statistics,
        lengths={
            group: dict(zip(("en", "ar"), of.values(), strict=True)) for group, of in inputs.statistics.lengths.items()
        },
    )
    clean = {group: of | {"words": {"en": 1, "ar": 2}} for group, of in inputs.clean.items()}
    arabic = replace(inputs, languages=Languages(source="en", target="ar"), clean=clean, statistics=statistics)
    write_corpora_page(arabic, tmp_path)
    source = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert source.count('<td lang="en" dir="ltr">') == source.count('<td lang="ar" dir="rtl">') > 40


def test_the_file_has_the_figures_and_none_of_the_text(inputs: CorporaInputs, tmp_path: Path) -> None:
    write_corpora_page(inputs, tmp_path)
    content = (tmp_path / "corpora.json").read_text(encoding="utf-8")
    assert "script>" not in content
    assert "example" not in content
    found = json.loads(content)
    law = found["groups"]["law"]
    assert (law["read"], law["kept"], law["train"], law["dev"], law["test"]) == (2000, 1950, 60, 25, 20)
    assert law["dropped"]["copies"] == 49
    assert law["purged"]["train"]["near_across"] == 17
    assert law["archives"] == {"deb:law": ARCHIVE}
    assert sum(found["lengths"]["law"]["en"]["bins"]) == found["lengths"]["law"]["en"]["sentences"] == 105
    assert found["classifier"]["shares"] == inputs.statistics.confusion.shares  # type: ignore[union-attr]
    assert found["unknown_words"] == inputs.statistics.unknown_words
    assert found["divergence_bits"]["de"]["law"]["music"] == inputs.statistics.divergence["de"]["law"]["music"]


def test_the_step_needs_the_text_only(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    with (tmp_path / "text" / "it.tsv").open("a", encoding="utf-8") as file:
        file.write("<em>same</em> again\t<em>same</em> again\n")
    recipe = load_recipe(path)
    workspace = Workspace(tmp_path / "run", build_plan(recipe))
    for name in ("clean", "split", "corpora"):
        assert run_step(name, recipe, workspace.root, threads=1)
    text = Page(workspace.dir("corpora") / "index.html").text
    assert "Text of demo (en to de)" in text
    assert "1,201 sentence pairs of 2 groups were read" in text
    assert "Examples of what was dropped of it filter en de copies <em>same</em> again <em>same</em> again" in text
    assert (
        json.loads((workspace.dir("corpora") / "corpora.json").read_text(encoding="utf-8"))["groups"]["it"]["kept"]
        == 600
    )


def test_the_hottest_cell_is_the_largest_number_or_the_one_given() -> None:
    grid = {"law": {"law": 0.1, "music": 0.4}}
    assert grid_table(grid, ".0%").rows == [("law", [("10%", 0.25), ("40%", 1.0)])]
    assert grid_table(grid, ".0%", highest=0.8).rows == [("law", [("10%", 0.125), ("40%", 0.5)])]
    assert grid_table({"law": {"law": 0.0}}, ".2f").rows == [("law", [("0.00", 0.0)])]


def test_panels_are_well_formed_described_and_of_one_scale(inputs: CorporaInputs) -> None:
    panels = length_panels(inputs.statistics.lengths)
    roots = {group: ET.fromstring(panel) for group, panel in panels.items()}  # noqa: S314 - our own text
    assert list(roots) == ["law", "music"]
    assert "Sentence lengths of law: en median" in roots["law"].get("aria-label", "")
    labels = [["".join(text.itertext()) for text in root.iter("text")][2] for root in roots.values()]
    assert labels[0] == labels[1]
    heights = [
        [float(height) for height in re.findall(r"V([\d.]+)", path.get("d", ""))]
        for root in roots.values()
        for path in root.iter("path")
        if path.get("class") in ("source", "target")
    ]
    # The highest bar of all panels reaches the top line, and no other goes above it.
    assert min(height for of in heights for height in of) == 20.0
    assert all(20.0 <= height <= 112.0 for of in heights for height in of)
