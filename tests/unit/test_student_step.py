"""The step student looks at its soft targets before it trains: gates, teachers, how they were mixed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mtkd.context import StepContext
from mtkd.errors import GateError, MtkdError, StoreMismatch
from mtkd.pipeline import open_workspace
from mtkd.progress import Progress
from mtkd.recipe_file import load_recipe
from mtkd.steps.trainings import student
from tests.unit.store_rows import written
from tests.unit.test_capture import GOOD
from tests.unit.workflow_recipe import DOMAINS, write_recipe

GENERALIST = "distill.weighting=generalist_and_specialist"


def prepared(folder: Path, *overrides: str, report: dict[str, Any], store: dict[str, Any]) -> StepContext:
    """Everything that the student's parents leave, with reports and stores changed as asked for."""
    recipe = load_recipe(write_recipe(folder), list(overrides))
    place = open_workspace(recipe, folder / "run")
    models = {name: name.encode() for name in ("generic", *(f"teacher.{domain}" for domain in DOMAINS))}
    for name, weights in models.items():
        place.dir(name).mkdir(parents=True)
        (place.dir(name) / "model.pt").write_bytes(weights)
    place.dir("binarize").mkdir(parents=True)
    (place.dir("binarize") / "vocabulary.json").write_text('{"fingerprint": "abcd"}')
    for domain in DOMAINS:
        capture = place.dir(f"capture.{domain}")
        capture.mkdir(parents=True)
        (capture / "capture.json").write_text(json.dumps(GOOD | {"corpus": domain, "teacher": domain} | report))
        digest = hashlib.sha256(models[f"teacher.{domain}"]).hexdigest()
        written(capture / "store", **({"corpus": domain, "teachers": {domain: digest}} | store))
    return StepContext(recipe, place.plan, place, place.plan.nodes["student"], 1, Progress("student", as_events=False))


def refused(context: StepContext, error: type[MtkdError]) -> str:
    """What the step says, having started nothing."""
    with pytest.raises(error) as caught:
        student(context)
    assert context.commands == []
    assert not context.dir.exists()
    return str(caught.value)


def test_soft_targets_that_fail_their_gates_stop_the_run_with_advice_for_every_domain(tmp_path: Path) -> None:
    said = refused(prepared(tmp_path, report={"coverage": 0.1}, store={}), GateError)
    assert said.startswith("the soft targets fail their gates, the student is not trained:\n")
    lines = said.splitlines()[1:]
    assert [line.partition(":")[0] for line in lines] == list(DOMAINS)
    assert all("raise distill.top_k" in line and "relax distill.gates.coverage" in line for line in lines)


def test_store_of_another_teacher_is_refused(tmp_path: Path) -> None:
    context = prepared(tmp_path, report={}, store={"teachers": {DOMAINS[0]: "0" * 64}})
    said = refused(context, StoreMismatch)
    assert f"teacher {DOMAINS[0]}:00000000" in said
    assert "rerun step 'capture'" in said


def test_store_whose_teachers_were_mixed_otherwise_is_refused(tmp_path: Path) -> None:
    names = {"generic": "generic", DOMAINS[0]: f"teacher.{DOMAINS[0]}"}
    digests = {name: hashlib.sha256(model.encode()).hexdigest() for name, model in names.items()}
    rule = f"generalist_and_specialist(generic=0.9,{DOMAINS[0]}=0.1)"
    context = prepared(tmp_path, GENERALIST, report={}, store={"teachers": digests, "rule": rule})
    said = refused(context, StoreMismatch)
    assert rule in said
    assert f"this run's is generalist_and_specialist(generic=0.5,{DOMAINS[0]}=0.5)" in said
