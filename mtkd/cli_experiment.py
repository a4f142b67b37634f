"""`mtkd experiment`: every cell of an experiment, one after the other, and the page that compares them.

What it owns: the sub-command's arguments and what it prints. What it must not know: how a cell is run, what is shown.
"""
# ruff: noqa: PLC0415 - every command imports what it needs, so that `mtkd --help` is quick

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from mtkd.errors import MtkdError

if TYPE_CHECKING:
    from mtkd.experiment import Experiment, OpenCell

# A file has no width: wide enough that no cell is cut.
console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


def experiment(
    path: Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="A file, or a folder with an experiment.yaml.")],
    cells: Annotated[str | None, typer.Option(metavar="NAME,...", help="Run these cells only.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the cells and how long they take.")] = False,
    workspace: Annotated[
        Path | None, typer.Option("--workspace", help="Where to keep all cells' files [runs/<recipe's name>].")
    ] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Cores to use [all there are].")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings side by side, each on its share of the cores.")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a key of the recipe, for all cells; repeatable."),
    ] = None,
) -> None:
    """Run one recipe with several settings in one workspace, and compare what comes out."""
    from mtkd.experiment import chosen, load_experiment, open_cells, run_cell
    from mtkd.processes import available_cores

    loaded, overrides = load_experiment(path), set_ or []
    opened = open_cells(loaded, workspace, overrides)
    wanted = chosen(opened, cells)
    _print_budget(wanted)
    if dry_run:
        return
    failed = []
    for number, cell in enumerate(wanted, start=1):
        console.print(f"cell {cell.cell.name} ({number} of {len(wanted)})")
        try:
            if not run_cell(loaded, cell, cores=cores or available_cores(), jobs=jobs, console=console):
                failed.append(cell.cell.name)
        except KeyboardInterrupt:
            Console(stderr=True).print("interrupted; the same command continues", style="red")
            raise typer.Exit(130) from None
        _write_pages(loaded, opened, overrides)
    if failed:
        raise MtkdError(f"not done: {', '.join(failed)}; mend what failed, and the same command continues")


def _write_pages(loaded: Experiment, opened: list[OpenCell], overrides: list[str]) -> None:
    """Collect what is known so far of all cells, chosen or not."""
    from mtkd.experiment import collect, write_collected
    from mtkd.experiment_page import write_page

    found = collect(loaded, opened, overrides)
    folder = write_collected(found, opened[0].place.root)
    write_page(found, folder)
    console.print(f"experiment: {os.path.relpath(folder)}")


def _print_budget(wanted: list[OpenCell]) -> None:
    """A row a training that is not done, and how long all will take."""
    from mtkd.check import matmul_flops
    from mtkd.experiment import still_to_do
    from mtkd.time_budget import budget, budget_notes, duration, measured_speeds, total_seconds

    first = wanted[0]
    speeds = measured_speeds([cell.place for cell in wanted], matmul_flops(), first.recipe.subword.vocab_size)
    table = Table(
        "cell",
        Column("step", overflow="fold"),
        *(Column(title, justify="right") for title in ("updates", "target tokens", "at most")),
    )
    everything = []
    for cell, nodes in zip(wanted, still_to_do(wanted).values(), strict=True):
        steps = budget(cell.place, nodes, speeds)
        everything += steps
        trainings = [step for step in steps if step.updates]
        for step in trainings:
            shown = f"{step.updates:,}", f"{step.tokens:,}", duration(step.seconds or 0)
            table.add_row(cell.cell.name, step.step, *shown)
        rest = [step for step in steps if not step.updates]
        known = [step for step in rest if step.seconds is not None]
        told = f"{len(rest)} other steps" if rest else "all done"
        if rest or not trainings:
            table.add_row(cell.cell.name, told, "", "", duration(total_seconds(known)) if known else "")
    console.print(table)
    console.print(f"in all at most {duration(total_seconds(everything))}; workspace: {first.place.root}")
    for note in budget_notes(everything, speeds):
        console.print(f"- {note}")
