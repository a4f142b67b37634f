"""Families of tests: the student against every other system, gaps with their intervals, routing, changed test sets."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mtkd.comparisons import TOGETHER
from mtkd.corpus.robustness import VARIANTS
from mtkd.errors import MtkdError
from mtkd.evaluation import EvaluationInputs, evaluate, gap_closed, routed
from mtkd.recipe import Perturbation, Recipe
from mtkd.robustness import evaluate_robustness
from mtkd.scoring import METRICS, holm, resampled_scores, score
from tests.unit.test_evaluation import damaged, sentences

RESAMPLES = 200
SYSTEMS = ["generic", "mixed", "tagged", "routing", "teachers", "student"]


@pytest.fixture(scope="module")
def inputs() -> EvaluationInputs:
    references = {"law": sentences(1), "office": sentences(2), "general": sentences(3), "cooking": sentences(4)}
    errors = {"generic": 0.6, "mixed": 0.4, "tagged": 0.3, "teacher.law": 0.1, "teacher.office": 0.1, "student": 0.25}
    hypotheses = {
        model: {name: damaged(lines, share, seed) for seed, (name, lines) in enumerate(references.items())}
        for model, share in errors.items()
    }
    choices = {name: ["law", "office"] * (len(lines) // 2) for name, lines in references.items()}
    hypotheses["routing"] = routed(hypotheses, choices)
    return EvaluationInputs(
        hypotheses, references, ["law", "office"], SYSTEMS, target_lang="de", seed=1, resamples=RESAMPLES
    )


@pytest.fixture(scope="module")
def results(inputs: EvaluationInputs) -> dict:
    found = evaluate(inputs)
    assert json.loads(json.dumps(found)) == found
    return found


@pytest.mark.parametrize("metric", METRICS)
def test_the_student_is_tested_against_every_other_system_wherever_both_have_translations(results, metric) -> None:
    against, scores = results["student_against"][metric], results["scores"][metric]
    assert list(against) == [system for system in SYSTEMS if system != "student"]
    for system, rows in against.items():
        sets = ["law", "office"] if system == "teachers" else ["law", "office", "general", "cooking"]
        assert list(rows) == [*sets, TOGETHER]
        for name in sets:
            lead = scores["student"][name]["score"] - scores[system][name]["score"]
            assert rows[name]["difference"] == pytest.approx(lead)
    rows = [row for of in against.values() for row in of.values()]
    assert [row["p_holm"] for row in rows] == holm([row["p_value"] for row in rows])
    assert against["generic"][TOGETHER]["p_value"] < 0.01


def test_both_families_agree_on_student_and_mixed_but_for_the_correction(results) -> None:
    ours, theirs = results["student_against"]["bleu"]["mixed"], results["significance"]["bleu"]["student"]
    for name, row in theirs.items():
        assert ours[name]["difference"] == pytest.approx(row["difference"])
        assert ours[name]["p_value"] == pytest.approx(row["p_value"], abs=0.05)
    assert TOGETHER not in theirs


def test_held_out_text_is_scored_like_general_text_and_counts_in_no_average(results) -> None:
    assert results["test_sets"] == ["law", "office", "general", "cooking"]
    assert "cooking" in results["scores"]["bleu"]["routing"]
    assert "cooking" not in results["scores"]["bleu"]["teachers"]
    student = results["scores"]["bleu"]["student"]
    mean = (student["law"]["score"] + student["office"]["score"]) / 2
    assert results["macro"]["bleu"]["student"]["score"] == pytest.approx(mean)


def test_without_mixed_the_student_is_still_compared(inputs) -> None:
    found = evaluate(replace(inputs, systems=["generic", "student"], resamples=20))
    assert list(found["student_against"]["bleu"]) == ["generic"]
    assert found["gap_closed"]["bleu"]["interval"] is None


def test_routing_is_made_of_the_sentences_of_the_teachers_that_were_chosen() -> None:
    hypotheses = {"teacher.law": {"general": ["a", "b", "c"]}, "teacher.office": {"general": ["A", "B", "C"]}}
    assert routed(hypotheses, {"general": ["office", "law", "office"]}) == {"general": ["A", "b", "C"]}
    with pytest.raises(MtkdError, match=r"no translation of 'general' by 'teacher\.moon'"):
        routed(hypotheses, {"general": ["moon", "law", "law"]})
    with pytest.raises(MtkdError, match="3 hypotheses for 2 references"):
        routed(hypotheses, {"general": ["law", "law"]})


@pytest.mark.parametrize("metric", METRICS)
def test_resampled_scores_lie_around_the_score_and_are_paired(metric) -> None:
    lines = sentences(1)
    system = damaged(lines, 0.3, 2)
    drawn = resampled_scores({"a": system, "b": list(system)}, lines, target_lang="de", seed=1, resamples=RESAMPLES)
    assert drawn[metric]["a"].shape == (RESAMPLES,)
    assert np.array_equal(drawn[metric]["a"], drawn[metric]["b"])
    measured = score(system, lines, target_lang="de")[metric]["score"]
    low, high = np.quantile(drawn[metric]["a"], [0.025, 0.975])
    assert low < measured < high
    assert drawn[metric]["a"].std() > 0.5


def test_the_interval_of_the_gap_holds_the_shares_of_the_resamples_by_hand() -> None:
    means = {system: {"score": value} for system, value in (("mixed", 10.0), ("teachers", 20.0), ("student", 15.0))}
    drawn = {"mixed": np.full(101, 10.0), "teachers": np.full(101, 20.0), "student": np.linspace(10.0, 20.0, 101)}
    pooled = {"teachers": {"significant": True}}
    found = gap_closed(means, pooled, drawn)
    assert found["value"] == 0.5
    assert found["interval"] == pytest.approx([0.025, 0.975])
    # In a tenth of the resamples there is no gap: the share has no bound.
    without = drawn | {"teachers": np.where(np.arange(101) < 10, 9.0, 20.0)}
    assert gap_closed(means, pooled, without)["interval"] is None


@pytest.fixture(scope="module")
def changed() -> tuple[dict, dict]:
    references = {
        "typos": {"law": sentences(1), "office": sentences(2)},
        "short": {"law": sentences(3, 10), "office": []},
    }
    shares = {"mixed": 0.5, "routing": 0.3, "teachers": 0.1, "student": 0.2}
    hypotheses = {
        system: {
            variant: {domain: damaged(lines, share, 7) for domain, lines in of.items()}
            for variant, of in references.items()
        }
        for system, share in shares.items()
    }
    return hypotheses, references


def test_changed_test_sets_are_scored_tested_and_counted(changed) -> None:
    hypotheses, references = changed
    found = evaluate_robustness(hypotheses, references, target_lang="de", seed=1, resamples=RESAMPLES)
    assert json.loads(json.dumps(found)) == found
    typos = found["robustness"]["typos"]["bleu"]
    assert typos["student"]["law"] == score(hypotheses["student"]["typos"]["law"], references["typos"]["law"],
                                            target_lang="de")["bleu"]  # fmt: skip
    mean = (typos["student"]["law"]["score"] + typos["student"]["office"]["score"]) / 2
    assert found["robustness_macro"]["typos"]["bleu"]["student"]["score"] == pytest.approx(mean)
    assert found["robustness_sentences"] == {"typos": {"law": 40, "office": 40}, "short": {"law": 10}}
    tests = found["robustness_against"]["bleu"]
    assert {name: list(of) for name, of in tests.items()} == {name: ["mixed", "routing"] for name in ("typos", "short")}
    assert tests["typos"]["mixed"]["difference"] > 0
    assert tests["typos"]["mixed"]["significant"]
    rows = [row for of in tests.values() for row in of.values()]
    assert [row["p_holm"] for row in rows] == holm([row["p_value"] for row in rows])


def test_a_domain_of_which_nothing_is_left_is_left_out(changed) -> None:
    found = evaluate_robustness(*changed, target_lang="de", seed=1, resamples=10)
    assert list(found["robustness"]["short"]["bleu"]["student"]) == ["law"]


def test_too_few_translations_of_a_changed_set_are_refused(changed) -> None:
    hypotheses, references = changed
    short = hypotheses["student"] | {"typos": {"law": ["nur eine"], "office": ["nur eine"]}}
    with pytest.raises(MtkdError, match=r"student on law \(typos\): 1 hypotheses for 40 references"):
        evaluate_robustness(hypotheses | {"student": short}, references, target_lang="de", seed=1, resamples=10)


def test_a_recipe_names_every_way_to_change_a_test_set() -> None:
    assert set(VARIANTS) == set(Perturbation.__args__)
    assert Recipe.model_fields["robustness"].default == []
