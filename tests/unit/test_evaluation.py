from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from mtkd import evaluation, scoring
from mtkd.errors import MtkdError, UsageError
from mtkd.evaluation import EvaluationInputs, evaluate, gap_closed, teacher_gap
from mtkd.scoring import METRICS, holm, paired_bootstrap, score

WORDS = [f"wort{i}" for i in range(200)]


def sentences(seed: int, count: int = 40) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(6, 14))) for _ in range(count)]


def damaged(lines: list[str], share: float, seed: int) -> list[str]:
    """`lines` with about `share` of their words replaced."""
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) if rng.random() < share else word for word in line.split()) for line in lines]


@pytest.fixture(scope="module")
def inputs() -> EvaluationInputs:
    references = {"law": sentences(1), "office": sentences(2), "general": sentences(3)}
    errors = {
        "generic": {"law": 0.6, "office": 0.6, "general": 0.3},
        "mixed": {"law": 0.4, "office": 0.4, "general": 0.35},
        "student": {"law": 0.25, "office": 0.4, "general": 0.35},
        "teacher.law": {"law": 0.1, "office": 0.8, "general": 0.8},
        "teacher.office": {"law": 0.8, "office": 0.1, "general": 0.8},
    }
    hypotheses = {
        model: {name: damaged(references[name], share, seed) for seed, (name, share) in enumerate(of.items())}
        for model, of in errors.items()
    }
    return EvaluationInputs(
        hypotheses=hypotheses,
        references=references,
        domains=["law", "office"],
        systems=["generic", "mixed", "teachers", "student"],
        target_lang="de",
        seed=1,
        resamples=500,
    )


@pytest.fixture(scope="module")
def results(inputs: EvaluationInputs) -> dict:
    return evaluate(inputs)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_scores_a_copy_highest_and_says_how(metric: str) -> None:
    lines = sentences(1)
    perfect, worse = (score(found, lines, target_lang="de")[metric] for found in (lines, damaged(lines, 0.5, 2)))
    assert perfect["score"] == pytest.approx(100)
    assert 0 < worse["score"] < 100
    assert "version:" in perfect["signature"]
    assert "nrefs:1" in perfect["signature"]


def test_chinese_is_scored_by_characters() -> None:
    assert "tok:zh" in score(["你好"], ["你好"], target_lang="zh")["bleu"]["signature"]
    assert "tok:13a" in score(["hallo"], ["hallo"], target_lang="de")["bleu"]["signature"]


def test_a_tokeniser_that_is_not_installed_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def needs_mecab(target_lang: str) -> None:
        raise RuntimeError("\nJapanese tokenization requires extra dependencies\n\n    pip install sacrebleu[ja]\n")

    monkeypatch.setitem(METRICS, "bleu", needs_mecab)
    with pytest.raises(UsageError, match=r"^scoring 'ja': Japanese .* pip install sacrebleu\[ja\]$"):
        score(["a"], ["a"], target_lang="ja")


def test_lists_of_unequal_length_are_refused_not_cut() -> None:
    with pytest.raises(MtkdError, match="2 hypotheses for 3 references"):
        score(["a", "b"], ["a", "b", "c"], target_lang="de")
    with pytest.raises(MtkdError, match="student: 1 hypotheses for 2 references"):
        paired_bootstrap(["a", "b"], {"student": ["a"]}, ["a", "b"], target_lang="de", seed=1)
    with pytest.raises(MtkdError, match="the test set is empty"):
        score([], [], target_lang="de")


@pytest.mark.parametrize("rate", [0.35, 0.38, 0.39])
def test_bootstrap_is_that_of_sacrebleu(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = sentences(1)
    baseline, system = damaged(lines, 0.4, 2), damaged(lines, rate, 3)
    ours = paired_bootstrap(baseline, {"student": system}, lines, target_lang="de", seed=77, resamples=300)
    monkeypatch.setenv("SACREBLEU_SEED", "77")
    named = [("mixed", baseline), ("student", system)]
    metrics = {"bleu": BLEU(trg_lang="de"), "chrf": CHRF()}
    signatures, table = PairedTest(named, metrics, [lines], test_type="bs", n_samples=300)()
    for metric, title in zip(metrics, signatures, strict=True):
        row = ours["student"][metric]
        assert row["p_value"] == table[title][1].p_value
        assert row["difference"] == pytest.approx(table[title][1].score - table[title][0].score)
        assert row["signature"] == str(signatures[title])
        assert "bs:300|seed:77" in row["signature"]


def test_bootstrap_tells_a_clear_difference_from_none() -> None:
    lines = sentences(1)
    baseline = damaged(lines, 0.4, 2)
    systems = {"better": damaged(lines, 0.1, 3), "worse": damaged(lines, 0.8, 4), "alike": damaged(lines, 0.4, 5)}
    found = paired_bootstrap(baseline, systems, lines, target_lang="de", seed=1, resamples=500)
    for metric in METRICS:
        assert found["better"][metric]["difference"] > 0
        assert found["worse"][metric]["difference"] < 0
        assert found["better"][metric]["p_value"] < 0.01
        assert found["worse"][metric]["p_value"] < 0.01
        assert found["alike"][metric]["p_value"] > 0.05


def test_a_system_against_itself_is_not_significant() -> None:
    lines = sentences(1)
    copy = damaged(lines, 0.4, 2)
    found = paired_bootstrap(copy, {"student": list(copy)}, lines, target_lang="de", seed=1, resamples=200)
    assert found["student"]["bleu"]["difference"] == 0
    assert found["student"]["bleu"]["p_value"] == 1.0


@pytest.mark.parametrize("seed", [0, 5])
def test_a_seed_repeats_the_test_whatever_the_environment_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = sentences(1)
    again = []
    for other in ("999", "998"):
        monkeypatch.setenv("SACREBLEU_SEED", other)
        again.append(
            paired_bootstrap(
                damaged(lines, 0.4, 2),
                {"student": damaged(lines, 0.38, 3)},
                lines,
                target_lang="de",
                seed=seed,
                resamples=99,
            )
        )
    assert again[0] == again[1]
    assert f"seed:{seed or 12345}|" in again[0]["student"]["bleu"]["signature"]


def test_a_huge_test_set_gets_fewer_resamples_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "MAX_RESAMPLED_ROWS", 10)
    lines = sentences(1, count=5)
    found = paired_bootstrap(
        lines, {"student": damaged(lines, 0.5, 2)}, lines, target_lang="de", seed=1, resamples=1500
    )
    assert "bs:1000|" in found["student"]["bleu"]["signature"]


def test_no_systems_no_comparisons() -> None:
    assert paired_bootstrap(["a"], {}, ["a"], target_lang="de", seed=1) == {}


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([], []),
        ([0.04], [0.04]),
        # sorted 0.005, 0.01, 0.03, 0.04: 4 x 0.005, 3 x 0.01, 2 x 0.03, then 0.04 raised to the 0.06 before it
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6, 0.02], [1.0, 1.0, 0.06]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
)
def test_holm_by_hand(p_values: list[float], adjusted: list[float]) -> None:
    assert holm(p_values) == pytest.approx(adjusted)


def test_results_are_json(results: dict) -> None:
    assert json.loads(json.dumps(results)) == results


def test_every_score_has_its_signature(results: dict) -> None:
    def numbers(node: object) -> list[dict]:
        if not isinstance(node, dict):
            return []
        return [node] if "score" in node else [found for child in node.values() for found in numbers(child)]

    found = [one for part in ("scores", "macro", "heatmap") for one in numbers(results[part])]
    # 11 system x test set cells, 4 macro averages and 15 model x test set cells, for two metrics
    assert len(found) == 2 * (11 + 4 + 15)
    assert all("version:" in one["signature"] for one in found)


def test_teachers_are_each_domains_own_and_have_no_general_score(results: dict) -> None:
    teachers = results["scores"]["bleu"]["teachers"]
    assert teachers == {domain: results["heatmap"]["bleu"][f"teacher.{domain}"][domain] for domain in ("law", "office")}
    assert results["test_sets"] == ["law", "office", "general"]
    assert "general" in results["scores"]["bleu"]["student"]


def test_macro_average_is_the_mean_over_domains_only(results: dict) -> None:
    student = results["scores"]["chrf"]["student"]
    macro = results["macro"]["chrf"]["student"]
    assert macro["score"] == pytest.approx((student["law"]["score"] + student["office"]["score"]) / 2)
    assert macro["signature"].endswith("|mean:2 domains")


def test_holm_runs_over_every_comparison_of_a_metric(results: dict) -> None:
    for metric in METRICS:
        rows = [row for of in results["significance"][metric].values() for row in of.values()]
        assert len(rows) == 3 + 2 + 3  # generic, teachers, student
        rows += results["pooled"][metric].values()
        assert len(rows) == 8 + 3
        assert [row["p_holm"] for row in rows] == holm([row["p_value"] for row in rows])
        assert [row["significant"] for row in rows] == [row["p_holm"] < 0.05 for row in rows]
    assert results["significance"]["bleu"]["teachers"]["law"]["significant"]
    assert not results["significance"]["bleu"]["student"]["office"]["significant"]


def test_differences_are_against_mixed(results: dict) -> None:
    of = results["scores"]["bleu"]
    row = results["significance"]["bleu"]["student"]["law"]
    assert row["difference"] == pytest.approx(of["student"]["law"]["score"] - of["mixed"]["law"]["score"])


def test_gap_closed_is_the_share_of_the_macro_gap(results: dict) -> None:
    macro = {system: of["score"] for system, of in results["macro"]["bleu"].items()}
    share = (macro["student"] - macro["mixed"]) / (macro["teachers"] - macro["mixed"])
    found = results["gap_closed"]["bleu"]
    assert (found["value"], found["reason"]) == (pytest.approx(share), None)
    low, high = found["interval"]
    assert 0.0 < low < share < high < 0.6


@pytest.mark.parametrize(
    ("teachers", "significant", "reason"),
    [(12.0, False, "is not significant"), (9.0, True, "are not better"), (10.0, True, "are not better")],
)
def test_gap_closed_is_not_a_number_without_a_gap(teachers: float, significant: bool, reason: str) -> None:
    macro = {name: {"score": value} for name, value in (("mixed", 10.0), ("teachers", teachers), ("student", 11.0))}
    found = gap_closed(macro, {"teachers": {"significant": significant}})
    assert found["value"] is None
    assert reason in found["reason"]


def test_without_mixed_nothing_is_compared(inputs: EvaluationInputs) -> None:
    results = evaluate(replace(inputs, systems=["generic", "student"], resamples=10))
    assert results["baseline"] is None
    assert results["significance"] == {}
    assert results["pooled"] == {}
    assert results["gap_closed"]["bleu"]["reason"] == "not among the systems: mixed, teachers"
    assert results["heatmap"]["bleu"]["teacher.law"]["office"]["score"] > 0


def test_missing_and_short_translations_are_named(inputs: EvaluationInputs) -> None:
    without = {model: of for model, of in inputs.hypotheses.items() if model != "teacher.office"}
    with pytest.raises(MtkdError, match=r"no translation of 'office' by 'teacher\.office'"):
        evaluate(replace(inputs, hypotheses=without))
    short = inputs.hypotheses | {"student": inputs.hypotheses["student"] | {"law": ["nur eine"]}}
    with pytest.raises(MtkdError, match="student on law: 1 hypotheses for 40 references"):
        evaluate(replace(inputs, hypotheses=short))


def test_teacher_gap_warns_where_there_is_nothing_to_distil() -> None:
    lines = {"law": sentences(1), "office": sentences(2)}
    mixed = {domain: damaged(of, 0.4, 3) for domain, of in lines.items()}
    found = teacher_gap(
        {"mixed": mixed, "teacher.law": {"law": damaged(lines["law"], 0.1, 4)}, "teacher.office": mixed},
        lines,
        ["law", "office"],
        "de",
    )
    assert found["domains"]["law"]["worth_it"]
    assert not found["domains"]["office"]["worth_it"]
    assert "version:" in found["domains"]["law"]["teacher"]["signature"]
    assert found["messages"][0].startswith("domain law: the teacher is better than mixed fine-tuning (+")
    assert found["messages"][1] == (
        "domain office: the teacher is not better than mixed fine-tuning (+0.0 BLEU on dev): "
        "there is no gap for distillation to close"
    )


def test_a_small_teacher_gap_is_called_small() -> None:
    assert evaluation._gap_message("law", 0.3) == (
        "domain law: the teacher is hardly better than mixed fine-tuning (+0.3 BLEU on dev): "
        "there is almost no gap for distillation to close"
    )


def test_teacher_gap_without_mixed_says_it_is_unknown() -> None:
    found = teacher_gap({"teacher.law": {"law": ["a"]}}, {"law": ["a"]}, ["law"], "de")
    assert found["domains"] == {}
    assert "not known" in found["messages"][0]
