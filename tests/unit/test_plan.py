"""The plan has the right steps, and a key changes exactly when the step's outputs would."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from mtkd.errors import UsageError
from mtkd.graph import STEP_VERSIONS, Plan
from mtkd.plan import build_plan
from mtkd.recipe import SystemName
from mtkd.recipe_file import load_recipe
from mtkd.systems import SYSTEMS
from tests.unit.workflow_recipe import write_recipe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "model.pt").write_bytes(b"weights")
    return write_recipe(tmp_path, rows=5)


FOR_SOME = {"fetch", "transfer", "sweep", "tagged", "translate", "sequence_kd", "word_and_sequence_kd"}
FOR_SOME |= {"uniform_ensemble", "route", "robustness", "decode_perturbed"}
"""Steps that a plain recipe has not."""


def plan_of(path: Path, *overrides: str) -> Plan:
    return build_plan(load_recipe(path, list(overrides)))


def changed(path: Path, *overrides: str) -> set[str]:
    """Nodes of the plain plan whose directory an override changes."""
    before, after = plan_of(path).nodes, plan_of(path, *overrides).nodes
    return {name for name in before if name not in after or before[name].key != after[name].key}


def test_whole_plan(path: Path) -> None:
    plan = plan_of(path)
    expected = "clean split corpora subword binarize generic teacher.it teacher.religion mixed decode.generic"
    expected += " decode.mixed decode.teacher.it decode.teacher.religion gap capture.it capture.religion student"
    expected += " decode.student evaluate export report"
    assert list(plan.nodes) == expected.split()
    assert plan.systems["teachers"] == ("teacher.it", "teacher.religion")
    decode = plan.nodes["decode.teacher.it"]
    assert (decode.step, decode.target) == ("decode", "teacher.it")
    teachers = ("teacher.it", "teacher.religion")
    assert plan.nodes["student"].parents == ("binarize", "generic", *teachers, "capture.it", "capture.religion")


def test_parents_come_before_children_and_every_step_is_known(path: Path) -> None:
    nodes = list(plan_of(path).nodes.values())
    seen: set[str] = set()
    for node in nodes:
        assert seen.issuperset(node.parents)
        seen.add(node.name)
    assert {node.step for node in nodes} == set(STEP_VERSIONS) - FOR_SOME


def test_every_system_of_a_recipe_has_its_models() -> None:
    assert tuple(SYSTEMS) == get_args(SystemName)


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("domains.it.corpora.0.licence=MIT", {"corpora", "export", "report"}),
        ("name=other", {"corpora", "export", "report"}),
        ("distill.kd_weight=0.7", {"student", "decode.student", "evaluate", "export", "report"}),
        (
            "distill.top_k=4",
            {"capture.it", "capture.religion", "student", "decode.student", "evaluate", "export", "report"},
        ),
        (
            "sampling.temperature=2",
            {"mixed", "decode.mixed", "gap", "student", "decode.student", "evaluate", "export", "report"},
        ),
    ],
)
def test_a_changed_key_changes_only_what_depends_on_it(path: Path, override: str, first: set[str]) -> None:
    assert changed(path, override) == first


def test_decoding_changes_no_training(path: Path) -> None:
    trained = {"generic", "teacher.it", "teacher.religion", "mixed", "student", "capture.it", "capture.religion"}
    assert changed(path, "decoding.beam=1").isdisjoint(trained)


def test_filters_change_everything(path: Path) -> None:
    assert changed(path, "domains.it.filters.max_words=9") == set(plan_of(path).nodes)


def test_contents_count_and_paths_do_not(path: Path) -> None:
    before = plan_of(path).nodes["clean"].key
    text = path.parent / "text" / "it.tsv"
    text.rename(path.parent / "moved.tsv")
    override = "domains.it.corpora.0.path=moved.tsv"
    assert plan_of(path, override).nodes["clean"].key == before
    (path.parent / "moved.tsv").write_text("src\ttgt\na\tb\n", encoding="utf-8")
    assert plan_of(path, override).nodes["clean"].key != before


def test_a_raised_step_version_makes_new_directories(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan_of(path).nodes
    monkeypatch.setitem(STEP_VERSIONS, "capture", 99)
    after = plan_of(path).nodes
    assert after["capture.it"].key != before["capture.it"].key
    assert after["student"].key != before["student"].key
    assert after["teacher.it"].key == before["teacher.it"].key


def test_two_shapes_have_two_generic_models(path: Path) -> None:
    nodes = plan_of(path, "model.teacher=base").nodes
    assert nodes["teacher.it"].parents == ("binarize", "generic")
    assert nodes["student"].parents[:2] == ("binarize", "generic.tiny")
    assert "decode.generic.tiny" in nodes
    assert "decode.generic" not in nodes


def test_without_kd_there_are_no_captures(path: Path) -> None:
    nodes = plan_of(path, "distill.kd_weight=0").nodes
    assert not [name for name in nodes if name.startswith("capture")]
    assert "teacher.it" in nodes
    alone = plan_of(path, "distill.kd_weight=0", "systems=[mixed, student]").nodes
    assert not [name for name in alone if "teacher" in name or name == "gap"]


def test_unwanted_systems_are_not_made_but_their_teachers_are(path: Path) -> None:
    nodes = plan_of(path, "systems=[student]").nodes
    assert {"teacher.it", "capture.it"} <= nodes.keys()
    assert nodes.keys().isdisjoint({"mixed", "decode.teacher.it", "decode.generic", "gap"})


def test_brought_models_are_not_trained(path: Path) -> None:
    nodes = plan_of(path, "teachers.it.checkpoint=model.pt", "generic.checkpoint=model.pt").nodes
    teacher = nodes["teacher.it"]
    assert teacher.parents == ("binarize",)
    assert teacher.slice["checkpoint"].startswith("sha256:")
    assert "training" not in nodes["generic"].slice
    assert "training" in nodes["teacher.religion"].slice


def test_select_by_node_and_by_step(path: Path) -> None:
    plan = plan_of(path)
    assert [node.name for node in plan.select("teacher")] == ["teacher.it", "teacher.religion"]
    assert [node.name for node in plan.select("teacher.it")] == ["teacher.it"]
    with pytest.raises(UsageError, match=r"no step 'techer' \(did you mean 'teacher'\?\)"):
        plan.select("techer")


def test_ancestors_are_all_that_is_needed(path: Path) -> None:
    plan = plan_of(path)
    names = [node.name for node in plan.with_ancestors(plan.select("capture.it"))]
    assert names == ["clean", "split", "subword", "binarize", "generic", "teacher.it", "capture.it"]


def test_the_gap_is_known_before_the_student_trains(path: Path) -> None:
    nodes: dict[str, Any] = plan_of(path).nodes
    line = [nodes[name].priority for name in ("generic", "teacher.it", "mixed", "decode.mixed", "gap", "capture.it")]
    assert line == sorted(line, reverse=True)
    assert min(line) > nodes["student"].priority > nodes["evaluate"].priority
    assert nodes["student"].all_cores
    assert not nodes["gap"].all_cores
