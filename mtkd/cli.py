"""The command line: one sub-command a verb.

What it owns: arguments, what is printed, exit codes (0 done, 1 a step failed, 2 wrong use, 130 interrupted).
What it must not know: how anything is done; each command calls one room. Nothing heavy is imported before it is used.
"""
# ruff: noqa: PLC0415 - every command imports what it needs, so that `mtkd --help` is quick

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from mtkd import __version__, cli_bench, cli_corpora, cli_experiment, cli_keys, cli_serve, cli_store
from mtkd.errors import MtkdError

if TYPE_CHECKING:
    from mtkd.pipeline import Selection
    from mtkd.recipe import Recipe
    from mtkd.workspace import Workspace

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(cli_store.app, name="store")
app.add_typer(cli_bench.app, name="bench")
app.add_typer(cli_keys.app, name="keys")
app.command()(cli_corpora.init)
app.command()(cli_corpora.lock)
app.command()(cli_experiment.experiment)
# A file has no width: wide enough that no cell is cut.
console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file, or a folder with a recipe.yaml.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a key of the recipe; repeatable.")
]
WorkspacePath = Annotated[Path | None, typer.Option("--workspace", help="Where to keep files [runs/<recipe's name>].")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that 'run' or 'export' made.")]


def main() -> None:
    """Run the command line; errors that users can mend are one message without a traceback."""
    try:
        app()
    except MtkdError as error:
        _fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("mtkd", "service"):
            raise
        _fail(f"'{error.name}' is not installed: pip install 'mtkd[train]' to train, 'mtkd[serve]' to serve", 1)
    except OSError as error:
        from mtkd.runner import disk_full

        message = disk_full(error, Path(error.filename or ".").absolute())
        if message is None:
            raise
        _fail(message, 1)


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Distil several domain-expert translation models into one student, and serve it."""
    if version:
        console.print(f"mtkd {__version__}")
        raise typer.Exit


@app.command()
def check(recipe: RecipePath, workspace: WorkspacePath = None, set_: Overrides = None) -> None:
    """Check all that can be known before training: files, counts, leakage, disk, time."""
    from mtkd.check import check_recipe

    loaded, place = _open(recipe, workspace, set_)
    found = check_recipe(loaded, place.plan, place.root)
    for heading, facts in found.facts.items():
        for fact in facts:
            console.print(f"{heading}: {fact}")
    for problem in found.problems:
        _say(f"problem: {problem}")
    if found.problems:
        raise typer.Exit(1)
    console.print(f"no problems; next: mtkd run {recipe}")


@app.command()
def estimate(recipe: RecipePath, workspace: WorkspacePath = None, set_: Overrides = None) -> None:
    """Tell what soft targets will cost before any are captured: rows, tokens, bytes, minutes."""
    from mtkd.check import matmul_flops
    from mtkd.estimate import estimate as estimate_costs
    from mtkd.estimate import table_notes, table_rows

    loaded, place = _open(recipe, workspace, set_)
    flops = matmul_flops()
    found = estimate_costs(loaded, place, flops)
    if found.corpora:
        _print_table(*table_rows(found))
    for note in table_notes(found, flops):
        console.print(f"- {note}")


@app.command()
def run(
    recipe: RecipePath,
    workspace: WorkspacePath = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Cores to use [all there are].")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings side by side, each on its share of the cores.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the steps.")] = False,
    until: Annotated[str | None, typer.Option(metavar="STEP", help="Stop after this step.")] = None,
    force: Annotated[str | None, typer.Option(metavar="STEP", help="Make this step anew, and what needs it.")] = None,
    locked: Annotated[bool, typer.Option("--locked", help="Take no archives but those of archives.lock.json.")] = False,
    set_: Overrides = None,
) -> None:
    """Make everything that is not done yet, from text to report and bundle."""
    from mtkd import pipeline
    from mtkd.archive_lock import take_lock
    from mtkd.processes import available_cores

    loaded, place = _open(recipe, workspace, set_)
    selection = pipeline.select(place, until=until, force=force)
    if dry_run:
        _print_states(place, selection)
        return
    take_lock(recipe, place, locked=locked)
    if not selection.pending:
        console.print(f"nothing to do: all {len(selection.nodes)} steps are done")
    try:
        used = cores or available_cores()
        succeeded = pipeline.make(loaded, place, selection, cores=used, jobs=jobs, locked=locked, console=console)
    except KeyboardInterrupt:
        _fail("interrupted; the same command continues", 130)
    if not succeeded:
        _fail("a step failed; mend it, and the same command continues", 1)
    if until is None:
        _print_results(place)
    elif any(node.step == "corpora" for node in selection.nodes):
        console.print(f"corpora: {os.path.relpath(place.corpora_page)}")


@app.command()
def step(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A step of 'mtkd status', e.g. student.")],
    recipe: Annotated[Path, typer.Option(help="The recipe.")],
    workspace: Annotated[Path, typer.Option(help="Where the step's parents are.")],
    threads: Annotated[int, typer.Option(min=1, help="Threads to use.")] = 1,
) -> None:
    """Run one step whose parents are done; 'mtkd run' calls this."""
    from mtkd.processes import die_with_parent, thread_environment
    from mtkd.progress import EVENTS_VARIABLE
    from mtkd.recipe_file import load_recipe
    from mtkd.runner import run_step

    if EVENTS_VARIABLE in os.environ:
        die_with_parent()
    os.environ.update(thread_environment(threads))
    if not run_step(name, load_recipe(recipe), workspace, threads=threads):
        raise typer.Exit(1)


@app.command()
def status(recipe: RecipePath, workspace: WorkspacePath = None, set_: Overrides = None) -> None:
    """List the steps: which are done, how long they took, and where their files are."""
    from mtkd import pipeline

    _, place = _open(recipe, workspace, set_)
    _print_states(place, pipeline.select(place))


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A fairseq transformer, ours or not.")],
    subword_model: Annotated[Path, typer.Option(help="Its SentencePiece model.")],
    dictionary: Annotated[Path, typer.Option(help="Its fairseq dictionary.")],
    source_lang: Annotated[str, typer.Option(help="Language it reads, e.g. en.")],
    target_lang: Annotated[str, typer.Option(help="Language it writes, e.g. de.")],
    dev_source: Annotated[Path, typer.Option(help="Text to check the export on, a sentence a line.")],
    dev_target: Annotated[Path, typer.Option(help="Its translation, line by line.")],
    output: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
) -> None:
    """Make a bundle out of a checkpoint; refused if the bundle does not translate as the checkpoint does."""
    from mtkd.export import export_checkpoint
    from mtkd.processes import available_cores

    export_checkpoint(
        checkpoint,
        subword_model=subword_model,
        dictionary=dictionary,
        source_lang=source_lang,
        target_lang=target_lang,
        dev_source=dev_source,
        dev_target=dev_target,
        output=output,
        threads=available_cores(),
    )
    console.print(f"bundle: {output}\nnext: mtkd serve {output}")


@app.command()
def translate(
    bundle: BundlePath,
    compute_type: Annotated[str | None, typer.Option(help="int8 or float32 [int8].")] = None,
) -> None:
    """Translate standard input to standard output, line by line."""
    from mtkd.bundle import ModelBundle
    from service.engines import ENGINES
    from service.segment import translate_lines
    from service.settings import load_settings

    engine = ENGINES["ctranslate2"](ModelBundle.open(bundle), load_settings(compute_type=compute_type))
    for stream in (sys.stdin, sys.stdout):
        # Bytes in, bytes out: whatever the locale is, a line ends at \n only.
        stream.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    try:
        for line in translate_lines(engine, sys.stdin):
            sys.stdout.write(line)
            sys.stdout.flush()
    except UnicodeDecodeError as error:
        raise MtkdError(f"standard input is not UTF-8 (byte 0x{error.object[error.start]:02x}); convert it") from None


cli_serve.register(app)


def _open(path: Path, workspace: Path | None, overrides: list[str] | None) -> tuple[Recipe, Workspace]:
    """The recipe and its workspace."""
    from mtkd.pipeline import open_workspace
    from mtkd.recipe_file import load_recipe

    recipe = load_recipe(path, overrides or [])
    return recipe, open_workspace(recipe, workspace or Path("runs") / recipe.name)


def _print_states(place: Workspace, selection: Selection) -> None:
    """A row a step."""
    rows = []
    for node in selection.nodes:
        state = selection.states[node.name]
        seconds = f"{(place.done(node.name) or {}).get('seconds', 0):.1f}" if state.done else ""
        shown = "done" if state.done else f"would run: {state.why}"
        rows.append([node.name, shown, seconds, str(place.dir(node.name).relative_to(place.root))])
    _print_table(["step", "state", "seconds", "directory"], rows)
    console.print(f"{len(selection.pending)} of {len(rows)} steps are not done; workspace: {place.root}")


def _print_results(place: Workspace) -> None:
    """The scores, where everything is, and what to type next."""
    from mtkd.findings import table_notes, table_rows, verdict
    from mtkd.workspace import read_json

    results: dict[str, Any] = read_json(place.results)["results"]
    for metric in results["scores"]:
        _print_table(*table_rows(results, metric))
    for note in table_notes(results):
        console.print(f"- {note}")
    bundle = os.path.relpath(place.bundle)
    pages = f"corpora: {os.path.relpath(place.corpora_page)}\nreport: {os.path.relpath(place.report_page)}"
    console.print(f"\n{verdict(results)}\n\n{pages}\nbundle: {bundle}\n")
    console.print(f"next: mtkd serve {bundle}")
    pair = place.plan.nodes["export"].slice["languages"]
    data = f'{{"q": "Turn on the light.", "source": "{pair["source"]}", "target": "{pair["target"]}"}}'
    console.print(f"      curl -s localhost:8000/translate -H 'Content-Type: application/json' -d '{data}'")


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    table = Table(*(Column(title, overflow="fold") for title in header))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _say(message: str) -> None:
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(message, style="red")


def _fail(message: str, code: int) -> None:
    _say(f"error: {message}" if code != 130 else message)
    raise SystemExit(code)
