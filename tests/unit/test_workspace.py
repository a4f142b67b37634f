"""A step counts as done only if it is, and what an interruption left is kept only where it still fits."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from mtkd.context import StepContext
from mtkd.errors import MtkdError
from mtkd.plan import build_plan
from mtkd.progress import Progress
from mtkd.recipe_file import load_recipe
from mtkd.workspace import FileHashes, Workspace, read_json
from tests.unit.workflow_recipe import write_recipe


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A workspace in which everything is done."""
    place = Workspace(tmp_path / "run", build_plan(load_recipe(write_recipe(tmp_path, rows=5))))
    for name in place.plan.nodes:
        make(place, name)
    return place


def make(place: Workspace, name: str) -> None:
    """Do what a step does: write an output, then done.json."""
    place.begin(name)
    (place.dir(name) / "part").mkdir(exist_ok=True)
    (place.dir(name) / "part" / "out.bin").write_bytes(b"12345")
    place.finish(name, seconds=1.0)


def not_done(place: Workspace) -> dict[str, str]:
    return {name: state.kind for name, state in place.states().items() if not state.done}


def test_what_was_made_is_done(place: Workspace) -> None:
    assert not_done(place) == {}
    done = place.done("split")
    assert done is not None
    assert done["outputs"] == {"part/out.bin": {"bytes": 5}}
    assert done["parents"] == {"clean": place.plan.nodes["clean"].key}
    assert done["slice"] == place.plan.nodes["split"].slice
    assert done["versions"]["numpy"]


def test_a_workspace_can_be_moved(place: Workspace) -> None:
    moved = shutil.move(place.root, place.root.with_name("moved"))
    assert not_done(Workspace(Path(moved), place.plan)) == {}


def test_nothing_is_done_in_a_new_workspace(place: Workspace, tmp_path: Path) -> None:
    states = Workspace(tmp_path / "new", place.plan).states()
    assert {state.kind for state in states.values()} == {"missing"}
    assert states["clean"].why == "not made yet"
    assert states["split"].why == "waits for clean"


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_damaged_output_undoes_only_what_depends_on_it(place: Workspace, damage: str) -> None:
    output = place.dir("capture.it") / "part" / "out.bin"
    output.unlink()
    if damage == "short":
        output.write_bytes(b"1")
    undone = not_done(place)
    assert undone.pop("capture.it") == "damaged"
    assert undone == dict.fromkeys(["student", "decode.student", "evaluate", "export", "report"], "stale")


def test_a_parent_made_again_makes_its_children_stale(place: Workspace) -> None:
    make(place, "mixed")
    states = place.states()
    assert states["mixed"].done
    assert (states["decode.mixed"].kind, states["decode.mixed"].why) == ("stale", "mixed was made again")
    assert states["student"].done


def test_an_interrupted_step_keeps_its_files(place: Workspace) -> None:
    place.done_file("student").unlink()
    assert place.states()["student"].kind == "interrupted"
    place.begin("student")
    assert (place.dir("student") / "part" / "out.bin").exists()


def test_seconds_of_interrupted_runs_add_up(place: Workspace) -> None:
    folder = place.dir("student")
    place.done_file("student").unlink()
    for began, wrote in ((1000.0, 1100.0), (5000.0, 5020.0)):  # a night lies between the two runs
        os.utime(folder / "begun.json", (began, began))
        os.utime(folder / "part" / "out.bin", (wrote, wrote))
        earlier_s = place.begin("student")
    assert earlier_s == 120.0
    os.utime(folder / "begun.json", (9000.0, 9000.0))  # stopped before it wrote anything
    assert place.begin("student") == 120.0


def test_seconds_of_what_is_thrown_away_do_not_count(place: Workspace) -> None:
    place.done_file("student").unlink()
    os.utime(place.dir("student") / "begun.json", (1000.0, 1000.0))
    make(place, "capture.it")
    assert place.begin("student") == 0.0


def test_an_interrupted_step_starts_anew_after_its_parent_was_made_again(place: Workspace) -> None:
    place.done_file("student").unlink()
    make(place, "capture.it")
    place.begin("student")
    assert not (place.dir("student") / "part").exists()


def test_wiping_leaves_nothing_but_a_held_lock(place: Workspace) -> None:
    with place.lock_step("mixed"):
        place.wipe("mixed")
        assert [path.name for path in place.dir("mixed").iterdir()] == [".lock"]
    place.wipe("gap")
    assert list(place.dir("gap").iterdir()) == []


def test_a_broken_done_json_is_not_done(place: Workspace) -> None:
    place.done_file("mixed").write_text('{"name": "mi', encoding="utf-8")
    assert place.states()["mixed"].kind == "interrupted"


def test_a_held_step_and_a_held_workspace_name_the_holder(place: Workspace) -> None:
    with place.lock_step("student"), pytest.raises(MtkdError) as caught, place.lock_step("student"):
        pass
    assert str(caught.value).startswith(f"step 'student' is still running as pid {os.getpid()}")
    with place.lock_run(), pytest.raises(MtkdError) as caught, place.lock_run():
        pass
    assert f"another mtkd run is using {place.root} (pid {os.getpid()})" in str(caught.value)
    with place.lock_run():
        assert (place.private / "lock").read_text(encoding="ascii") == str(os.getpid())


def test_stable_names_follow_the_plan(place: Workspace) -> None:
    (place.dir("export") / "bundle").mkdir()
    place.link_results()
    place.link_results()
    assert place.bundle.resolve() == place.dir("export") / "bundle"
    assert place.report_page.parent.resolve() == place.dir("report")
    assert not place.bundle.readlink().is_absolute()


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    file, cache = tmp_path / "text", tmp_path / "hashes.json"
    file.write_text("one", encoding="utf-8")
    first = FileHashes(cache)(file)
    entry = json.loads(cache.read_text(encoding="utf-8"))
    entry[str(file)][2] = "remembered"
    cache.write_text(json.dumps(entry), encoding="utf-8")
    assert FileHashes(cache)(file) == "remembered"
    file.write_text("three", encoding="utf-8")
    assert FileHashes(cache)(file) not in ("remembered", first)


def test_a_step_sees_only_its_declared_parents(place: Workspace, tmp_path: Path) -> None:
    node = place.plan.nodes["student"]
    recipe = load_recipe(tmp_path / "recipe.yaml")
    context = StepContext(recipe, place.plan, place, node, 1, Progress("student"))
    assert context.dir == place.dir("student")
    assert context.log == place.log("student")
    assert context.slice["distill"]["kd_weight"] == 0.5
    assert context.parent("generic") == place.dir("generic")
    assert context.parents("capture") == {name: place.dir(f"capture.{name}") for name in ("it", "religion")}
    assert context.parents("generic") == {"generic": place.dir("generic")}
    with pytest.raises(AssertionError, match="does not declare clean"):
        context.parent("clean")


def test_read_json_of_nothing_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "nothing.json") is None
