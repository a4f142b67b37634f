from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from mtkd.plots import domain_curves, heat_map, sweep_curves, sweep_domain_curves, training_curves
from tests.unit.report_inputs import make_sweep

SCORES = {
    "mixed": {"law": {"score": 12.0}, "general": {"score": 20.0}},
    "teacher.law": {"law": {"score": 31.25}},
}
METRICS = {
    "mixed": [
        {"update": 50, "split": "train", "loss": 9.0, "nll_loss": 99.0},
        {"update": 50, "split": "valid", "nll_loss": 7.5, "law_nll_loss": 7.0, "office_nll_loss": 8.0},
        {"update": 100, "split": "valid", "nll_loss": 6.5, "law_nll_loss": 6.0, "office_nll_loss": 7.0},
    ],
    "student": [{"update": 50, "split": "valid", "nll_loss": 6.25, "law_nll_loss": 6.1}],
    "teacher.law": [],
}
PLOTS = {
    "heat": lambda: heat_map(SCORES, ["law", "general"], label="BLEU"),
    "training": lambda: training_curves(METRICS),
    "domains": lambda: domain_curves(METRICS, ["law", "office"]),
    "sweep": lambda: sweep_curves(make_sweep()),
    "sweep-domains": lambda: sweep_domain_curves(make_sweep()),
}


def parse(svg: str) -> ET.Element:
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="x" ', 1))  # noqa: S314 - our own text


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_the_same_in_every_run(name: str) -> None:
    assert PLOTS[name]() == PLOTS[name]()


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_well_formed_described_and_names_no_address(name: str) -> None:
    svg = PLOTS[name]()
    root = parse(svg)
    assert root.get("role") == "img"
    assert len(root.get("aria-label", "")) > 30
    assert "http" not in svg
    assert "<script" not in svg
    assert "currentColor" in svg


def test_ids_of_two_plots_never_meet_and_references_resolve() -> None:
    plots = [draw() for draw in PLOTS.values()]
    ids = [re.findall(r'\bid="([^"]+)"', svg) for svg in plots]
    assert len({one for of in ids for one in of}) == sum(len(of) for of in ids) > 20
    for svg, known in zip(plots, ids, strict=True):
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)
        assert used
        assert {first or second for first, second in used} <= set(known)


def test_heat_map_shows_every_number_and_marks_what_is_missing() -> None:
    text = "".join(parse(PLOTS["heat"]()).itertext()).split()
    assert {"12.0", "20.0", "31.2", "-", "mixed", "teacher.law", "general"} <= set(text)


def test_curves_show_dev_and_leave_training_out() -> None:
    svg = PLOTS["training"]()
    assert "mixed ends at 6.50 bits, student ends at 6.25 bits" in svg
    assert "99" not in "".join(parse(svg).itertext()).split()
    assert "teacher.law" not in svg


def test_domain_curves_have_a_panel_for_each_domain_with_rows() -> None:
    text = "".join(parse(PLOTS["domains"]()).itertext())
    assert "law" in text
    assert "office" in text
    assert "law" in domain_curves(METRICS, ["law", "unknown"])
    assert "unknown" not in domain_curves(METRICS, ["law", "unknown"])


def test_temperatures_of_a_sweep_share_the_point_without_teachers() -> None:
    alt = parse(PLOTS["sweep"]()).get("aria-label", "")
    assert "Macro BLEU: temperature 1: 21.00 at 0, 24.00 at 0.5, 23.50 at 1; temperature 2: 21.00 at 0, 25.25" in alt
    assert "NLL in bits a token: temperature 1: 2.90 at 0, 2.60 at 0.5" in alt
    assert "law: temperature 1: 20.50 at 0" in parse(PLOTS["sweep-domains"]()).get("aria-label", "")
    words = " ".join(parse(PLOTS["sweep"]()).itertext())
    for shown in ("temperature 1", "temperature 2", "kd_weight (0: no teachers)", "macro BLEU on dev"):
        assert shown in words


@pytest.mark.parametrize(
    ("macro", "said"),
    [
        ({(0.5, 1.0): 2.0, (0.5, 4.0): 3.0}, "by temperature. Macro BLEU: kd_weight 0.5: 2.00 at 1, 3.00 at 4."),
        ({(0.0, 1.0): 2.0}, "Macro BLEU: kd_weight 0: 2.00 at 1."),
        ({(0.25, 2.0): 2.0, (1.0, 2.0): 3.0}, "Macro BLEU: temperature 2: 2.00 at 0.25, 3.00 at 1."),
    ],
)
def test_a_sweep_of_one_key_is_one_line(macro: dict[tuple[float, float], float], said: str) -> None:
    assert said in sweep_curves(make_sweep(macro, baseline=None))


def test_a_sweep_without_training_logs_still_has_its_scores() -> None:
    found = make_sweep()
    for point in found["points"].values():
        point["nll"] = None
    assert "24.00 at 0.5" in sweep_curves(found)


def test_alt_text_is_escaped() -> None:
    assert 'aria-label="Heat map of BLEU by model and test set. &lt;b>' in heat_map(
        {"<b>": {"law": {"score": 0.0}}}, ["law"], label="BLEU"
    )


def test_nothing_to_draw_draws_nothing() -> None:
    assert heat_map({}, ["law"], label="BLEU") == ""
    assert training_curves({"mixed": []}) == ""
    assert domain_curves({}, ["law"]) == ""
    assert sweep_curves({}) == ""
    assert sweep_domain_curves({}) == ""
