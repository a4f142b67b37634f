"""Made-up results and inputs of a whole report, and a reader of its page, for the tests of the report's parts."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mtkd.report import ReportInputs

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


BY_SENTENCE = {
    "better": 55, "worse": 30, "same": 15,
    "lengths": {"long": {"words": [12, 80], "sentences": 33, "difference": 1.25}},
    "examples": [
        {
            "place": "median", "source": "a | <b> bridge", "reference": "eine Br\u00fccke",
            "outputs": {"mixed": "ein", "student": "eine Br\u00fccke"}, "chrf": {"mixed": 20.4, "student": 100.0},
        }
    ],
}  # fmt: skip


SWEPT = {  # (kd_weight, temperature) -> macro BLEU
    (0.0, 1.0): 21.0,
    (0.5, 1.0): 24.0,
    (1.0, 1.0): 23.5,
    (0.5, 2.0): 25.25,
    (1.0, 2.0): 19.0,
}


def make_sweep(
    macro: dict[tuple[float, float], float] = SWEPT,
    significant: set[tuple[float, float]] = frozenset(),
    baseline: tuple[float, float] | None = (0.0, 1.0),
) -> dict[str, Any]:
    """A sweep in `compare_points`'s shape; chrF is 20 more than BLEU, the second domain 1 more than the first."""
    names = {point: "mixed" if point[0] == 0 else f"student.kd{point[0]:g}_t{point[1]:g}" for point in macro}
    points: dict[str, Any] = {}
    tests: dict[str, Any] = {"bleu": {}, "chrf": {}}
    for point, bleu in macro.items():
        by_metric = {metric: bleu + plus for metric, plus in (("bleu", 0.0), ("chrf", 20.0))}
        points[names[point]] = {
            "kd_weight": point[0],
            "temperature": point[1],
            "scores": {
                metric: {
                    domain: {"score": value + off, "signature": f"{metric}|version:2.6.0"}
                    for domain, off in (("law", -0.5), ("office", 0.5))
                }
                for metric, value in by_metric.items()
            },
            "macro": {
                metric: {"score": value, "signature": f"{metric}|version:2.6.0|mean:2 domains"}
                for metric, value in by_metric.items()
            },
            "nll": {"update": 50, "all": 5.0 - bleu / 10, "domains": {"law": 4.0, "office": None}},
        }
        if baseline is not None and point != baseline:
            for of in tests.values():
                of[names[point]] = {
                    "difference": bleu - macro[baseline],
                    "p_value": 0.0005,
                    "p_holm": 0.002,
                    "significant": point in significant,
                    "signature": "bs:10000|seed:1",
                }
    return {
        "domains": ["law", "office"],
        "sentences": {"law": 1200, "office": 130},
        "alpha": 0.05,
        "points": points,
        "best": names[max(macro, key=macro.__getitem__)],
        "baseline": None if baseline is None else names[baseline],
        "tests": tests,
    }


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
        "teacher": "0.5 generic + 0.5 law", "references": "given", "coverage_by_k": {"1": 0.52, "8": 0.713, "16": 0.78},
    }  # fmt: skip
    own = {**capture, "references": "teacher", "temperature": [1.0, 2.0], "coverage_by_k": {"8": 0.9}}
    recipe = {"name": "quickstart", "languages": {"source": "en", "target": "de"}, "seed": 1, "path": Path("a.tsv")}
    gates = {"coverage": 0.25, "reference_in_top_k": 0.3, "fidelity": 2.0}
    training = {"teacher": {"label_smoothing": 0.1}}
    size = {"parameters": 7_300_000, "float32_bytes": 29_200_000, "int8_bytes": 7_500_000}
    gap_row = {"teacher": {"score": 30.0}, "mixed": {"score": 20.0}, "difference": 10.0, "worth_it": True}
    return ReportInputs(
        recipe={**recipe, "distill": {"gates": gates}, "training": training},
        results=WON | {"by_sentence": dict.fromkeys(DOMAINS, BY_SENTENCE)},
        corpus={"clean": dict.fromkeys([*DOMAINS, "general"], counts), "split": dict.fromkeys(DOMAINS, split)},
        metrics={
            "generic": curve(9.0, []),
            **{f"teacher.{domain}": curve(7.0 + place, []) for place, domain in enumerate(DOMAINS)},
            "mixed": curve(8.0, DOMAINS),
            "student": curve(7.8, DOMAINS),
        },
        captures=dict.fromkeys(DOMAINS, capture) | {"office_transfer": own},
        failed_gates=[],
        transfer={"office": {"read": 712, "kept": 640, "dropped": {"cut_off": 2}, "tokens": {"en": 9, "de": 9001}}},
        sizes={"student": size, **{f"teacher.{domain}": size for domain in DOMAINS}},
        sweep=make_sweep(significant={(0.5, 2.0)}),
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
