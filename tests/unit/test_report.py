from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mtkd import findings
from mtkd.evaluation import EvaluationInputs, evaluate
from mtkd.findings import Table, serving_cost
from mtkd.report import ReportInputs, render_table, table_rows, verdict, write_report

DOMAINS = ["smarthome", "religion", "office"]
SYSTEMS = ["generic", "mixed", "teachers", "student"]
SCORES = {  # system -> test set -> BLEU; chrF is 20 more
    "generic": {"smarthome": 14.0, "religion": 9.0, "office": 12.0, "general": 21.0},
    "mixed": {"smarthome": 24.0, "religion": 19.0, "office": 22.0, "general": 20.0},
    "teachers": {"smarthome": 33.0, "religion": 24.0, "office": 27.0},
    "student": {"smarthome": 28.0, "religion": 19.5, "office": 24.5, "general": 20.4},
}


def make_results(significant: set[tuple[str, str]], scores: dict[str, dict[str, float]] = SCORES) -> dict[str, Any]:
    """Results in `evaluate`'s shape; `significant` holds (system, test set or "pooled")."""
    test_sets = [*DOMAINS, "general"]
    results: dict[str, Any] = {
        "target_lang": "de",
        "domains": DOMAINS,
        "test_sets": test_sets,
        "sentences": dict.fromkeys(test_sets, 100),
        "systems": list(scores),
        "baseline": "mixed" if "mixed" in scores else None,
        "resamples": 10_000,
        "alpha": 0.05,
    }
    parts = ("scores", "macro", "heatmap", "significance", "pooled", "gap_closed")
    results |= {part: {"bleu": {}, "chrf": {}} for part in parts}
    for metric, plus in (("bleu", 0.0), ("chrf", 20.0)):
        signature = f"{metric}|version:2.6.0"
        for system, of in scores.items():
            scored = {name: {"score": value + plus, "signature": signature} for name, value in of.items()}
            results["scores"][metric][system] = scored
            mean = sum(of[domain] for domain in DOMAINS) / 3 + plus
            results["macro"][metric][system] = {"score": mean, "signature": signature}
            if system == "mixed" or "mixed" not in scores:
                continue
            rows = {
                name: {
                    "difference": of.get(name, mean - plus) - scores["mixed"].get(name, 65 / 3),
                    "p_value": 0.0004,
                    "p_holm": 0.004,
                    "significant": (system, name) in significant,
                    "signature": f"{metric}|bs:10000|seed:1",
                }
                for name in [*of, "pooled"]
            }
            results["pooled"][metric][system] = rows.pop("pooled")
            results["significance"][metric][system] = rows
        results["heatmap"][metric] = {
            "mixed": results["scores"][metric].get("mixed", {}),
            **{f"teacher.{domain}": {domain: {"score": 30.0 + plus, "signature": signature}} for domain in DOMAINS},
        }
        results["gap_closed"][metric] = {"value": 0.25, "reason": None}
    return results


WON = make_results({("student", "pooled"), ("student", "smarthome"), ("generic", "office"), ("generic", "pooled")})


def curve(start: float, domains: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(1, 9):
        value = start * (0.55 + 0.45 / step)
        rows.append({"update": 50 * step, "split": "train", "loss": value, "nll_loss": value, "tokens_per_second": 3e3})
        valid = {"update": 50 * step, "split": "valid", "loss": value, "nll_loss": value}
        rows.append(valid | {f"{name}_nll_loss": value + place * 0.4 for place, name in enumerate(domains)})
    return rows


def make_inputs() -> ReportInputs:
    counts = {
        "read": 2100,
        "kept": 2034,
        "dropped": {"empty": 3, "copies": 41, "duplicate": 22},
        "licences": ["CC0-1.0"],
    }
    split = {"train": 1800, "dev": 110, "test": 124, "purged": {"train": {"exact": 3}, "dev": {"exact": 0}}}
    capture = {
        "rows": 1800, "tokens": 40211, "top_k": 8, "temperature": 1.0, "coverage": 0.713, "tail_mass": 0.287,
        "top1_is_reference": 0.52, "reference_in_top_k": 0.81, "fidelity": 0.0431, "bytes_per_token": 36.8,
        "teacher": "teacher.law",
    }  # fmt: skip
    size = {"parameters": 7_300_000, "float32_bytes": 29_200_000, "int8_bytes": 7_500_000}
    gap_row = {"teacher": {"score": 30.0}, "mixed": {"score": 20.0}, "difference": 10.0, "worth_it": True}
    return ReportInputs(
        recipe={"name": "quickstart", "languages": {"source": "en", "target": "de"}, "seed": 1, "path": Path("a.tsv")},
        results=WON,
        corpus={"clean": dict.fromkeys([*DOMAINS, "general"], counts), "split": dict.fromkeys(DOMAINS, split)},
        metrics={
            "generic": curve(9.0, []),
            **{f"teacher.{domain}": curve(7.0 + place, []) for place, domain in enumerate(DOMAINS)},
            "mixed": curve(8.0, DOMAINS),
            "student": curve(7.8, DOMAINS),
        },
        captures=dict.fromkeys(DOMAINS, capture),
        sizes={"student": size, **{f"teacher.{domain}": size for domain in DOMAINS}},
        gap={"domains": dict.fromkeys(DOMAINS, gap_row), "messages": ["domain office: <the teacher> is better"]},
        parity={"float32": {"nll_difference": 3.1e-5}, "int8": {"bleu": -0.1, "chrf": 0.02}, "passed": True},
        steps=[
            {"name": "generic", "seconds": 131.2, "peak_rss_bytes": 1.4e9},
            {"name": "report", "seconds": 3671.0, "peak_rss_bytes": None},
        ],
        environment={"mtkd": "0.1.0", "cores": 2, "date": "2026-01-02", "device": None},
        command="mtkd run data_recipes/quickstart",
    )


class Page(HTMLParser):
    """Tags, ids, addresses and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self.ids += [value or "" for key, value in attrs if key == "id"]
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


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
    assert page.tags.count("svg") == 3
    assert len(page.ids) == len(set(page.ids))


def test_the_page_shows_every_part(out: Path) -> None:
    text = Page(out / "index.html").text
    for shown in (
        "quickstart (en to de)", "significantly better", "teachers (oracle)", "BLEU: 25%", "21.9 M", "3.0 x", "71.3%",
        "dropped: copies", "purged: train: exact", "CC0-1.0", "3.1e-05", "2:11", "1:01:11", "1,335 MiB",
        "mtkd run data_recipes/quickstart", "path: a.tsv", "domain office: <the teacher> is better", "bs:10000|seed:1",
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


def test_results_md_can_be_pasted(out: Path) -> None:
    text = (out / "results.md").read_text(encoding="utf-8")
    assert render_table(WON) in text
    assert "| teacher.office | - | - | 30.0 | - |" in text
    assert "| parameters | 7.3 M | 21.9 M | 3.0 x |" in text


MISSING = {
    "recipe": "all defaults filled in not run",
    "results": "Systems not run",
    "corpus": "taken out: not run",
    "metrics": "the others on all. not run",
    "captures": "wrote down not run",
    "sizes": "Cost of serving not run",
    "gap": "before distilling not run",
    "parity": "bundle: not run",
    "steps": "data_recipes/quickstart not run",
    "environment": "Environment: not run",
}


@pytest.mark.parametrize("part", MISSING)
def test_what_is_missing_is_shown_as_not_run(part: str, tmp_path: Path) -> None:
    inputs = replace(make_inputs(), metrics={})
    write_report(replace(inputs, **{part: type(getattr(inputs, part))()}), tmp_path)
    assert MISSING[part] in Page(tmp_path / "index.html").text


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    write_report(ReportInputs(recipe={}, results={}), tmp_path)
    assert Page(tmp_path / "index.html").text.startswith("mtkd run: mtkd report mtkd run The evaluation was not run.")
    assert "not run" in (tmp_path / "results.md").read_text(encoding="utf-8")


def test_figures_that_are_unknown_are_dashes(tmp_path: Path) -> None:
    inputs = make_inputs()
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


def test_table_marks_only_what_is_significant() -> None:
    header, rows = table_rows(WON)
    assert header == ["BLEU", "smarthome", "religion", "office", "general", "macro average"]
    assert rows == [
        ["generic", "14.0", "9.0", "12.0 \u2193", "21.0", "11.7 \u2193"],
        ["mixed", "24.0", "19.0", "22.0", "20.0", "21.7"],
        ["teachers (oracle)", "33.0", "24.0", "27.0", "-", "28.0"],
        ["student", "28.0 \u2191", "19.5", "24.5", "20.4", "24.0 \u2191"],
    ]


def bold(results: dict[str, Any]) -> list[str]:
    return re.findall(r"\*\*(.*?)\*\*", findings.systems_table(results, "bleu").markdown())


def test_the_best_is_bold_only_where_it_is_significantly_so() -> None:
    scores = {system: of for system, of in SCORES.items() if system != "teachers"}
    everything = {(system, name) for system in SYSTEMS for name in [*DOMAINS, "general", "pooled"]}
    assert bold(make_results(set(), scores)) == []
    assert bold(make_results({("student", "smarthome"), ("generic", "general")}, scores)) == [
        "21.0 \u2191",
        "28.0 \u2191",
    ]
    behind = scores | {"student": dict.fromkeys(scores["student"], 1.0)}
    assert "24.0" in bold(make_results(everything, behind))
    assert "24.0" not in bold(make_results({("generic", "smarthome")}, behind))


def test_a_pooled_test_that_contradicts_the_macro_average_claims_nothing() -> None:
    results = make_results({("student", "pooled")})
    for metric in ("bleu", "chrf"):
        results["pooled"][metric]["student"]["difference"] = -0.3
    assert "No significant difference" in verdict(results)


@pytest.mark.parametrize(
    ("significant", "shift", "words"),
    [
        (set(), 0.0, "No significant difference between the student and mixed fine-tuning."),
        ({("student", "pooled")}, 0.0, "The student is significantly better than mixed fine-tuning in BLEU and chrF."),
        ({("student", "pooled")}, -9.0, "The student is significantly worse than mixed fine-tuning in BLEU and chrF."),
    ],
)
def test_a_win_is_claimed_only_when_significant(significant: set[tuple[str, str]], shift: float, words: str) -> None:
    moved = SCORES | {"student": {name: value + shift for name, value in SCORES["student"].items()}}
    results = make_results(significant, moved)
    for metric in ("bleu", "chrf"):
        results["pooled"][metric]["student"]["difference"] = 2.3 + shift
    assert verdict(results).startswith(words)


def test_metrics_that_disagree_are_both_told() -> None:
    results = make_results({("student", "pooled")})
    results["pooled"]["chrf"]["student"]["significant"] = False
    assert verdict(results).startswith(
        "The student is significantly better than mixed fine-tuning in BLEU, with no significant difference in chrF."
    )


def test_verdict_says_what_holds_by_test_set() -> None:
    results = make_results({("student", "smarthome"), ("student", "pooled")})
    assert "better on smarthome; no significant difference on religion, office, general." in verdict(results)


def test_a_weak_student_is_called_a_demonstration() -> None:
    weak = {system: {name: value / 4 for name, value in of.items()} for system, of in SCORES.items()}
    assert "a demonstration, not a translator" in verdict(make_results(set(), weak))
    assert "demonstration" not in verdict(make_results(set()))


def test_without_mixed_or_results_nothing_is_claimed() -> None:
    alone = make_results(set(), {"student": SCORES["student"]})
    assert "mixed fine-tuning was not run, so nothing is claimed" in verdict(alone)
    assert "\u2191" not in render_table(alone)
    assert verdict({}) == "The evaluation was not run."
    assert render_table({}) == "not run"


def test_every_table_carries_its_signatures() -> None:
    text = render_table(WON)
    assert text.count("| student |") == 2
    assert "- BLEU: `bleu|version:2.6.0`; tests: `bleu|bs:10000|seed:1`" in text
    assert "- chrF: `chrf|version:2.6.0`" in text


def test_serving_cost_is_unknown_without_teachers() -> None:
    assert serving_cost({"student": {"parameters": 5}}) is None
    assert serving_cost({}) is None


def test_markdown_of_a_table() -> None:
    table = Table(["a", "b"], [["x", "1"], ["y", "2"]], frozenset({(1, 1)}))
    assert table.markdown() == "| a | b |\n| --- | ---: |\n| x | 1 |\n| y | **2** |"
