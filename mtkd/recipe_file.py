"""Reads a recipe from YAML and words everything that is wrong with it, all at once.

What it owns: `--set`, relative paths, the existence of named files, the wording of errors. YAML and `extends`:
`recipe_yaml.py`.
What it must not know: what a recipe is good for, workspaces, torch.
Why one list of errors: who mends a recipe wants one round, not seven.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mtkd.corpus.sources import expand
from mtkd.errors import CorpusError, RecipeError
from mtkd.recipe import Recipe
from mtkd.recipe_text import Corpus
from mtkd.recipe_yaml import RECIPE_NAME, file_of, join, merged, read_chain

__all__ = ["RECIPE_NAME", "did_you_mean", "load_recipe", "resolved"]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in `path` (a file, or a folder with a recipe.yaml), changed by `key.path=value` overrides.

    Relative paths start at the folder of the file that they stand in, those in overrides at the recipe's; afterwards
    every path is absolute. A domain that is null is left out.

    Raises:
        RecipeError: every problem, one a line: `<file>: <key path>: <problem>`.
    """
    if path.is_dir():
        path /= RECIPE_NAME
    chain = read_chain(path)
    told = [f"{file.path}: {problem}" for file in chain for problem in file.problems]
    for file in chain:  # what of its paths counts in the end, and whether that is there, is seen below
        _resolve_paths(file.raw, Recipe, file.path.absolute().parent, "")
    raw = merged([file.raw for file in chain])
    problems = [problem for override in overrides for problem in _override(raw, override)]
    if isinstance(raw.get("domains"), dict):
        raw["domains"] = {name: domain for name, domain in raw["domains"].items() if domain is not None}
    problems += _resolve_paths(raw, Recipe, path.absolute().parent, "")
    recipe, found = _validated(raw)
    told += [f"{file_of(chain, problem)}: {problem}" for problem in problems + found]
    if recipe is None or told:
        raise RecipeError("\n".join(dict.fromkeys(told)))
    return recipe


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Every key of the recipe, defaults included, as JSON types."""
    return recipe.model_dump(mode="json")


def did_you_mean(wrong: str, valid: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or all the valid names where none is near."""
    names = list(valid)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else f" (valid: {', '.join(names)})" if names else ""


def _override(raw: dict[Any, Any], override: str) -> list[str]:
    """Set one `key.path=value` in `raw`; problems, if any."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        return [f"--set {override}: write KEY.PATH=VALUE"]
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return [f"--set {override}: the value is not YAML; put it in quotes"]
    *parents, last = path.split(".")
    kind: Any = Recipe
    place: Any = raw
    for key in parents:
        kind, problem = _child(kind, place, key)
        if problem:
            return [f"--set {path}: {problem}"]
        if isinstance(place, list):
            place = place[int(key)]
        else:
            place[key] = place.get(key) or {}
            place = place[key]
        if not isinstance(place, dict | list):
            return [f"--set {path}: '{key}' is a value, which has no keys"]
    _, problem = _child(kind, place, last)
    if problem:
        return [f"--set {path}: {problem}"]
    place[int(last) if isinstance(place, list) else last] = value
    return []


def _child(kind: Any, place: Any, key: str) -> tuple[Any, str]:
    """Type of `key` within a part of type `kind`, or what is wrong with the key."""
    if isinstance(place, list):
        if not key.isdecimal() or int(key) >= len(place):
            return None, f"'{key}' is not a number below {len(place)}, the length of that list"
        return _descend(kind, key), ""
    model = _model(kind)
    if model is not None and key not in model.model_fields:
        return None, f"unknown key '{key}'{did_you_mean(key, model.model_fields)}"
    if model is None and not any(get_origin(option) is dict for option in _kinds(kind)):
        return None, f"'{key}' stands below a value, which has no keys"
    return _descend(kind, key), ""


def _resolve_paths(raw: Any, kind: Any, folder: Path, path: str) -> list[str]:
    """Make every path below `raw` absolute, in place; a problem for each that names no file."""
    problems: list[str] = []
    items = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    in_archives = _model(kind) is Corpus and bool(raw.get("archives"))
    for key, value in list(items):
        below, where = _descend(kind, str(key)), join(path, key)
        if below is not None and Path in _kinds(below) and isinstance(value, str):
            if in_archives:  # the names of members, whatever archive they are in
                continue
            raw[key] = str(folder / value)
            if problem := _wrong_file(folder / value, pattern=_model(kind) is Corpus):
                problems.append(f"{where}: {problem}")
        elif below is not None:
            problems += _resolve_paths(value, below, folder, where)
    return problems


def _wrong_file(file: Path, *, pattern: bool) -> str | None:
    """What is wrong with a file that the recipe names, or with those that a pattern stands for."""
    try:
        files = [source.path for source in expand(file)] if pattern else [file]
    except CorpusError as error:
        return str(error)
    bad = next((path for path in files if not path.is_file()), None)
    if bad is None:
        return None
    return f"{'is a folder, not a file' if bad.is_dir() else 'no such file'}: {bad}"


def _validated(raw: dict[Any, Any]) -> tuple[Recipe | None, list[str]]:
    """The recipe, or every problem of its shape and, where the rest allows it, of how its parts agree."""
    try:
        return Recipe.model_validate(raw), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    problems = [line for detail in details for line in _worded(detail)]
    # How the parts agree is only looked at once each has its shape: look again with the bad keys left out.
    for detail in details:
        _leave_out(raw, detail["loc"])
    try:
        Recipe.model_validate(raw)
    except ValidationError as error:
        again = error.errors(include_url=False)
        problems += [line for detail in again if not detail["loc"] for line in _worded(detail)]
    return None, problems


def _worded(detail: ErrorDetails) -> list[str]:
    """One pydantic error as lines `<key path>: <problem>`."""
    loc = [part for part in detail["loc"] if part != "[key]"]
    path, value, kind = ".".join(map(str, loc)), detail["input"], detail["type"]
    if kind == "extra_forbidden":
        model = _model(_kind_at(loc[:-1]))
        return [f"{path}: unknown key{did_you_mean(str(loc[-1]), model.model_fields if model else ())}"]
    if kind == "missing":
        return [f"{path}: this key is missing"]
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
        return [f"{path}: {value!r} is not known{did_you_mean(str(value), valid)}"]
    if kind == "value_error":
        return [_with_nearest(path, line, value) for line in str(detail["ctx"]["error"]).splitlines()]
    if kind == "string_type" and isinstance(value, bool):
        return [f"{path}: YAML reads this as {str(value).lower()}; put it in quotes"]
    got = f" (got {value!r})" if isinstance(value, str | int | float | bool | None) else ""
    return [f"{path}: {detail['msg'][0].lower()}{detail['msg'][1:]}{got}".removeprefix(": ")]


def _with_nearest(path: str, line: str, value: Any) -> str:
    """Word a validator's `problem|valid,names`; without a value of its own, the problem's key path holds the name."""
    problem, _, valid = line.partition("|")
    wrong = value if isinstance(value, str) else problem.partition(":")[0].rpartition(".")[2]
    nearest = did_you_mean(wrong, valid.split(",")) if valid else ""
    return (f"{path}: " if path else "") + problem + nearest


def _leave_out(raw: Any, loc: Sequence[int | str]) -> None:
    """Delete what stands at `loc`, if anything does."""
    *parents, last = loc or ("",)
    for key in parents:
        try:
            raw = raw[key]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(raw, dict):
        raw.pop(last, None)


def _kind_at(loc: Sequence[int | str]) -> Any:
    kind: Any = Recipe
    for key in loc:
        kind = _descend(kind, str(key))
    return kind


def _descend(kind: Any, key: str) -> Any:
    """Declared type of what `key` names within something of type `kind`; None where nothing is declared."""
    for option in _kinds(kind):
        if isinstance(option, type) and issubclass(option, BaseModel):
            field = option.model_fields.get(key)
            return field.annotation if field else None
        if get_origin(option) in (dict, list):
            return get_args(option)[-1]
    return None


def _model(kind: Any) -> type[BaseModel] | None:
    """The part that a declared type stands for, if it stands for one."""
    return next((k for k in _kinds(kind) if isinstance(k, type) and issubclass(k, BaseModel)), None)


def _kinds(kind: Any) -> list[Any]:
    """The alternatives of a declared type, without Annotated and Optional around them."""
    if get_origin(kind) is Annotated:
        return _kinds(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [option for part in get_args(kind) for option in _kinds(part)]
    return [kind]
