"""`mtkd init`, from a folder of translations to a recipe, and `mtkd lock`, which records a recipe's archives.

What it owns: the sub-commands' arguments and what they print. What it must not know: how text is found, what is chosen.
"""
# ruff: noqa: PLC0415 - every command imports what it needs, so that `mtkd --help` is quick

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

if TYPE_CHECKING:
    from mtkd.init_recipe import Initialised

# A file has no width: wide enough that no cell is cut.
console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Translations: TMX, XLIFF, PO, MO, TSV, x.en + x.de.")
    ],
    source: Annotated[str | None, typer.Option(metavar="CODE", help="Source language [what the files say].")] = None,
    target: Annotated[str | None, typer.Option(metavar="CODE", help="Target language [what the files say].")] = None,
    preset: Annotated[str, typer.Option(help="Shape of teachers and student.")] = "tiny",
    output: Annotated[Path | None, typer.Option(help="The recipe to write [FOLDER/recipe.yaml].")] = None,
) -> None:
    """Write a commented recipe for a folder of translations; its folders become domains."""
    from mtkd.init_recipe import init_recipe

    with console.status("looking for translations") as status:
        made = init_recipe(folder, output, source=source, target=target, preset=preset, progress=status.update)
    _print_found(made)
    recipe = folder if output is None else output
    console.print(f"\nrecipe: {made.path}\nnext: mtkd check {recipe}\n      mtkd run {recipe}")


def lock(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file, or a folder with a recipe.yaml.")],
    workspace: Annotated[
        Path | None, typer.Option("--workspace", help="Where the run keeps its files [runs/<recipe's name>].")
    ] = None,
) -> None:
    """Record beside a recipe which archives a run of it used, and how many pairs they had."""
    from mtkd.archive_lock import write_recipe_lock
    from mtkd.pipeline import open_workspace
    from mtkd.recipe_file import load_recipe

    loaded = load_recipe(recipe)
    path = write_recipe_lock(recipe, open_workspace(loaded, workspace or Path("runs") / loaded.name))
    console.print(f"lock: {path}")


def _print_found(made: Initialised) -> None:
    """A row a file, what is left of every domain, and the files that are not used."""
    table = Table("domain", Column("file", overflow="fold"), "reader", Column("pairs", justify="right"))
    root = made.discovery.folder
    for group, corpora in made.discovery.groups.items():
        for counted in corpora:
            files = " + ".join(str(path.relative_to(root)) for path in counted.corpus.names().values())
            table.add_row(group, files, counted.corpus.reader, f"{counted.pairs:,}")
    console.print(table)
    for group, of in made.sides.items():
        kept = f"{of.kept:,} pairs left after cleaning"
        console.print(f"{group}: {kept}; about {of.train:,} train, {of.dev:,} dev, {of.test:,} test")
    for file in made.discovery.unusable:
        console.print(f"not used: {file.path}: {file.reason}")
    languages = made.discovery.languages
    console.print(f"languages: {languages.source} to {languages.target}")
