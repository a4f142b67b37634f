"""`mtkd keys`: who may use a service, and for how much.

What it owns: the sub-commands' arguments and what they print. What it must not know: how keys are kept.
"""
# ruff: noqa: PLC0415 - every command imports what it needs, so that `mtkd --help` is quick

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

if TYPE_CHECKING:
    from service.keys import KeyStore

app = typer.Typer(no_args_is_help=True, help="Add, list and revoke the keys of a service; it need not be stopped.")
# A file has no width: wide enough that no cell is cut.
console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
notes = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

Data = Annotated[
    Path, typer.Option("--data", envvar="MTKD_DATA", metavar="FOLDER", help="The service's folder of state.")
]


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is; usage is counted by name.")],
    data: Data,
    characters_per_month: Annotated[int | None, typer.Option(min=1, help="Quota [none].")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Limit [what the service is set to].")] = None,
) -> None:
    """Make a key and print it, this once: it is stored as a hash.

    To replace a key, add a second one of the same name (it takes over the limits that are not given), give it to its
    user, and revoke the first by its handle.
    """
    with _open(data) as store:
        key = store.add(name, characters_per_month=characters_per_month, requests_per_minute=requests_per_minute)
        handles = [key.handle for key in store.all_keys() if key.name == name and not key.revoked]
    # Alone on standard output, so that a script can take it.
    console.print(key)
    notes.print("keep it now: it is stored as a hash and cannot be shown again")
    if len(handles) > 1:
        notes.print(f"{name} has {len(handles)} keys in force; revoke an old one: mtkd keys revoke {handles[0]}")


@app.command("list")
def list_keys(data: Data) -> None:
    """List the keys, without their secret part."""
    with _open(data) as store:
        keys = store.all_keys()
    headings = ("name", "handle", "characters a month", "requests a minute", "added", "revoked")
    table = Table(*(Column(heading, overflow="fold") for heading in headings))
    for key in keys:
        quota, rate = (f"{limit:,}" if limit else "" for limit in (key.characters_per_month, key.requests_per_minute))
        table.add_row(key.name, key.handle, quota, rate, _day(key.added), _day(key.revoked))
    console.print(table)


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="NAME|HANDLE", help="All keys of a name, or one by its handle.")],
    data: Data,
) -> None:
    """Revoke keys, at once, in a running service too."""
    with _open(data) as store:
        for key in store.revoke(which):
            console.print(f"revoked: {key.name} {key.handle}")


@contextmanager
def _open(data: Path) -> Iterator[KeyStore]:
    from service.keys import KeyStore

    store = KeyStore(data)
    try:
        yield store
    finally:
        store.close()


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else ""
