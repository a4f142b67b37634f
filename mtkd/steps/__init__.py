"""What each step of the DAG does, as a table; every step takes a `StepContext` and writes into its directory.

What it owns: joining the rooms to the plan. What it must not know: how any of it is computed, Snakemake.
Why imports are late: a step that only cleans text must not wait for torch and fairseq.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from mtkd.context import StepContext

MODULES = {
    "fetch": "fetches",
    "clean": "texts",
    "split": "texts",
    "corpora": "corpora",
    "subword": "texts",
    "binarize": "texts",
    "generic": "trainings",
    "teacher": "trainings",
    "mixed": "trainings",
    "tagged": "trainings",
    "student": "trainings",
    "sequence_kd": "trainings",
    "word_and_sequence_kd": "trainings",
    "transfer": "transfers",
    "translate": "transfers",
    "capture": "captures",
    "sweep": "sweeps",
    "decode": "models",
    "uniform_ensemble": "models",
    "route": "routes",
    "robustness": "perturbations",
    "decode_perturbed": "perturbations",
    "gap": "results",
    "evaluate": "results",
    "export": "models",
    "report": "results",
}


def _step(name: str) -> Callable[[StepContext], None]:
    def run(context: StepContext) -> None:
        getattr(import_module(f"mtkd.steps.{MODULES[name]}"), name)(context)

    return run


STEPS: dict[str, Callable[[StepContext], None]] = {name: _step(name) for name in MODULES}
