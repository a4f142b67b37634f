"""The systems that are compared in the plan: what each needs, and what none of them changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtkd.graph import STEP_VERSIONS, Plan
from mtkd.plan import build_plan
from mtkd.recipe_file import load_recipe
from mtkd.systems import SYSTEMS, text_node
from tests.unit.test_plan_distill import SWEEP, WITHOUT_REFERENCES
from tests.unit.workflow_recipe import write_recipe

BEFORE = {
    "clean": "6ba85d9b",
    "split": "9ea92fa9",
    "subword": "ff518987",
    "binarize": "f128d17f",
    "generic": "b9370baf",
    "teacher.it": "5e0a0711",
    "teacher.religion": "62f5bba2",
    "mixed": "749f8a6f",
    "decode.generic": "0a930814",
    "decode.mixed": "e56df5d0",
    "decode.teacher.it": "7ff711c1",
    "decode.teacher.religion": "9c88135d",
    "gap": "f7bf8202",
    "transfer.it": "5c14f130",
    "capture.it": "af59027e",
    "capture.religion": "f47dd2db",
    "capture.it_transfer": "b09dd804",
    "student": "6c974004",
    "decode.student": "73e20335",
    "student.kd1_t1": "aa192c33",
    "decode.student.kd1_t1": "95e0d691",
    "student.kd0.5_t2": "36e554cf",
    "decode.student.kd0.5_t2": "92c2145d",
    "student.kd1_t2": "d1f308ff",
    "decode.student.kd1_t2": "edd5dfbc",
    "sweep": "0e6dde0e",
}
"""Keys of a recipe that uses nothing newer than sweeps, as they were before there were other systems than four."""
ALL = f"systems=[{', '.join(SYSTEMS)}]"
HELD_OUT = "held_out={cooking: {corpora: [{path: text/cooking.tsv, licence: MIT}]}}"
ROBUSTNESS = "robustness=[typos, short]"
REMADE = {"evaluate", "export", "report"}
"""What every further system changes."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = write_recipe(tmp_path, rows=5)
    (tmp_path / "text" / "more.tsv").write_text("src\na sentence\n", encoding="utf-8")
    (tmp_path / "text" / "cooking.tsv").write_text("src\ttgt\na\tb\n", encoding="utf-8")
    return path


def plan_of(path: Path, *overrides: str) -> Plan:
    return build_plan(load_recipe(path, list(overrides)), lambda file: file.name)


def test_workspaces_made_before_stay_valid(path: Path) -> None:
    nodes = plan_of(path, *SWEEP, WITHOUT_REFERENCES).nodes
    assert {name: node.key for name, node in nodes.items() if name in BEFORE} == BEFORE
    assert nodes.keys() - BEFORE.keys() == {"corpora", *REMADE}


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_further_system_changes_no_other(path: Path, system: str) -> None:
    before = plan_of(path, "systems=[mixed, student]").nodes
    plan = plan_of(path, f"systems=[{', '.join(dict.fromkeys(['mixed', 'student', system]))}]")
    changed = {name for name, node in before.items() if plan.nodes[name].key != node.key}
    assert changed <= REMADE | {"report"}
    assert bool(changed) == (system not in ("mixed", "student"))
    assert all(f"decode.{model}" in plan.nodes["evaluate"].parents for model in plan.systems[system])


def test_every_step_has_its_nodes_somewhere(path: Path) -> None:
    fetched = "domains.it.corpora.0.archives=[deb:it]"
    plan = plan_of(path, WITHOUT_REFERENCES, *SWEEP, fetched, ALL, ROBUSTNESS)
    assert {node.step for node in plan.nodes.values()} == set(STEP_VERSIONS)
    seen: set[str] = set()
    for node in plan.nodes.values():
        assert seen.issuperset(node.parents), node.name
        seen.add(node.name)


def test_tagged_is_mixed_but_for_its_name(path: Path) -> None:
    nodes = plan_of(path, ALL).nodes
    mixed, tagged = nodes["mixed"], nodes["tagged"]
    assert (tagged.slice, tagged.parents) == (mixed.slice, mixed.parents)
    assert nodes["decode.tagged"].slice["tags"] == ["it", "religion"]
    assert "tags" not in nodes["decode.mixed"].slice


def test_sequence_kd_is_mixed_on_its_teachers_translations(path: Path) -> None:
    nodes = plan_of(path, "systems=[sequence_kd, student]").nodes
    translated = ["translate.it", "translate.religion"]
    assert list(nodes["sequence_kd"].parents) == ["binarize", "generic", *translated]
    assert nodes["sequence_kd"].slice == plan_of(path).nodes["mixed"].slice
    assert nodes["translate.it"].parents == ("split", "subword", "binarize", "teacher.it")
    assert not [name for name in nodes if name.endswith("_translated")]
    assert nodes["translate.it"].all_cores


def test_word_and_sequence_kd_captures_what_was_translated_and_the_student_does_not_see_it(path: Path) -> None:
    nodes = plan_of(path, "systems=[word_and_sequence_kd, student]", *SWEEP).nodes
    capture = nodes["capture.it_translated"]
    assert capture.parents == ("binarize", "translate.it", "teacher.it")
    assert (capture.slice["corpus"], capture.slice["domain"]) == ("it_translated", "it")
    assert text_node("it_translated") == "translate.it"
    learnt = nodes["word_and_sequence_kd"]
    assert {"translate.it", "capture.it_translated", "teacher.it"} <= set(learnt.parents)
    assert learnt.slice["distill"] == nodes["student"].slice["distill"]
    assert "capture.it" not in learnt.parents
    students = [node for node in nodes.values() if node.step == "student"]
    assert len(students) > 1
    assert not [parent for node in students for parent in node.parents if "transl" in parent]


def test_online_teachers_believe_in_translations_too(path: Path) -> None:
    nodes = plan_of(path, "systems=[word_and_sequence_kd, student]", "distill.source=online").nodes
    assert not [name for name in nodes if name.startswith("capture")]
    assert {"teacher.it", "translate.it"} <= set(nodes["word_and_sequence_kd"].parents)


@pytest.mark.parametrize(("system", "node"), [("uniform_ensemble", "uniform_ensemble"), ("routing", "route")])
def test_systems_of_teachers_decode_all_teachers_and_train_nothing(path: Path, system: str, node: str) -> None:
    before = plan_of(path, "systems=[teachers, student]").nodes
    plan = plan_of(path, f"systems=[{system}, student]")
    assert plan.systems[system] == ("teacher.it", "teacher.religion")
    assert plan.nodes.keys() - before.keys() == {node}
    assert {node, "decode.teacher.it", "decode.teacher.religion"} <= set(plan.nodes["evaluate"].parents)


def test_a_classifier_needs_no_model(path: Path) -> None:
    assert plan_of(path, ALL).nodes["route"].parents == ("split",)
    assert plan_of(path, ALL, ROBUSTNESS).nodes["route"].parents == ("split", "robustness")


def test_changed_test_sets_are_translated_by_what_the_student_is_compared_with(path: Path) -> None:
    nodes = plan_of(path, ALL, ROBUSTNESS).nodes
    decoded = [node for node in nodes.values() if node.step == "decode_perturbed"]
    assert {node.target for node in decoded} == {"mixed", "routing", "teachers", "student"}
    assert nodes["decode_perturbed.routing"].parents[2] == "route"
    assert {node.name for node in decoded} < set(nodes["evaluate"].parents)
    plain = plan_of(path, ALL).nodes
    assert {name for name, node in plain.items() if nodes[name].key != node.key} == REMADE | {"route"}


def test_held_out_text_is_decoded_by_all_and_learnt_by_none(path: Path) -> None:
    nodes = plan_of(path, ALL, HELD_OUT).nodes
    assert "cooking" in nodes["clean"].slice["texts"]
    for name, node in nodes.items():
        if node.step in ("decode", "uniform_ensemble"):
            assert "cooking" in node.slice["sides"]["test"], name
            assert "cooking" not in node.slice["sides"].get("dev", []), name
    assert "teacher.cooking" not in nodes
    assert nodes["subword"].slice == plan_of(path, ALL).nodes["subword"].slice
    recipe = load_recipe(path, [HELD_OUT])
    assert list(recipe.trained_groups()) == ["it", "religion"]
    assert list(recipe.corpora_groups()) == ["it", "religion", "cooking"]
    assert list(recipe.with_groups({"cooking": recipe.held_out["cooking"]}).corpora_groups()) == ["cooking"]
