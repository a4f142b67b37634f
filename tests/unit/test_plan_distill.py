"""Soft targets in the plan: which teachers score which rows, text without references, sweeps, online teachers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtkd.distill.weighting import WEIGHTING_RULES
from mtkd.graph import Plan
from mtkd.plan import build_plan
from mtkd.recipe_file import load_recipe
from mtkd.systems import corpus_teachers, sweep_students
from tests.unit.workflow_recipe import write_recipe

SWEEP = ("sweep.kd_weight=[0, 0.5, 1]", "sweep.temperature=[1, 2]")
WITHOUT_REFERENCES = (
    "domains.it.corpora=[{path: text/it.tsv, licence: MIT}, {path: text/more.tsv, references: none, licence: MIT}]"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = write_recipe(tmp_path, rows=5)
    (tmp_path / "text" / "more.tsv").write_text("src\na sentence\n", encoding="utf-8")
    return path


def plan_of(path: Path, *overrides: str) -> Plan:
    return build_plan(load_recipe(path, list(overrides)))


def remade(path: Path, before: tuple[str, ...], after: tuple[str, ...]) -> set[str]:
    old, new = plan_of(path, *before).nodes, plan_of(path, *after).nodes
    return {name for name, node in new.items() if name not in old or old[name].key != node.key}


@pytest.mark.parametrize(
    ("rule", "parents"),
    [
        ("in_domain", ["teacher.it"]),
        ("uniform", ["teacher.it", "teacher.religion"]),
        ("generalist_and_specialist", ["generic", "teacher.it"]),
    ],
)
def test_only_the_teachers_that_a_rule_names_are_run(path: Path, rule: str, parents: list[str]) -> None:
    node = plan_of(path, f"distill.weighting={rule}").nodes["capture.it"]
    assert list(node.parents) == ["binarize", *parents]
    assert sum(node.slice["weights"].values()) == pytest.approx(1.0)


@pytest.mark.parametrize("rule", WEIGHTING_RULES)
def test_student_knows_every_teacher_that_it_learns_from(path: Path, rule: str) -> None:
    nodes = plan_of(path, f"distill.weighting={rule}").nodes
    scored_by = {parent for name in ("capture.it", "capture.religion") for parent in nodes[name].parents}
    assert scored_by <= {"binarize", *nodes["student"].parents}


def test_a_generalist_of_another_shape_is_the_teachers_own(path: Path) -> None:
    nodes = plan_of(path, "distill.weighting=generalist_and_specialist", "model.teacher=base").nodes
    assert "generic" in nodes["capture.it"].parents
    assert "generic.tiny" in nodes["student"].parents


def test_text_without_references_is_translated_and_captured_and_moves_nothing_else(path: Path) -> None:
    nodes = plan_of(path, WITHOUT_REFERENCES).nodes
    assert nodes["transfer.it"].parents == ("split", "subword", "binarize", "teacher.it")
    assert nodes["capture.it_transfer"].parents == ("binarize", "transfer.it", "teacher.it")
    assert {"transfer.it", "capture.it_transfer"} <= set(nodes["student"].parents)
    assert "transfer.it" not in nodes["mixed"].parents
    after = {"transfer.it", "capture.it_transfer", "student", "decode.student", "evaluate", "export", "report"}
    assert remade(path, ("domains.it.corpora.0.licence=MIT",), (WITHOUT_REFERENCES,)) == after


def test_a_sweep_shares_captures_and_the_students_that_the_run_has(path: Path) -> None:
    plan = plan_of(path, *SWEEP)
    students = ["mixed", "student", "student.kd1_t1", "student.kd0.5_t2", "student.kd1_t2"]
    assert list(plan.nodes["sweep"].slice["students"]) == students
    assert plan.nodes["sweep"].parents == ("split", *students, *(f"decode.{name}" for name in students))
    assert plan.nodes["capture.it"].slice["temperatures"] == [1.0, 2.0]
    assert plan.nodes["decode.student.kd1_t2"].slice["sides"] == {"test": [], "dev": ["it", "religion"]}
    assert plan.nodes["decode.student"].slice["sides"]["dev"] == ["it", "religion"]
    assert "decode.student.kd1_t2" not in plan.nodes["evaluate"].parents


def test_sweep_without_mixed_trains_its_own_point_at_zero(path: Path) -> None:
    recipe = load_recipe(path, [*SWEEP, "systems=[student]"])
    assert sweep_students(recipe)["student.kd0_t1"] == (0.0, 1.0)
    node = build_plan(recipe).nodes["student.kd0_t1"]
    assert not [parent for parent in node.parents if parent.startswith("capture")]


def test_a_larger_captured_k_lets_k_change_without_capturing(path: Path) -> None:
    assert "capture.it" in remade(path, (), ("distill.top_k=4",))
    captured = "distill.captured.top_k=16"
    changed = remade(path, (captured,), (captured, "distill.top_k=4"))
    assert changed == {"student", "decode.student", "evaluate", "export", "report"}


def test_gates_decide_whether_a_student_is_trained_and_not_what_it_is(path: Path) -> None:
    assert remade(path, (), ("distill.gates.coverage=0.9",)) == {"report"}


def test_online_teachers_are_parents_and_nothing_is_captured(path: Path) -> None:
    nodes = plan_of(path, "distill.source=online").nodes
    assert not [name for name in nodes if name.startswith("capture")]
    assert {"teacher.it", "teacher.religion"} <= set(nodes["student"].parents)


def test_loss_weights_count_for_student_and_mixed_alike(path: Path) -> None:
    changed = remade(path, (), ("sampling.loss_weights={it: 2}",))
    assert {"student", "mixed"} <= changed
    assert "teacher.it" not in changed


def test_transfer_text_is_taught_by_its_domains_teachers(path: Path) -> None:
    recipe = load_recipe(path, [WITHOUT_REFERENCES, "distill.weighting=uniform"])
    assert corpus_teachers(recipe)["it_transfer"] == {"it": 0.5, "religion": 0.5}
