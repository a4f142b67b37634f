"""Corpora in archives and in many files: read from a recipe, planned, and found once they were fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mtkd.archive_lock import lock_beside, take_lock, write_recipe_lock
from mtkd.check import check_recipe
from mtkd.corpus.located import fetched_folder, files_of, needs_fetching, with_fetched
from mtkd.errors import CorpusError, RecipeError, UsageError
from mtkd.estimate import estimate
from mtkd.graph import Plan
from mtkd.pipeline import open_workspace, select
from mtkd.plan import build_plan
from mtkd.recipe_file import load_recipe
from tests.unit.workflow_recipe import recipe_dict, write_recipe

PAGES: dict[str, Any] = {
    "reader": "pages",
    "archives": ["deb:help-en", "deb:help-de"],
    "source": "usr/share/help/en/{document}.html",
    "target": "usr/share/help/de/{document}.html",
    "licence": "MPL-2.0",
}


def write_archived(folder: Path, *, domain: str = "it", **changes: Any) -> Path:
    """The small recipe with one domain's text in archives, after a corpus of a file."""
    raw = recipe_dict()
    raw["domains"][domain]["corpora"].append(PAGES | changes)
    path = write_recipe(folder)
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return path


def plan_of(path: Path, *overrides: str) -> Plan:
    return build_plan(load_recipe(path, list(overrides)))


def test_names_in_archives_are_left_as_they_are_and_others_start_at_the_recipe(tmp_path: Path) -> None:
    table, pages = load_recipe(write_archived(tmp_path)).domains["it"].corpora
    assert table.path == tmp_path / "text" / "it.tsv"
    assert pages.names() == {key: Path(PAGES[key]) for key in ("source", "target")}


def test_a_fetched_corpus_is_one_of_files(tmp_path: Path) -> None:
    recipe = load_recipe(write_archived(tmp_path))
    assert needs_fetching(recipe.domains["it"])
    assert not needs_fetching(recipe.domains["religion"])
    located = with_fetched(recipe, {"it": tmp_path / "fetch.it"})
    table, pages = located.domains["it"].corpora
    assert table == recipe.domains["it"].corpora[0]
    assert not needs_fetching(located.domains["it"])
    assert pages.source == fetched_folder(tmp_path / "fetch.it", 1) / PAGES["source"]
    assert located.domains["religion"] == recipe.domains["religion"]


def test_a_pattern_stands_for_files_that_are_there(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    (tmp_path / "text" / "it.tsv").rename(tmp_path / "text" / "it.one.tsv")
    (tmp_path / "text" / "it.two.tsv").write_bytes((tmp_path / "text" / "it.one.tsv").read_bytes())
    recipe = load_recipe(path, ["domains.it.corpora.0.path=text/it.{document}.tsv"])
    (files,) = files_of(recipe.domains["it"].corpora[0]).values()
    assert [file.name for file in files] == ["it.one.tsv", "it.two.tsv"]
    with pytest.raises(RecipeError, match=r"domains\.it\.corpora\.0\.path: .*no file fits"):
        load_recipe(path, ["domains.it.corpora.0.path=text/{document}.tmx"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"skip": "index("}, "not a regular expression"),
        ({"archives": ["ftp:help"]}, "archives"),
        ({"target": None}, "reader 'pages' takes source and target"),
        ({"references": "none"}, "source text alone is read by tsv or moses"),
        ({"records": "a.b"}, "records; they are for json"),
    ],
)
def test_what_no_reader_can_do_is_refused(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        load_recipe(write_archived(tmp_path, **change))


def test_fetching_is_a_step_that_cleaning_waits_for(tmp_path: Path) -> None:
    path = write_archived(tmp_path)
    plan = plan_of(path)
    assert list(plan.nodes)[:2] == ["fetch.it", "clean"]
    assert plan.nodes["clean"].parents == ("fetch.it",)
    selected = select(open_workspace(load_recipe(path), tmp_path / "run"), until="fetch")
    assert [node.name for node in selected.pending] == ["fetch.it"]


@pytest.mark.parametrize(
    ("override", "fetches_anew"),
    [
        ("domains.it.corpora.1.archives=[deb:help-en, deb:help-de=2.0]", True),
        ("domains.it.corpora.1.target=usr/share/help/de_DE/{document}.html", True),
        ("domains.it.corpora.1.skip=index", False),
        ("domains.it.filters.max_words=20", False),
    ],
)
def test_only_what_is_asked_of_archives_fetches_anew(tmp_path: Path, override: str, fetches_anew: bool) -> None:
    path = write_archived(tmp_path)
    before, after = plan_of(path).nodes, plan_of(path, override).nodes
    assert (before["fetch.it"].key != after["fetch.it"].key) is fetches_anew
    assert before["clean"].key != after["clean"].key


def test_a_document_called_otherwise_splits_otherwise_so_that_it_changes_the_key(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    pattern = "domains.it.corpora.0.path=text/i{document}.tsv"
    before = plan_of(path, pattern).nodes["clean"].key
    assert plan_of(path, pattern).nodes["clean"].key == before
    (tmp_path / "text" / "it.tsv").rename(tmp_path / "text" / "ib.tsv")
    assert plan_of(path, pattern).nodes["clean"].key != before


def test_locked_asks_for_a_lock_only_where_there_are_archives(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    take_lock(path, open_workspace(load_recipe(path), tmp_path / "run"), locked=True)
    assert not (tmp_path / "run" / ".mtkd" / "archives.lock.json").exists()
    path = write_archived(tmp_path)
    with pytest.raises(UsageError, match=r"no .*archives\.lock\.json; 'mtkd lock' writes it"):
        take_lock(path, open_workspace(load_recipe(path), tmp_path / "run"), locked=True)


def test_a_lock_is_written_from_a_finished_run_only(tmp_path: Path) -> None:
    path = write_archived(tmp_path)
    with pytest.raises(UsageError, match=r"fetch\.it, clean not done yet"):
        write_recipe_lock(path, open_workspace(load_recipe(path), tmp_path / "run"))
    assert not lock_beside(path).exists()


def test_text_that_was_not_fetched_yet_is_named_and_not_guessed(tmp_path: Path) -> None:
    recipe = load_recipe(write_archived(tmp_path))
    workspace = open_workspace(recipe, tmp_path / "run")
    found = check_recipe(recipe, workspace.plan, workspace.root)
    assert found.problems == []
    (fact,) = found.facts["it"]
    assert "deb:help-en, deb:help-de" in fact
    assert "--until fetch" in fact
    with pytest.raises(CorpusError, match="'it': its archives were not fetched yet"):
        estimate(recipe, workspace, 1e9)
