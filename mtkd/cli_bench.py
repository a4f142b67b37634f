"""`mtkd bench`: what distillation costs beside ordinary fairseq training, and the service beside the bare model.

What it owns: the sub-commands' arguments and tables. What it must not know: how anything is measured.
"""
# ruff: noqa: PLC0415 - every command imports what it needs, so that `mtkd --help` is quick

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from mtkd import cli_bench_serve
from mtkd.errors import UsageError
from mtkd.presets import PRESETS

app = typer.Typer(no_args_is_help=True, help="Measure what distillation and serving cost.")
console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


def _known(preset: str) -> str:
    if preset not in PRESETS:
        raise UsageError(f"--preset {preset}: choose one of {', '.join(PRESETS)}")
    return preset


Vocab = Annotated[int, typer.Option(min=64, help="Symbols of the vocabulary.")]
Vocabs = Annotated[list[int], typer.Option("--vocab", min=64, help="Symbols of the vocabulary; repeatable.")]
TokensPerBatch = Annotated[list[int], typer.Option("--tokens", min=1, help="Target tokens of a batch; repeatable.")]
Shape = Annotated[str, typer.Option(callback=_known, help=f"Shape of the model: {', '.join(PRESETS)}.")]
TopK = Annotated[int, typer.Option(min=1, help="Entries kept of a teacher.")]
Rounds = Annotated[int, typer.Option(min=5, help="How often each variant is measured.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: a GPU where there is one.")]
Output = Annotated[Path | None, typer.Option(help="JSON file for all that was measured.")]
VOCABS, TOKENS = [32000, 8000], [4096, 1024]


@app.command()
def loss(
    vocab: Vocabs = VOCABS,
    tokens: TokensPerBatch = TOKENS,
    width: Annotated[int, typer.Option(min=1, help="Width of the decoder.")] = 512,
    top_k: TopK = 8,
    rounds: Rounds = 5,
    device: Device = "auto",
    output: Output = None,
) -> None:
    """Time and memory of the losses, from the decoder's features to the gradients."""
    from mtkd.bench import benchmarks

    if top_k > min(vocab):
        raise UsageError(f"--top-k {top_k}: the smallest vocabulary has {min(vocab)} symbols")
    sizes = {"vocabs": vocab, "tokens": tokens, "width": width, "top_k": top_k}
    _measure(benchmarks.loss, sizes, rounds=rounds, device=device, output=output)


@app.command()
def train(
    preset: Shape = "base",
    vocab: Vocab = 32000,
    updates: Annotated[int, typer.Option(min=1, help="Updates in all: the rounds, and one more to warm up.")] = 50,
    max_tokens: Annotated[int, typer.Option(min=256, help="Tokens of a batch, as fairseq counts them.")] = 2048,
    tokens: Annotated[
        int, typer.Option(min=1, help="Target tokens of the text that batches are drawn from.")
    ] = 1_000_000,
    top_k: TopK = 8,
    rounds: Rounds = 9,
    device: Device = "auto",
    output: Output = None,
) -> None:
    """Updates of fairseq's trainer: stock label-smoothed training against a student with soft targets."""
    from mtkd.bench import benchmarks

    sizes = {"preset": preset, "vocab": vocab, "updates": updates, "max_tokens": max_tokens, "tokens": tokens}
    _measure(benchmarks.train, sizes | {"top_k": top_k}, rounds=rounds, device=device, output=output)


@app.command()
def capture(
    preset: Shape = "base",
    vocab: Vocab = 32000,
    tokens: Annotated[int, typer.Option(min=1, help="Target tokens that the teacher reads.")] = 8192,
    top_k: TopK = 8,
    rounds: Rounds = 5,
    device: Device = "auto",
    output: Output = None,
) -> None:
    """A teacher's beliefs written to a store, against its bare forward pass."""
    from mtkd.bench import benchmarks

    sizes = {"preset": preset, "vocab": vocab, "tokens": tokens, "top_k": top_k}
    _measure(benchmarks.capture, sizes, rounds=rounds, device=device, output=output)


app.command()(cli_bench_serve.serve)


def _measure(
    benchmark: Callable[..., dict[str, Any]], sizes: dict[str, Any], *, rounds: int, device: str, output: Path | None
) -> None:
    """Run a benchmark of these sizes, print its tables, keep its figures."""
    from mtkd.bench.benchmarks import Session
    from mtkd.bench.record import write_record

    command = f"mtkd {shlex.join(sys.argv[1:])}"
    with console.status("starting") as status:
        found = benchmark(Session.start(command, device=device, rounds=rounds, tell=status.update), **sizes)
    console.print(f"{found['device']}, {found['threads']} threads, torch {found['torch']}")
    for result in found["results"]:
        _print_result(result)
    if output is not None:
        write_record(output, found)
        console.print(f"figures: {output}")


def _print_result(result: dict[str, Any]) -> None:
    """One comparison."""
    from mtkd.bench.record import HEADER, table_rows

    console.print("\n" + ", ".join(f"{name} {value}" for name, value in result["settings"].items()))
    table = Table(*(Column(title, justify="left" if title == HEADER[0] else "right") for title in HEADER))
    for row in table_rows(result["variants"]):
        table.add_row(*row)
    console.print(table)
    if "floor" in result:
        floor = result["floor"]
        console.print(
            f"floor: {floor['operations']:.3g} operations at {floor['operations_per_second'] / 1e12:.3g} TFLOP/s take "
            f"{floor['median_s']:.4g} s, {floor['share_of_fused']['ratio']:.0%} of fused"
        )
    if "dev_nll_difference" in result:
        console.print(f"dev NLL, stock and lambda 0: {result['dev_nll_difference']:.4f} nats a token apart")
