"""The page stands alone, shows every part, and says what is missing and whether it was asked for."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from mtkd.evaluation import EvaluationInputs, evaluate
from mtkd.report import ReportInputs, render_table, table_rows, verdict, write_report
from mtkd.report_tables import NOT_ASKED, NOT_RUN, capture_table, gate_limits, missing_parts
from tests.unit.report_inputs import SYSTEMS, WON, Page, make_inputs


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report")
    write_report(make_inputs(), path)
    return path


def test_the_page_needs_nothing_from_elsewhere(out: Path) -> None:
    page = Page(out / "index.html")
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert all(address.startswith("#") for address in page.addresses)
    assert "http" not in (out / "index.html").read_text(encoding="utf-8")


def test_the_page_closes_what_it_opens_and_repeats_no_id(out: Path) -> None:
    page = Page(out / "index.html")
    assert page.open == []
    assert page.tags.count("svg") == 5
    assert len(page.ids) == len(set(page.ids))


def test_the_page_shows_every_part(out: Path) -> None:
    text = Page(out / "index.html").text
    for shown in (
        "quickstart (en to de)", "significantly better", "teachers (oracle)", "BLEU: 25%", "21.9 M", "3.0 x", "71.3%",
        "dropped: copies", "purged: train: exact", "CC0-1.0", "3.1e-05", "2:11", "1:01:11", "1,335 MiB",
        "mtkd run data_recipes/quickstart", "path: a.tsv", "domain office: <the teacher> is better", "bs:10000|seed:1",
        "kd_weight 0.5, temperature 2, with 25.2 BLEU", "macro BLEU on dev", "No gate is failed.",
        "0.5 generic + 0.5 law", "at least 22.5%", "at most 2", "dropped: cut_off", "16 78.0% 78.0% 78.0% -",
    ):  # fmt: skip
        assert shown in text, shown
    assert "not run" not in text


def test_the_report_is_the_same_in_every_run(out: Path, tmp_path: Path) -> None:
    write_report(make_inputs(), tmp_path)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["index.html", "results.json", "results.md"]
    assert all((out / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)


def test_results_json_holds_verdict_and_signatures(out: Path) -> None:
    read = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert read["results"]["scores"]["bleu"]["student"]["office"]["signature"]
    assert read["verdict"] == verdict(WON)
    assert read["recipe"]["path"] == "a.tsv"
    assert "metrics" not in read
    assert read["sweep"]["points"]["mixed"]["macro"]["bleu"]["signature"]


def test_results_md_can_be_pasted(out: Path) -> None:
    text = (out / "results.md").read_text(encoding="utf-8")
    assert render_table(WON) in text
    assert "| teacher.office | - | - | 30.0 | - |" in text
    assert "| parameters | 7.3 M | 21.9 M | 3.0 x |" in text
    assert "| kd_weight 0.5, temperature 2 | 24.8 | 25.8 | **25.2 \u2191** |" in text


MISSING = {
    "recipe": "all defaults filled in not run",
    "results": "Systems not run",
    "corpus": "taken out: not run",
    "metrics": "NLL on each domain's dev text: not run",
    "captures": "wrote down not run",
    "sizes": "Cost of serving not run",
    "gap": "before distilling not run",
    "sweep": "Sweep not run",
    "transfer": "kept, dropped: not run",
    "command": "mtkd run: not run",
    "parity": "bundle: not run",
    "steps": "mtkd run data_recipes/quickstart not run",
    "environment": "Environment: not run",
}


@pytest.mark.parametrize("part", MISSING)
def test_what_is_missing_is_shown_as_not_run(part: str, tmp_path: Path) -> None:
    inputs = replace(make_inputs(), metrics={}, sweep={})
    write_report(replace(inputs, **{part: type(getattr(inputs, part))()}), tmp_path)
    assert MISSING[part] in Page(tmp_path / "index.html").text


def test_what_the_recipe_does_not_ask_for_is_not_called_missing(tmp_path: Path) -> None:
    recipe = {
        "domains": {"law": {"corpora": [{"references": "given"}]}},
        "distill": {"source": "store", "kd_weight": 0.0},
        "sweep": {"kd_weight": [], "temperature": []},
        "systems": ["student"],
    }
    write_report(ReportInputs(recipe=recipe, results={}), tmp_path)
    text = Page(tmp_path / "index.html").text
    for part in ("Sweep", "wrote down", "kept, dropped:", "before distilling", "Cost of serving"):
        assert f"{part} not asked for by the recipe" in text, part
    assert "Systems not run" in text


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"sweep": {"kd_weight": [0.5], "temperature": []}}, "sweep"),
        ({"sweep": {"kd_weight": [0.5], "temperature": []}}, "captures"),
        ({"distill": {"source": "store", "kd_weight": 0.5}}, "captures"),
        ({"domains": {"law": {"corpora": [{"references": "none"}]}}}, "transfer"),
        ({"systems": ["mixed", "teachers"]}, "gap"),
        ({"systems": ["teachers"]}, "cost"),
    ],
)
def test_what_the_recipe_asks_for_is(change: dict[str, object], part: str) -> None:
    plain = {"distill": {"kd_weight": 0.0}, "sweep": {}, "systems": [], "domains": {"a": {"corpora": [{}]}}}
    assert missing_parts(plain)[part] == NOT_ASKED
    assert missing_parts(plain | change)[part] == NOT_RUN


def test_online_teachers_leave_nothing_to_capture() -> None:
    assert missing_parts({"distill": {"source": "online", "kd_weight": 0.5}})["captures"] == NOT_ASKED


def test_failed_gates_are_told(tmp_path: Path) -> None:
    lines = ["office: <coverage> 12% of 25%"]
    write_report(replace(make_inputs(), metrics={}, sweep={}, failed_gates=lines), tmp_path)
    text = Page(tmp_path / "index.html").text
    assert "Gates that are failed: office: <coverage> 12% of 25%" in text
    assert "No gate is failed" not in text


def test_a_recipe_without_gates_passes_none(tmp_path: Path) -> None:
    write_report(replace(make_inputs(), recipe={}, metrics={}, sweep={}), tmp_path)
    assert "No gate is set." in Page(tmp_path / "index.html").text


def test_gates_that_ask_nothing_have_no_column() -> None:
    capture = {"law": {"coverage": 0.5, "fidelity": 0.1}}
    header = ["figure", "law", "what it is"]
    assert capture_table(capture, gate_limits({})).header == header
    off = {"distill": {"gates": {"coverage": None, "reference_in_top_k": None, "fidelity": None}}}
    assert capture_table(capture, gate_limits(off)).header == header
    [row] = [row for row in capture_table(capture, {"fidelity": "at most 1"}).rows if row[0] == "fidelity"]
    assert row[1:3] == ["0.1000", "at most 1"]


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    write_report(ReportInputs(recipe={}, results={}), tmp_path)
    assert Page(tmp_path / "index.html").text.startswith("mtkd run: mtkd report mtkd run The evaluation was not run.")
    assert "not run" in (tmp_path / "results.md").read_text(encoding="utf-8")


def test_figures_that_are_unknown_are_dashes(tmp_path: Path) -> None:
    inputs = replace(make_inputs(), sweep={})
    captures = {"office": {"rows": 10, "coverage": None}, "law": {"rows": None, "coverage": 0.5, "teacher": "x"}}
    sizes = inputs.sizes | {"teacher.office": {"parameters": 7_300_000, "float32_bytes": None, "int8_bytes": None}}
    write_report(replace(inputs, metrics={}, captures=captures, sizes=sizes, steps=[{"name": "student"}]), tmp_path)
    text = Page(tmp_path / "index.html").text
    assert "rows 10 -" in text
    assert "coverage - 50.0%" in text
    assert "size in int8 7.5 MB - -" in text
    assert "student - -" in text


def test_a_real_evaluation_can_be_reported(tmp_path: Path) -> None:
    rng = random.Random(1)
    words = [f"wort{place}" for place in range(50)]
    references = {name: [" ".join(rng.choices(words, k=8)) for _ in range(12)] for name in ("law", "office")}

    def damage(share: float) -> dict[str, list[str]]:
        return {
            name: [" ".join("falsch" if rng.random() < share else word for word in line.split()) for line in lines]
            for name, lines in references.items()
        }

    models = {"generic": 0.8, "mixed": 0.4, "teacher.law": 0.1, "teacher.office": 0.1}
    hypotheses = {model: damage(share) for model, share in models.items()}
    hypotheses["student"] = hypotheses["mixed"]
    results = evaluate(
        EvaluationInputs(hypotheses, references, ["law", "office"], SYSTEMS, target_lang="de", seed=1, resamples=300)
    )
    write_report(ReportInputs(recipe={"name": "toy"}, results=results), tmp_path)
    text = Page(tmp_path / "index.html").text
    assert "No significant difference between the student and mixed fine-tuning." in text
    assert "teacher.law" in text
    for metric in results["scores"]:
        header, rows = table_rows(results, metric)
        assert header[1:] == ["law", "office", "macro average"]
        assert [row[0] for row in rows] == ["generic", "mixed", "teachers (oracle)", "student"]
