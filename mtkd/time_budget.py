"""How long the steps that are not done will take: what one knows before an experiment of many hours is begun.

What it owns: the speed of trainings, measured where any ran, and seconds by step. What it must not know: cells, the
command line. Why measured first: matrix products alone say what is possible, a training of the same workspace what is
so; and of work whose kind was never timed here nothing is said but that it is not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mtkd.graph import Node
from mtkd.presets import PRESETS
from mtkd.recipe import Training
from mtkd.train import METRICS, read_metrics
from mtkd.workspace import BEGUN, DONE, Workspace, read_json

OPERATIONS_PER_WEIGHT = 6
"""Of forward and backward together, for each target token: a multiplication and an addition each, three times."""
MATMUL_SHARE = 0.6
"""What a training reaches of the speed of a lone matrix product: `small` 0.6, `base` 0.75 on two cores."""


@dataclass(frozen=True)
class Speeds:
    """Target tokens a second by preset, and seconds by step, as far as they were measured in a workspace."""

    vocab_size: int
    matmul_flops: float
    """Operations a second of a matrix product: the speed where no training ran yet."""
    tokens_per_second: dict[str, float]
    seconds: dict[str, float]
    """Step (not a training) -> median of those that are done."""

    def of(self, preset: str) -> float:
        """Target tokens a second at which a preset trains: measured, else by its size against those measured."""
        if preset in self.tokens_per_second:
            return self.tokens_per_second[preset]
        measured = [speed * self._operations(name) for name, speed in self.tokens_per_second.items()]
        return (median(measured) if measured else MATMUL_SHARE * self.matmul_flops) / self._operations(preset)

    def _operations(self, preset: str) -> float:
        return OPERATIONS_PER_WEIGHT * PRESETS[preset].parameters(self.vocab_size)


@dataclass(frozen=True)
class StepBudget:
    """What one step will take at most; a training that stops early takes less."""

    step: str
    updates: int
    """0 for a step that trains nothing."""
    tokens: int
    """Target tokens, were every batch full."""
    seconds: float | None
    """None: its kind was not timed here yet."""


def measured_speeds(places: Sequence[Workspace], matmul_flops: float, vocab_size: int) -> Speeds:
    """What a workspace tells of this machine: every training that ever ran in it, and those of these plans that began.

    `places` are one workspace, under the plan of each cell.
    """
    rates: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    begun = {place.dir(node.name): node.slice for place in places for node in place.plan.nodes.values()}
    for folder in sorted(begun.keys() | {path.parent for path in places[0].root.glob(f"steps/*/*/{DONE}")}):
        done = read_json(folder / DONE) or {}
        preset = begun.get(folder, done.get("slice", {})).get("preset")
        if preset in PRESETS:
            rates.setdefault(preset, []).extend(_rates(folder))
        elif "seconds" in done:
            seconds.setdefault(done["step"], []).append(done["seconds"])
    return Speeds(
        vocab_size,
        matmul_flops,
        {preset: median(of) for preset, of in rates.items() if of},
        {step: median(of) for step, of in seconds.items()},
    )


def budget(workspace: Workspace, nodes: Iterable[Node], speeds: Speeds) -> list[StepBudget]:
    """What each of these steps, none of them done, will take at most; of a training that was begun, the rest."""
    return [_of_step(workspace, node, speeds) for node in nodes]


def total_seconds(steps: Iterable[StepBudget]) -> float:
    """Of all steps whose time is known, one after the other."""
    return sum(step.seconds or 0.0 for step in steps)


def budget_notes(steps: list[StepBudget], speeds: Speeds) -> list[str]:
    """What has to be said beside the figures: where the speed is from, and what is not counted."""
    how = "measured in this workspace" if speeds.tokens_per_second else f"{MATMUL_SHARE:.0%} of a matrix product's"
    shown = ", ".join(f"{preset} {speed:,.0f}" for preset, speed in sorted(speeds.tokens_per_second.items()))
    speed = f"{how} ({shown} target tokens/s)" if shown else f"{how} ({speeds.matmul_flops / 1e9:,.0f} GFLOP/s)"
    notes = [
        f"an estimate; speed {speed}",
        "trainings at most: as if every batch were full and none stopped early; validations come on top",
    ]
    untimed = Counter(step.step.partition(".")[0] for step in steps if step.seconds is None)
    if untimed:
        listed = ", ".join(f"{count} x {step}" for step, count in untimed.items())
        notes.append(f"not counted, as none was timed here yet: {listed}")
    return notes


def duration(seconds: float) -> str:
    """Hours and minutes for people: `1 h 05 min`."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def _of_step(workspace: Workspace, node: Node, speeds: Speeds) -> StepBudget:
    if "training" not in node.slice:
        return StepBudget(node.name, 0, 0, speeds.seconds.get(node.step))
    training = Training.model_validate(node.slice["training"])
    updates = max(0, training.updates - _updates_done(workspace.dir(node.name)))
    tokens = updates * training.update_freq * training.max_tokens
    return StepBudget(node.name, updates, tokens, tokens / speeds.of(node.slice["preset"]))


def _updates_done(folder: Path) -> int:
    """Of an interrupted training; what came after its last checkpoint is done again, which is little."""
    rows = read_metrics(folder / METRICS) if (folder / BEGUN).exists() else []
    return max((row["update"] for row in rows), default=0)


def _rates(folder: Path) -> list[float]:
    rows: list[dict[str, Any]] = read_metrics(folder / METRICS)
    return [row["tokens_per_second"] for row in rows if "tokens_per_second" in row]
