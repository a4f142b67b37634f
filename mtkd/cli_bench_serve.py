"""`mtkd bench serve`: the service beside the bare model, and beside what a user would write first.

What it owns: its arguments and tables. What it must not know: how anything is measured.
"""
# ruff: noqa: PLC0415 - every command imports what it needs, so that `mtkd --help` is quick

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


class Part(StrEnum):
    """What can be measured by itself."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"
    INVARIANCE = "invariance"
    READY = "ready"
    OVERLOAD = "overload"
    SUSTAINED = "sustained"


def serve(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="A run's folder: runs/<name>.")],
    model: Annotated[
        str, typer.Option(help="What of it is served; e.g. generic, while no student is trained.")
    ] = "student",
    sentences: Annotated[int, typer.Option(min=1, help="At most so many of its test sets' sentences.")] = 1000,
    connections: Annotated[int, typer.Option(min=1, help="Connections that ask at once.")] = 64,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the sustained load.")] = 60.0,
    rounds: Annotated[int, typer.Option(min=5, help="How often each variant is measured.")] = 5,
    only: Annotated[list[Part] | None, typer.Option(help="Measure this part; repeatable [all].")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for all that was measured.")] = None,
) -> None:
    """The service under load, against the bare model and against fairseq behind a plain handler."""
    from mtkd.bench import serve as bench
    from mtkd.bench.record import write_record
    from mtkd.bench.serve_figures import HEADER, rows
    from mtkd.bench.serve_subject import subject_of

    subject = subject_of(workspace, sentences=sentences, model=model)
    command = f"mtkd {shlex.join(sys.argv[1:])}"
    with console.status("starting") as status:
        found = bench.serve(
            command,
            subject,
            parts=[part for part in bench.PARTS if not only or part in only],
            rounds=rounds,
            seconds=seconds,
            connections=connections,
            tell=status.update,
        )
    console.print(f"{found['device']}, {found['cores']} cores, {len(subject.sentences)} sentences")
    for result in found["results"]:
        console.print(
            f"\n{result['part']}" + "".join(f", {name} {value}" for name, value in result["settings"].items())
        )
        table = Table(*(Column(title, justify="left" if title == HEADER[0] else "right") for title in HEADER))
        for row in rows(result):
            table.add_row(*row)
        console.print(table)
    if output is not None:
        write_record(output, found)
        console.print(f"figures: {output}")
