"""What README and docs/ show is so: commands parse, recipes load, paths and names exist, tables match the code.

Unmarked tests take seconds and run with all others; those marked `readme` need fairseq, or what a real run measured.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import numpy as np
import pytest
import yaml
from pydantic import BaseModel
from typer.main import get_command

import mtkd
from mtkd.cli import app
from mtkd.distill.store_writer import StoreWriter
from mtkd.distill.topk import StoreHeader, TeacherRows
from mtkd.graph import STEP_VERSIONS
from mtkd.plan import build_plan
from mtkd.recipe import Recipe, Training
from mtkd.recipe_file import load_recipe
from service.settings import PREFIX, Settings
from tests.readme.page import README, ROOT

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
DOCUMENTS += [f"docs/{name}.md" for name in ("recipe", "corpora", "dependencies", "service", "experiment")]
PAIRS = "".join(f"sentence {i} of the source\tSatz {i} des Zieltexts\n" for i in range(50))


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(language: str, document: str = "README.md") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", read(document), flags=re.MULTILINE | re.DOTALL)


def commands(*names: str, document: str = "README.md") -> list[list[str]]:
    """The words of every shown command of these names, without comments and redirections."""
    found = []
    for block in blocks("bash", document):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            stop = next((place for place, word in enumerate(words) if word in ("<", ">", "|", "&")), len(words))
            if words and words[0] in names:
                found.append(words[:stop])
    return found


def rows(document: str) -> list[list[str]]:
    """Cells of every table row of a document, headers and rulers included."""
    lines = re.findall(r"^\|(.*)\|$", read(document), flags=re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """README's recipe with a text in every file that it and the pieces after it name."""
    whole, *pieces = blocks("yaml")
    for block in (whole, *pieces):
        for name in re.findall(r"[\w-]+\.(?:tsv|en|de|model|txt|pt)\b", block):
            header = "src\ttgt\n" if name.endswith(".tsv") else ""
            (tmp_path / name).write_text(header + PAIRS, encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text(whole, encoding="utf-8")
    return path


def test_every_shown_command_is_of_a_known_kind() -> None:
    known = ["make", "mtkd", "source", "curl", "fairseq-train", "pytest"]
    for document in ("README.md", "CONTRIBUTING.md"):
        lines = [line for block in blocks("bash", document) for line in block.replace("\\\n", " ").splitlines()]
        shown = [line for line in lines if shlex.split(line, comments=True)]
        assert len(commands(*known, document=document)) == len(shown)


def test_shown_mtkd_commands_parse() -> None:
    group: Any = get_command(app)
    shown = commands("mtkd")
    assert {words[1] for words in shown} >= {"check", "run", "status", "export", "translate", "serve"}
    for _, name, *arguments in shown:
        with group.commands[name].make_context(name, list(arguments)) as context:
            assert context.params


def test_inline_mtkd_commands_exist() -> None:
    group: Any = get_command(app)
    inline = [words for document in DOCUMENTS for words in named(read(document)) if words.startswith("mtkd ")]
    names = {name for words in inline for name in re.findall(r"^mtkd ([a-z]+)", words)}
    assert names
    assert names <= group.commands.keys()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_shown_make_targets_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", read("Makefile"), flags=re.MULTILINE))
    shown = {words[1] for words in commands("make", document=document)}
    inline = {words.split()[1] for words in named(read(document)) if re.match(r"make [a-z]", words)}
    assert shown | inline
    assert shown | inline <= targets


def test_shown_recipes_load_with_every_shown_change(mine: Path) -> None:
    whole, *pieces = blocks("yaml")
    plan = build_plan(load_recipe(mine))
    for words in commands("mtkd"):
        changes = [value for flag, value in pairwise(words) if flag == "--set"]
        assert (load_recipe(mine, changes) == load_recipe(mine)) == (not changes)
        for step in [value for flag, value in pairwise(words) if flag in ("--until", "--force")]:
            assert plan.select(step)
    for piece in pieces:
        mine.write_text(yaml.safe_dump(yaml.safe_load(whole) | yaml.safe_load(piece)), encoding="utf-8")
        brought = load_recipe(mine)
        assert brought.teachers.keys() < brought.domains.keys()
        assert brought.generic.checkpoint


def test_every_step_is_explained() -> None:
    explained = set(re.findall(r"\*\*([a-z_]+)\*\*", README))
    assert STEP_VERSIONS.keys() - explained == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_exist(document: str) -> None:
    text = re.sub(r"^```.*?^```", "", read(document), flags=re.MULTILINE | re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    paths = [name for name in named(text) if re.match(r"(mtkd|service|tests|docs|data_recipes)/[\w./-]*$", name)]
    missing = [path for path in paths if not (ROOT / path).exists()]
    missing += [link for link in links if not (ROOT / document).parent.joinpath(link).exists()]
    assert missing == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_named_tables_are_where_the_document_says(document: str) -> None:
    found = 0
    for cells in rows(document):
        tables = [name for cell in cells for name in named(cell) if re.fullmatch(r"[A-Z]+(_[A-Z]+)+|[A-Z]{6,}", name)]
        paths = [ROOT / name for cell in cells for name in named(cell) if re.match(r"(mtkd|service)/", name)]
        files = [path / "__init__.py" if path.is_dir() else path for path in paths]
        for table in tables if files else []:
            texts = [file.read_text(encoding="utf-8") for file in files]
            assert any(re.search(rf"^{table}\b", text, re.MULTILINE) for text in texts), table
            found += 1
    assert found >= 8


def test_named_settings_of_the_service_are_all_there_are() -> None:
    # Their rows are held by tests/service/test_settings.py.
    named = set(re.findall(rf"\b({PREFIX}[A-Z_]+)\b", read("docs/service.md")))
    secret = {f"{PREFIX}METRICS_TOKEN_FILE"}
    assert named == {PREFIX + key.upper() for key in Settings.model_fields} | secret


def test_recipe_reference_has_every_key_and_its_default() -> None:
    shown = {key: cells[1] for cells in rows("docs/recipe.md") for key in named(cells[0])}
    assert shown == dict(recipe_keys(Recipe, ""))


SHOWN_WHOLE = ("sampling.weights", "held_out")
"""Mappings of which docs/recipe.md says in one row what they hold."""


def recipe_keys(part: type[BaseModel], path: str) -> Iterator[tuple[str, str]]:
    """Every key below a part of the recipe, as docs/recipe.md writes it, and its default."""
    for name, field in part.model_fields.items():
        kind, below = field.annotation, path + name
        if kind is Training:
            below = f"{path}<role>"
        if get_origin(kind) is dict and isinstance(get_args(kind)[1], type) and below not in SHOWN_WHOLE:
            kind, below = get_args(kind)[1], f"{below}.<domain>"
        list_of = [arg for arg in get_args(kind) if get_origin(kind) is list and isinstance(arg, type)]
        if list_of and issubclass(list_of[0], BaseModel):
            kind, below = list_of[0], f"{below}[]"
        optional = get_origin(kind) in (Union, UnionType)
        if isinstance(kind, type) and not optional and issubclass(kind, BaseModel):
            yield from recipe_keys(kind, f"{below}.")
        else:
            yield below, "required" if field.is_required() else as_yaml(field.default)


def as_yaml(default: Any) -> str:
    if default is None or isinstance(default, bool):
        return str(default).lower()
    return str(default).replace("'", "")


def test_every_dependency_is_explained_with_its_version() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    wanted = [*project["dependencies"], *(name for of in project["optional-dependencies"].values() for name in of)]
    names = {re.split(r"[\[><=]", name)[0].lower() for name in wanted}
    pins = dict(
        line.lower().replace("_", "-").split("==") for line in read("constraints.txt").split("\n") if "==" in line
    )
    pins["fairseq-fixed"] = re.search(r"fairseq-fixed==([\w.]+)", read("Makefile"))[1]
    pins["swagger-ui-dist"] = re.search(r"`swagger-ui-dist` ([\d.]+)", read("service/web/swagger-ui/README.md"))[1]
    shown = {cells[0].lower(): cells[1] for cells in rows("docs/dependencies.md") if len(cells) == 5}
    shown = {name: version for name, version in shown.items() if name != "package" and not name.startswith("---")}
    assert shown == {name: pins[name] for name in names | {"fairseq-fixed", "swagger-ui-dist"}}


def test_changelog_has_this_version() -> None:
    assert f"## [{mtkd.__version__}]" in read("CHANGELOG.md")


def test_shown_store_is_read(tmp_path: Path) -> None:
    [block] = [block for block in blocks("python") if "TopKStore" in block]
    header = StoreHeader("office", "v", 100, "t", {"office": "aa"}, "in_domain", 2, 3, 2, [1.0])
    writer = StoreWriter(tmp_path / "STORES" / "office", header, [1, 2])
    likely = np.log(np.array([[0.5, 0.25]] * 3)).astype(np.float16)
    tails = np.log(np.full((3, 1), 0.25)).astype(np.float16)
    writer.append(2, TeacherRows(np.array([[7, 9]] * 3), likely, tails, likely[:, 0]))
    writer.finish()
    assert run_python(block, tmp_path) == "{'office': 'aa'} [7 9] [-0.6934 -1.387 ] [-1.387]\n"


def run_python(code: str, folder: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SMALL_MODEL = """
from pathlib import Path
import torch
from fairseq import options
from fairseq.data import Dictionary
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from mtkd.fairseq_model import to_stock

shape = [f"--{side}-{name}" for side in ("encoder", "decoder") for name in ("layers=1", "embed-dim=16")]
shape += ["--encoder-ffn-embed-dim=16", "--decoder-ffn-embed-dim=16", "--share-all-embeddings", "--arch=transformer"]
arguments = options.parse_args_and_arch(options.get_training_parser(), input_args=["DATA", *shape])
dictionary = Dictionary.load("DATA/office/dict.en.txt")
model = TranslationTask(TranslationConfig(), dictionary, dictionary).build_model(arguments)
torch.save({"args": arguments, "model": model.state_dict()}, "trained.pt")
to_stock(Path("trained.pt"), Path("student.pt"), source_lang="en", target_lang="de")
"""


@pytest.mark.readme
def test_shown_student_is_loaded(tmp_path: Path) -> None:
    [block] = [block for block in blocks("python") if "student.pt" in block]
    (tmp_path / "DATA" / "office").mkdir(parents=True)
    for lang in ("en", "de"):
        (tmp_path / "DATA" / "office" / f"dict.{lang}.txt").write_text("a 1\nb 1\nc 1\nd 1\n", encoding="utf-8")
    run_python(SMALL_MODEL, tmp_path)
    shown = run_python(block + "print(type(models[0]).__name__, type(task).__name__)", tmp_path)
    assert shown == "TransformerModel TranslationTask\n"


@pytest.mark.readme
def test_fairseq_takes_the_shown_command() -> None:
    [(_, *arguments)] = commands("fairseq-train")
    done = subprocess.run(
        [sys.executable, "-m", "mtkd.fairseq_plugin.arguments", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
