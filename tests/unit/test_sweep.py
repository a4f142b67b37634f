"""A sweep: its comparison on dev, what is claimed of it, and the step on real files."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

from mtkd.context import StepContext
from mtkd.errors import MtkdError
from mtkd.pipeline import open_workspace
from mtkd.progress import Progress
from mtkd.recipe_file import load_recipe
from mtkd.report import write_report
from mtkd.steps.sweeps import sweep
from mtkd.sweep import SweepPoint, chosen_nll, compare_points
from mtkd.sweep_findings import point_name, sweep_notes, sweep_tables, sweep_verdict
from tests.unit.report_inputs import SWEPT, ReportInputs, make_sweep
from tests.unit.workflow_recipe import DOMAINS, write_recipe

WORDS = [f"wort{number}" for number in range(40)]
LOG = [
    {"split": "train", "update": 10, "loss": 0.1, "nll_loss": 0.1},
    {"split": "valid", "update": 10, "loss": 6.0, "nll_loss": 5.0, "it_nll_loss": 4.5},
    {"split": "valid", "update": 20, "loss": 5.5, "nll_loss": 5.1, "it_nll_loss": 4.25},
    {"split": "valid", "update": 30, "loss": 5.75, "nll_loss": 4.9},
]
BEST = (0.5, 2.0)


def make_references(sizes: dict[str, int]) -> dict[str, list[str]]:
    rng = random.Random(1)
    return {domain: [" ".join(rng.choices(WORDS, k=8)) for _ in range(size)] for domain, size in sizes.items()}


def damaged(references: dict[str, list[str]], share: float) -> dict[str, list[str]]:
    """A translation with so large a share of wrong words."""
    rng = random.Random(str(share))
    return {
        domain: [" ".join("falsch" if rng.random() < share else word for word in line.split()) for line in lines]
        for domain, lines in references.items()
    }


REFERENCES = make_references({"it": 30, "religion": 20})


def compare(shares: dict[tuple[float, float], float], names: dict[tuple[float, float], str]) -> dict[str, Any]:
    points = {names[key]: SweepPoint(*key, damaged(REFERENCES, share), LOG) for key, share in shares.items()}
    return compare_points(points, REFERENCES, target_lang="de", seed=1, resamples=1000)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    shares = {(0.0, 1.0): 0.5, (0.5, 1.0): 0.48, BEST: 0.2}
    return compare(shares, {(0.0, 1.0): "mixed", (0.5, 1.0): "student", BEST: "student.kd0.5_t2"})


def test_scores_are_sacrebleus_and_travel_with_their_signatures(found: dict[str, Any]) -> None:
    point = found["points"]["mixed"]
    by_domain = {domain: sacrebleu.corpus_bleu(damaged(REFERENCES, 0.5)[domain], [lines]).score
                 for domain, lines in REFERENCES.items()}  # fmt: skip
    assert {domain: one["score"] for domain, one in point["scores"]["bleu"].items()} == pytest.approx(by_domain)
    assert point["macro"]["bleu"]["score"] == pytest.approx(sum(by_domain.values()) / 2)
    kept = [one for of in found["points"].values() for metric in of["scores"].values() for one in metric.values()]
    kept += [one for of in found["points"].values() for one in of["macro"].values()]
    kept += [row for of in found["tests"].values() for row in of.values()]
    assert len(kept) == 3 * 4 + 3 * 2 + 2 * 2
    assert all("version:" in one["signature"] for one in kept)


def test_the_best_point_is_tested_against_the_one_without_teachers(found: dict[str, Any]) -> None:
    assert (found["best"], found["baseline"]) == ("student.kd0.5_t2", "mixed")
    tests = found["tests"]["bleu"]
    assert tests.keys() == {"student", "student.kd0.5_t2"}
    assert tests["student.kd0.5_t2"]["significant"]
    assert not tests["student"]["significant"]
    p_values = sorted((row["p_value"], row["p_holm"]) for row in tests.values())
    assert p_values[0][1] == pytest.approx(2 * p_values[0][0])  # Holm over the two of them


def test_without_such_a_point_the_runs_own_student_is_the_baseline() -> None:
    names = {(0.5, 1.0): "student", (1.0, 1.0): "student.kd1_t1"}
    assert compare(dict.fromkeys(names, 0.4), names)["baseline"] == "student"
    names = {(0.25, 1.0): "student.kd0.25_t1", (1.0, 1.0): "student.kd1_t1"}
    alone = compare(dict.fromkeys(names, 0.4), names)
    assert alone["baseline"] is None
    assert alone["tests"] == {"bleu": {}, "chrf": {}}
    assert "nothing was tested: the lead may be chance" in sweep_verdict(alone)


def test_hypotheses_of_another_length_are_refused() -> None:
    point = SweepPoint(0.0, 1.0, {domain: lines[1:] for domain, lines in REFERENCES.items()}, [])
    with pytest.raises(MtkdError, match=r"mixed on it \(dev\): 29 hypotheses for 30 references"):
        compare_points({"mixed": point}, REFERENCES, target_lang="de", seed=1)


def test_dev_nll_is_that_of_the_chosen_checkpoint() -> None:
    expected = {"update": 20, "all": 5.1, "domains": {"it": 4.25, "religion": None}}
    assert chosen_nll(LOG, ["it", "religion"]) == expected
    assert chosen_nll(LOG[:1], ["it"]) is None


def test_a_significant_lead_is_called_so_and_still_one_seed_on_dev() -> None:
    text = sweep_verdict(make_sweep(significant={BEST}))
    assert text.startswith(
        "Best on dev: kd_weight 0.5, temperature 2, with 25.2 BLEU on the macro average, 1.25 ahead of kd_weight 0.5, "
        "temperature 1. Against kd_weight 0 it has +4.25 BLEU (significant, p = 0.0020) and +4.25 chrF (significant, p "
        "= 0.0020): paired bootstrap on dev, Holm over 4 points."
    )
    assert "chosen on dev" in text
    assert "another seed" in text
    assert text.endswith("--set distill.kd_weight=0.5 --set distill.temperature=2")


def test_without_a_significant_test_no_lead_is_claimed() -> None:
    found = make_sweep(significant={(1.0, 2.0)})
    text = sweep_verdict(found)
    assert "+4.25 BLEU (not significant, p = 0.0020)" in text
    assert "(significant" not in text
    assert marks(found) == ["", "", "", "", " \u2193"]


def test_a_test_that_contradicts_the_average_claims_nothing() -> None:
    found = make_sweep(significant={BEST})
    for of in found["tests"].values():
        of[found["best"]]["difference"] = -0.5
    assert "no claim, all sentences together point the other way" in sweep_verdict(found)
    assert marks(found) == [""] * 5


def test_a_baseline_that_is_best_is_said_to_be() -> None:
    text = sweep_verdict(make_sweep(SWEPT | {(0.0, 1.0): 30.0}, significant={(1.0, 2.0)}))
    assert text.startswith("Best on dev: kd_weight 0, with 30.0 BLEU on the macro average, 4.75 ahead of")
    assert "Significantly behind it in BLEU: 1 of 4 points (" in text
    assert text.endswith("On test this run judges it as 'mixed'.")


def test_a_single_point_leads_nothing() -> None:
    text = sweep_verdict(make_sweep({(0.0, 1.0): 3.0}))
    assert "ahead" not in text
    assert "There is no other point." in text


def test_tables_have_a_row_a_point_and_their_signatures() -> None:
    found = make_sweep(significant={BEST})
    bleu, chrf, nll = sweep_tables(found)
    assert bleu.header == ["BLEU on dev", "law", "office", "macro average"]
    assert bleu.rows[0] == ["kd_weight 0", "20.5", "21.5", "21.0"]
    assert bleu.bold == {(3, 3)}
    assert chrf.rows[3] == ["kd_weight 0.5, temperature 2", "44.8", "45.8", "45.2 \u2191"]
    assert nll.rows[0] == ["kd_weight 0", "4.000", "-", "2.900"]
    notes = sweep_notes(found)
    assert "- BLEU" not in notes
    assert "BLEU: `bleu|version:2.6.0|mean:2 domains`; tests: `bs:10000|seed:1`" in notes
    assert "significantly above, below kd_weight 0" in " ".join(notes)


def marks(found: dict[str, Any]) -> list[str]:
    """What stands behind the macro BLEU of each point."""
    return [row[-1].lstrip("0123456789.") for row in sweep_tables(found)[0].rows]


def test_the_step_compares_what_the_students_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = load_recipe(write_recipe(tmp_path), ["sweep.kd_weight=[0,1]", "sweep.temperature=[2]"])
    place = open_workspace(recipe, tmp_path / "run")
    references = make_references(dict.fromkeys(DOMAINS, 25))
    for domain, lines in references.items():
        write_lines(place.dir("split") / domain / "dev.de", lines)
    students = place.plan.nodes["sweep"].slice["students"]
    assert set(students) == {"mixed", "student.kd1_t2"}
    for model, (kd_weight, _) in students.items():
        write_lines(place.dir(model) / "metrics.jsonl", [json.dumps(row) for row in LOG])
        for domain, lines in damaged(references, 0.5 - kd_weight / 4).items():
            write_lines(place.dir(f"decode.{model}") / "hypotheses" / f"{domain}.dev.txt", lines)
            write_lines(place.dir(f"decode.{model}") / "hypotheses" / f"{domain}.test.txt", ["unread"])
    node = place.plan.nodes["sweep"]
    sweep(StepContext(recipe, place.plan, place, node, 1, Progress("sweep", as_events=False)))
    written = json.loads((place.dir("sweep") / "sweep.json").read_text(encoding="utf-8"))
    assert list(written["points"]) == list(students)
    assert written["points"]["student.kd1_t2"]["kd_weight"] == 1.0
    assert written["best"] == "student.kd1_t2"
    said = capsys.readouterr().out
    for point in written["points"].values():
        assert f"[sweep] {point_name(point)}: " in said
    assert "NLL 5.10 bits a token" in said
    assert sweep_verdict(written) in said
    write_report(ReportInputs(recipe={}, results={}, sweep=written), tmp_path / "report")
    assert "macro BLEU on dev" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
