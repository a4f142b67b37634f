"""Text in packages, as a person types it: fetched once, held against its lock, told of when it changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from mtkd.corpus.split import SIDES, find_leaks, read_side
from mtkd.recipe_file import load_recipe
from tests.e2e.typed import mtkd
from tests.toy import write_micro
from tests.unit.made_archives import wheel

NAME = "micro_text"


def publish(mirror: Path, text: Path, *, version: str, rows: int | None = None) -> None:
    """Let pip find a wheel with that text (its first `rows` lines, header aside)."""
    lines = text.read_text(encoding="utf-8").splitlines(keepends=True)
    info = f"{NAME}-{version}.dist-info"
    files = {
        f"{NAME}/{text.name}": "".join(lines if rows is None else lines[: rows + 1]),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    content = {name: value.encode() for name, value in files.items()}
    (mirror / f"{NAME}-{version}-py3-none-any.whl").write_bytes(wheel(*content.items()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The micro recipe, the text of one of its domains in a package; its mirror is `mirror`, its cache `cache`."""
    write_micro(tmp_path, domains=2)
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text(encoding="utf-8"))
    corpus = recipe["domains"]["bank"]["corpora"][0]
    (tmp_path / "mirror").mkdir()
    text = (tmp_path / corpus["path"]).rename(tmp_path / "mirror" / "bank.tsv")
    publish(tmp_path / "mirror", text, version="1.0")
    corpus |= {"archives": [f"wheel:{NAME}"], "path": f"{NAME}/{{document}}.tsv"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    monkeypatch.setenv("MTKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", (tmp_path / "mirror").as_uri())
    return tmp_path


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return mtkd(folder, "run", "recipe.yaml", "--until", "split", *args)


def forget_what_was_asked(folder: Path) -> None:
    """Let the cache's answers be two days old, so that the mirror is asked again."""
    for record in (folder / "cache").glob("archives/*/*/archive.json"):
        then = record.stat().st_mtime - 2 * 24 * 3600
        os.utime(record, (then, then))


def test_text_in_packages_is_fetched_once_locked_and_told_of_when_it_changed(folder: Path) -> None:
    first = run(folder)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "[fetch.bank] started" in first.stdout
    again = run(folder)
    assert "nothing to do" in again.stdout

    shutil.move(folder / "mirror", folder / "away")
    offline = run(folder, "--workspace", "offline")
    assert offline.returncode == 0, offline.stdout + offline.stderr
    shutil.move(folder / "away", folder / "mirror")

    assert run(folder, "--locked", "--workspace", "locked").returncode == 2
    locked = mtkd(folder, "lock", "recipe.yaml")
    assert locked.returncode == 0, locked.stderr
    lock = json.loads((folder / "archives.lock.json").read_text(encoding="utf-8"))
    (archive,) = lock["archives"]
    assert archive["file"] == f"{NAME}-1.0-py3-none-any.whl"
    pairs = lock["pairs"]["bank"]["0"]
    assert run(folder, "--locked", "--workspace", "locked").returncode == 0

    shutil.rmtree(folder / "cache")
    publish(folder / "mirror", folder / "mirror" / "bank.tsv", version="2.0", rows=pairs["read"] - 10)
    changed = run(folder, "--workspace", "changed")
    assert changed.returncode == 0, changed.stdout + changed.stderr
    assert re.search(rf"differs from archives.lock.json: wheel:{NAME}: .*1\.0.* -> .*2\.0", changed.stdout)
    assert f"bank, corpus 0: {pairs['read']} -> {pairs['read'] - 10} pairs read" in changed.stdout

    refused = run(folder, "--locked", "--workspace", "changed")
    assert refused.returncode == 1
    assert "not the archives of archives.lock.json" in refused.stderr
    fresh = run(folder, "--locked", "--workspace", "fresh")
    assert fresh.returncode == 1
    assert "not the archives of archives.lock.json" in fresh.stdout


def test_what_was_fetched_is_split_without_leaks_and_more_text_moves_no_pair(folder: Path) -> None:
    assert run(folder).returncode == 0
    recipe = load_recipe(folder / "recipe.yaml")
    (before,) = (folder / "runs" / "micro" / "steps" / "split").iterdir()
    assert find_leaks(before, recipe.languages) == 0

    header, *rows = (folder / "mirror" / "bank.tsv").read_text(encoding="utf-8").splitlines()
    turned = ["\t".join(" ".join(reversed(field.split(" "))) for field in row.split("\t")) for row in rows]
    (folder / "turned.tsv").write_text("\n".join([header, *turned]) + "\n", encoding="utf-8")
    raw = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    raw["domains"]["bank"]["corpora"].append({"path": "turned.tsv", "licence": "CC0-1.0"})
    (folder / "recipe.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    assert run(folder, "--workspace", "more").returncode == 0
    (after,) = (folder / "more" / "steps" / "split").iterdir()

    def sides(split: Path) -> dict[tuple[str, str], str]:
        return {
            (pair.source, pair.target): side
            for side in SIDES
            for pair in read_side(split, "bank", side, recipe.languages)
        }

    old, new = sides(before), sides(after)
    kept = old.keys() & new.keys()
    assert len(kept) > 0.8 * len(old)
    assert all(old[pair] == new[pair] for pair in kept)
    assert len(new) > len(old)
