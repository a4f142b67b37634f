"""Reads a YAML file that a person wrote, and puts a recipe together with the one that it extends.

What it owns: YAML's traps (keys given twice, shared aliases), `extends`, how two recipes are merged.
What it must not know: which keys a recipe has, where their paths start.
Why `extends`: an experiment on another's text names that text, so that the two cannot drift apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mtkd.errors import RecipeError

RECIPE_NAME = "recipe.yaml"
"""The file that is meant where a folder is named."""
EXTENDS = "extends"


@dataclass(frozen=True)
class RecipeFile:
    """One file of a recipe: its mapping without `extends`, and a problem for every key that is given twice."""

    path: Path
    raw: dict[Any, Any]
    problems: list[str]


def read_chain(path: Path) -> list[RecipeFile]:
    """The files that a recipe is put together from: what it extends first, `path` itself last.

    Raises:
        RecipeError: a file that cannot be read, or that extends itself.
    """
    chain: list[RecipeFile] = []
    seen: list[Path] = []
    base: Path | None = path
    while base is not None:
        path = base
        raw, problems = read_mapping(path, RECIPE_NAME)
        seen.append(path.resolve())
        base = _base(path, raw)
        if base is not None and base.resolve() in seen:
            raise RecipeError(f"{path}: {EXTENDS}: {base} is this file, or extends it: a recipe cannot extend itself")
        chain.insert(0, RecipeFile(path, raw, problems))
    return chain


def merged(mappings: Sequence[dict[Any, Any]]) -> dict[Any, Any]:
    """One mapping from several, the last one's word being final: mappings key by key, all else replaced.

    Nothing in it is shared with what it was made of.
    """
    found: dict[Any, Any] = {}
    for raw in mappings:
        found = _merge(found, raw)
    copied: dict[Any, Any] = _unshared(found)
    return copied


def file_of(chain: Sequence[RecipeFile], problem: str) -> Path:
    """The file that a problem, `<key path>: <problem>`, is to be mended in: the last one that has the key."""
    keys = problem.partition(": ")[0].split(".")
    return next((file.path for file in reversed(chain) if _has(file.raw, keys)), chain[-1].path)


def read_mapping(path: Path, name: str) -> tuple[dict[Any, Any], list[str]]:
    """A file's mapping, and a problem for every key that is given twice; `name` is what such files are called.

    Raises:
        RecipeError: no such file, not text, not YAML, not a mapping.
    """
    kind = Path(name).stem
    a_kind = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file; name {a_kind} file, or a folder with {a_kind}.yaml") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 (byte {error.start + 1}); save it as UTF-8") from None
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = _unshared(yaml.safe_load(text))
    except RecursionError:
        raise RecipeError(f"{path}: an alias contains itself") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise RecipeError(f"{path}: not YAML: {where}{getattr(error, 'problem', None) or error}") from None
    if not isinstance(raw, dict):
        shape = "empty" if raw is None else f"a {type(raw).__name__}"
        raise RecipeError(f"{path}: {a_kind} is a mapping of keys to values, this file is {shape}")
    return raw, list(_duplicates(tree, "", set()))


def join(path: str, key: Any) -> str:
    """The path of a key below another."""
    return f"{path}.{key}" if path else str(key)


def _unshared(value: Any) -> Any:
    """A copy in which what two YAML aliases share are two things, so that `--set` changes the one it names."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _base(path: Path, raw: dict[Any, Any]) -> Path | None:
    """Take `extends` out of a file's mapping, and tell which file it names."""
    if EXTENDS not in raw:
        return None
    named = raw.pop(EXTENDS)
    if not isinstance(named, str):
        raise RecipeError(f"{path}: {EXTENDS}: name one recipe, by its path from this file's folder")
    base = Path(os.path.normpath(path.parent / named))
    base = base / RECIPE_NAME if base.is_dir() else base
    if not base.is_file():
        raise RecipeError(f"{path}: {EXTENDS}: no such file: {base}")
    return base


def _merge(below: Any, above: Any) -> Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: _merge(below.get(key), value) for key, value in above.items()}


def _has(raw: Any, keys: Sequence[str]) -> bool:
    """Whether a file says anything at a key path."""
    for key in keys:
        if isinstance(raw, list) and key.isdecimal() and int(key) < len(raw):
            raw = raw[int(key)]
        elif isinstance(raw, dict) and key in raw:
            raw = raw[key]
        else:
            return False
    return True


def _duplicates(node: Any, path: str, seen: set[int]) -> Iterator[str]:
    """YAML keeps the last of two equal keys in silence, and a domain would be gone."""
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _duplicates(item, join(path, index), seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            where, line = join(path, key.value), key.start_mark.line + 1
            if key.value in lines:
                yield f"{where}: given twice, in lines {lines[key.value]} and {line}"
            lines[key.value] = line
            yield from _duplicates(value, where, seen)
