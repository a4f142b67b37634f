"""The steps gap, evaluate and report: from hypotheses to scores and a page. No torch, no fairseq."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import Any

from mtkd import train
from mtkd.capture import failed_gates
from mtkd.context import StepContext
from mtkd.corpus.textfile import write_json
from mtkd.corpus.transfer import COUNTS
from mtkd.evaluation import EvaluationInputs, routed, system_outputs, teacher_gap
from mtkd.evaluation import evaluate as evaluate_systems
from mtkd.processes import cpu_name
from mtkd.recipe_file import resolved
from mtkd.report import ReportInputs, write_report
from mtkd.robustness import evaluate_robustness
from mtkd.sentences import COMPARED, SHOWN, by_sentence
from mtkd.steps.files import (
    BUNDLE,
    CAPTURED,
    DECODED,
    GAP,
    RESULTS,
    ROUTES,
    SWEEP,
    TRANSLATIONS,
    read_choices,
    read_hypotheses,
    read_json,
    read_perturbed,
    read_references,
    read_sources,
)
from mtkd.workspace import read_json as read_json_if_any


def gap(context: StepContext) -> None:
    """Print, per domain, how much better than mixed fine-tuning its teacher is on dev: what there is to distil."""
    domains = list(context.recipe.domains)
    found = teacher_gap(
        {model: read_hypotheses(path, "dev") for model, path in context.parents("decode").items()},
        read_references(context, "dev", domains),
        domains,
        context.recipe.languages.target,
    )
    write_json(context.dir / GAP, found)
    for domain, message in zip(found["domains"], found["messages"], strict=True):
        say = context.progress.message if found["domains"][domain]["worth_it"] else context.progress.warn
        say(message)


def evaluate(context: StepContext) -> None:
    """Score every system on every test set, with signatures and significance."""
    recipe = context.recipe
    hypotheses = {
        _system_name(model): read_hypotheses(path, "test") for model, path in context.parents("decode").items()
    }
    if "uniform_ensemble" in recipe.systems:
        hypotheses["uniform_ensemble"] = read_hypotheses(context.parent("uniform_ensemble"), "test")
    if "routing" in recipe.systems:
        hypotheses["routing"] = routed(hypotheses, read_choices(context.parent("route"), "test"))
    inputs = EvaluationInputs(
        hypotheses=hypotheses,
        references=read_references(context, "test", list(recipe.corpora_groups())),
        domains=list(recipe.domains),
        systems=list(recipe.systems),
        target_lang=recipe.languages.target,
        seed=recipe.seed,
    )
    found = evaluate_systems(inputs) | _robustness(context)
    if set(COMPARED) <= set(recipe.systems):
        found["by_sentence"] = _by_sentence(context, inputs)
    if "routing" in recipe.systems:
        found["routing"] = read_json(context.parent("route") / ROUTES)
    write_json(context.dir / RESULTS, found)


def _by_sentence(context: StepContext, inputs: EvaluationInputs) -> dict[str, Any]:
    """Domain -> the student and mixed fine-tuning on each of its test sentences."""
    sources = read_sources(context, "test", inputs.domains)
    return {
        domain: by_sentence(
            sources[domain],
            inputs.references[domain],
            {system: system_outputs(inputs, system, [domain])[domain] for system in SHOWN if system in inputs.systems},
        )
        for domain in inputs.domains
    }


def _robustness(context: StepContext) -> dict[str, Any]:
    """What becomes of the systems on changed test sets, where the recipe asks for them."""
    recipe = context.recipe
    if not recipe.robustness:
        return {}
    changed, decoded = context.parent("robustness"), context.parents("decode_perturbed")
    return evaluate_robustness(
        {
            system: {variant: read_hypotheses(path, variant) for variant in recipe.robustness}
            for system, path in decoded.items()
        },
        {variant: read_perturbed(changed, variant, recipe.languages.target) for variant in recipe.robustness},
        target_lang=recipe.languages.target,
        seed=recipe.seed,
    )


def report(context: StepContext) -> None:
    """Write the page, the table and the figures."""
    workspace, nodes = context.workspace, context.plan.nodes
    evaluated = context.parent("evaluate")
    decoded = [name for name in nodes["evaluate"].parents if name.startswith("decode.")]
    exported = read_json(context.parent("export") / BUNDLE / "manifest.json")
    sizes = {}
    for name in decoded:
        about = read_json(workspace.dir(name) / DECODED)
        model = _system_name(name.removeprefix("decode."))
        sizes[model] = {"parameters": about["parameters"], "float32_bytes": about["float32_bytes"], "int8_bytes": None}
    int8 = [entry["bytes"] for name, entry in exported["files"].items() if name.startswith("int8/")]
    sizes["student"]["int8_bytes"] = sum(int8)
    captures = {corpus: read_json(path / CAPTURED) for corpus, path in context.parents("capture").items()}
    distill, epsilon = context.recipe.distill, context.recipe.training.teacher.label_smoothing
    trained = {name: workspace.dir(name) / train.METRICS for name in context.node.parents}
    inputs = ReportInputs(
        recipe=resolved(context.recipe),
        results=read_json(evaluated / RESULTS),
        corpus={name: read_json(context.parent(name) / f"{name}.json") for name in ("clean", "split")},
        metrics={name: train.read_metrics(path) for name, path in trained.items() if path.is_file()},
        captures=captures,
        failed_gates=[line for of in captures.values() for line in failed_gates(of, distill.gates, epsilon)],
        transfer={domain: read_json(path / COUNTS) for domain, path in context.parents("transfer").items()},
        translations={domain: read_json(path / TRANSLATIONS) for domain, path in context.parents("translate").items()},
        sizes=sizes,
        gap=_where_made(context, "gap", GAP),
        sweep=_where_made(context, "sweep", SWEEP),
        parity=exported["parity"],
        steps=_steps(context),
        environment=_environment(exported["versions"]),
        command=(read_json_if_any(workspace.private / "run.json") or {}).get("command", ""),
    )
    write_report(inputs, context.dir)


def _where_made(context: StepContext, name: str, file: str) -> dict[str, Any]:
    """What a step that not every recipe has wrote."""
    return read_json(context.parent(name) / file) if name in context.node.parents else {}


def _system_name(model: str) -> str:
    """`generic.tiny` is the run's `generic` system; all other models are called as their node is."""
    return "generic" if model.startswith("generic") else model


def _steps(context: StepContext) -> list[dict[str, Any]]:
    """Seconds and peak memory of every step that led here."""
    told = []
    for name in context.plan.nodes:
        done = context.workspace.done(name)
        if done is not None:
            told.append({key: done[key] for key in ("name", "seconds", "peak_rss_bytes")})
    return told


def _environment(versions: dict[str, str]) -> dict[str, Any]:
    return versions | {
        "python": platform.python_version(),
        "machine": f"{cpu_name()}, {os.cpu_count()} cores",
        "date": datetime.now(UTC).date().isoformat(),
    }
