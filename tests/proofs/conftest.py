"""The toy's text, teachers and student, made once for all proofs."""

from __future__ import annotations

import pytest

from tests.proofs.toy_run import SYSTEMS, ToyRun, run_toy
from tests.toy import write_toy

UPDATES = {"generic_updates": 240, "teacher_updates": 200, "student_updates": 160}


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    folder = tmp_path_factory.mktemp("toy")
    return run_toy(write_toy(folder, **UPDATES), folder / "run", SYSTEMS, until="evaluate")


@pytest.fixture(scope="session")
def toy_with_text_alone(toy: ToyRun) -> ToyRun:
    """The same text and teachers, and sentences of the first domain that nobody has translated."""
    recipe = write_toy(toy.recipe.parent / "alone", **UPDATES, transfer_sentences=1500)
    return run_toy(recipe, toy.root, SYSTEMS, until="evaluate")
