"""`mtkd store`: what a top-k store holds, and whether all of it is as it was written.

What it owns: the sub-commands' arguments and what they print. What it must not know: the store's format.
"""
# ruff: noqa: PLC0415 - every command imports what it needs, so that `mtkd --help` is quick

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mtkd.errors import StoreMismatch

if TYPE_CHECKING:
    from mtkd.distill.topk import StoreHeader

app = typer.Typer(no_args_is_help=True, help="Look into a store of soft targets.")
# A file has no width: wide enough that no cell is cut.
console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)

StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="The folder 'store' of a step 'capture'.")]


@app.command()
def info(store: StorePath) -> None:
    """Print what a store says of itself, its size, and means over its tokens."""
    from mtkd.distill.store_check import figures
    from mtkd.distill.topk import TopKStore

    opened = TopKStore.open(store)
    sizes = {file.name: file.stat().st_size for file in sorted(store.iterdir())}
    means = {name.replace("_", " "): WORDING[name].format(mean) for name, mean in figures(opened).items()}
    for name, value in (_described(opened.header) | _sized(opened.header, sizes) | means).items():
        console.print(f"{name:<25}{value}")


@app.command()
def verify(store: StorePath) -> None:
    """Check every file and every token of a store; exit 1 and name files and rows if anything is wrong."""
    from mtkd.distill.store_check import find_problems
    from mtkd.distill.topk import read_header

    if problems := find_problems(store):
        raise StoreMismatch("\n".join(f"{store}: {problem}" for problem in problems) + "; rerun step 'capture'")
    header = read_header(store)
    console.print(f"{store}: {header.rows:,} rows, {header.tokens:,} tokens, all as they were written and sound")


WORDING = {
    "coverage": "{:.1%} of the mass is in the k entries",
    "top_1": "{:.1%} of the mass is in the likeliest entry",
    "tail_mass": "{:.1%} of the mass is in all others",
    "entropy": "{:.2f} nats a token, all others taken as one entry",
    "reference_perplexity": "{:.2f}",
}
"""How each of `store_check.figures` is worded."""


def _described(header: StoreHeader) -> dict[str, str]:
    return {
        "corpus": header.corpus,
        "vocabulary": f"{header.vocabulary}, {header.vocab_size:,} symbols",
        "target text": f"{header.targets[:16]}, {header.rows:,} rows, {header.tokens:,} tokens",
        **{f"teacher {name}": f"sha256 {digest}" for name, digest in sorted(header.teachers.items())},
        "rule": header.rule,
        "k": str(header.top_k),
        "temperatures": ", ".join(f"{temperature:g}" for temperature in header.temperatures),
        "format": f"{header.format_version}, {len(header.shards):,} shards",
    }


def _sized(header: StoreHeader, sizes: dict[str, int]) -> dict[str, str]:
    from mtkd.check import readable
    from mtkd.distill.topk import bytes_per_token

    payload = bytes_per_token(header.top_k, len(header.temperatures), header.vocab_size, float("inf"))
    index = sum(sizes.values()) / header.tokens - payload
    return {
        "bytes a token": f"{payload:g} of payload, {index:.2f} of index",
        **{name: readable(size) for name, size in sizes.items()},
        "all files": readable(sum(sizes.values())),
    }
