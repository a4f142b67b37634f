"""One step: real ones on a small text, and every way they end."""

from __future__ import annotations

import errno
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mtkd.errors import MtkdError, UsageError
from mtkd.pipeline import open_workspace
from mtkd.recipe import Recipe
from mtkd.recipe_file import load_recipe
from mtkd.runner import disk_full, run_step
from mtkd.workspace import Workspace
from tests.unit.workflow_recipe import write_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_recipe(write_recipe(tmp_path))


@pytest.fixture
def place(tmp_path: Path, recipe: Recipe) -> Workspace:
    return open_workspace(recipe, tmp_path / "run")


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_step_is_done_with_what_it_measured(
    recipe: Recipe, place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_step("clean", recipe, place.root, threads=1)
    done: dict[str, Any] = place.done("clean") or {}
    assert place.states()["clean"].done
    assert "it.tsv" in done["outputs"]
    assert done["seconds"] > 0
    assert done["peak_rss_bytes"] > 10_000_000
    lines = said(capsys)
    assert lines[0] == "[clean] started"
    assert lines[-1].startswith("[clean] done in ")


def test_a_step_that_says_it_started_would_continue(
    recipe: Recipe, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {}

    class Reader(io.StringIO):
        def write(self, line: str) -> int:
            states[line] = place.states()["clean"].kind  # what is on the disk if the step is killed on this line
            return super().write(line)

    monkeypatch.setattr(sys, "stdout", Reader())
    assert run_step("clean", recipe, place.root, threads=1)
    assert states["[clean] started\n"] == "interrupted"


def test_a_step_that_is_done_is_left_alone(
    recipe: Recipe, place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run_step("clean", recipe, place.root, threads=1)
    before = place.done_file("clean").stat().st_mtime_ns
    assert run_step("clean", recipe, place.root, threads=1)
    assert place.done_file("clean").stat().st_mtime_ns == before
    assert said(capsys)[-1] == f"[clean] is done already: {place.dir('clean')}"


def test_a_damaged_step_starts_from_nothing(recipe: Recipe, place: Workspace) -> None:
    run_step("clean", recipe, place.root, threads=1)
    left = place.dir("clean") / "left.tmp"
    left.write_bytes(b"")
    (place.dir("clean") / "it.tsv").unlink()
    assert run_step("clean", recipe, place.root, threads=1)
    assert place.states()["clean"].done
    assert not left.exists()


def test_a_step_needs_its_parents(recipe: Recipe, place: Workspace) -> None:
    with pytest.raises(UsageError, match="step 'split' needs clean first; 'mtkd run' makes every step in order"):
        run_step("split", recipe, place.root, threads=1)
    with pytest.raises(UsageError, match=r"'teacher' is several steps; name one of teacher.it, teacher.religion"):
        run_step("teacher", recipe, place.root, threads=1)


def test_a_running_step_is_not_run_twice(recipe: Recipe, place: Workspace) -> None:
    with place.lock_step("clean"), pytest.raises(MtkdError, match="step 'clean' is still running as pid"):
        run_step("clean", recipe, place.root, threads=1)


def test_a_users_error_is_one_message_and_no_traceback(
    tmp_path: Path, recipe: Recipe, place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text" / "it.tsv").write_bytes(b"src\ttgt\ncaf\xe9\tb\n")
    place = open_workspace(recipe, place.root)
    assert not run_step("clean", recipe, place.root, threads=1)
    assert place.done("clean") is None
    error, log = said(capsys)[-2:]
    assert error.startswith("[clean] error: ")
    assert "line 2: not UTF-8" in error
    assert log == f"[clean] log: {place.log('clean')}"
    assert "not UTF-8" in place.log("clean").read_text(encoding="utf-8")
    assert "Traceback" not in place.log("clean").read_text(encoding="utf-8")


def test_an_unforeseen_error_leaves_its_traceback_in_the_log(
    recipe: Recipe, place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run_step("clean", recipe, place.root, threads=1)
    cleaned = place.dir("clean") / "it.tsv"
    cleaned.write_text("x" * cleaned.stat().st_size, encoding="utf-8")
    cleaned.write_text("h\n" + "x" * (cleaned.stat().st_size - 2), encoding="utf-8")
    assert not run_step("split", recipe, place.root, threads=1)
    assert any(line.startswith("[split] error: ValueError: ") for line in said(capsys))
    assert "Traceback (most recent call last)" in place.log("split").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_says_what_to_do(recipe: Recipe, place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    place.begin("clean")
    # The step writes beside its output first: into this.
    (place.dir("clean") / "it.tsv.tmp").symlink_to("/dev/full")
    assert not run_step("clean", recipe, place.root, threads=1)
    error = said(capsys)[-2]
    assert error.startswith("[clean] error: no space left on ")
    assert error.endswith("free some and run the same command again, it continues")


def test_only_a_full_disk_is_called_one(tmp_path: Path) -> None:
    assert disk_full(OSError(errno.EACCES, "no"), tmp_path) is None
    assert str(tmp_path) in (disk_full(OSError(errno.EDQUOT, "no"), tmp_path) or "")


def test_done_json_can_be_read_by_people(recipe: Recipe, place: Workspace) -> None:
    run_step("clean", recipe, place.root, threads=1)
    text = place.done_file("clean").read_text(encoding="utf-8")
    assert text.count("\n") > 20
    assert json.load(io.StringIO(text))["slice"]["texts"]["it"]["corpora"][0]["path"].startswith("sha256:")
