"""The steps decode, gap, evaluate, export and report: from models to scores, a bundle and a page."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mtkd import fairseq_model, train
from mtkd.bundle import Manifest
from mtkd.context import StepContext
from mtkd.corpus.subword import DICTIONARY, MODEL
from mtkd.corpus.textfile import read_lines, write_json, writing
from mtkd.decoding import Beam, Decoder
from mtkd.evaluation import EvaluationInputs, teacher_gap
from mtkd.evaluation import evaluate as evaluate_systems
from mtkd.export import Vocabulary, build_bundle, check_conversion, convert
from mtkd.recipe_file import resolved
from mtkd.report import ReportInputs, write_report
from mtkd.steps.captures import REPORT

STOCK, FLOAT32, DECODED, HYPOTHESES = "student.pt", "float32", "decode.json", "hypotheses"
GAP, RESULTS, BUNDLE = "gap.json", "results.json", "bundle"


def decode(context: StepContext) -> None:
    """Make one model stock, convert it, hold the conversion against fairseq, and translate every test set.

    The dev sets translated are those that the gap is measured on: a teacher's own domain, all domains for the others.
    """
    model = context.node.target
    assert model is not None
    recipe, split = context.recipe, context.parent("split")
    vocabulary = _vocabulary(context)
    stock = context.dir / STOCK
    parameters = fairseq_model.to_stock(
        context.parent(model) / train.MODEL,
        stock,
        source_lang=vocabulary.source_lang,
        target_lang=vocabulary.target_lang,
    )
    float32 = context.dir / FLOAT32
    convert(stock, vocabulary, float32)
    parity = check_conversion(stock, float32, vocabulary, *_pooled_dev(context))
    decoder = Decoder(float32, vocabulary.subword_model, threads=context.threads)
    beam = Beam(recipe.decoding.beam, recipe.decoding.length_penalty)
    own = model.removeprefix("teacher.")
    dev = [own] if own in recipe.domains else list(recipe.domains)
    wanted = [("test", group) for group in recipe.corpora_groups()] + [("dev", group) for group in dev]
    for done, (side, group) in enumerate(wanted):
        context.progress.update(done, len(wanted), f"{group} {side}")
        sources = list(read_lines(split / group / f"{side}.{vocabulary.source_lang}"))
        (context.dir / HYPOTHESES).mkdir(exist_ok=True)
        with writing(context.dir / HYPOTHESES / f"{group}.{side}.txt") as file:
            file.writelines(line + "\n" for line in decoder.translate(sources, beam))
    size = sum(path.stat().st_size for path in float32.rglob("*") if path.is_file())
    write_json(context.dir / DECODED, {"parameters": parameters, "float32_bytes": size, "parity": parity})


def gap(context: StepContext) -> None:
    """Print, per domain, how much better than mixed fine-tuning its teacher is on dev: what there is to distil."""
    domains = list(context.recipe.domains)
    found = teacher_gap(
        {model: _hypotheses(path, "dev") for model, path in context.parents("decode").items()},
        _references(context, "dev", domains),
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
    hypotheses = {_system_name(model): _hypotheses(path, "test") for model, path in context.parents("decode").items()}
    inputs = EvaluationInputs(
        hypotheses=hypotheses,
        references=_references(context, "test", list(recipe.corpora_groups())),
        domains=list(recipe.domains),
        systems=list(recipe.systems),
        target_lang=recipe.languages.target,
        seed=recipe.seed,
    )
    write_json(context.dir / RESULTS, evaluate_systems(inputs))


def export(context: StepContext) -> None:
    """Make the student's bundle."""
    recipe, decoded = context.recipe, context.parent("decode.student")
    about = _read(decoded / DECODED)
    results = _read(context.parent("evaluate") / RESULTS)
    manifest = Manifest(
        name=recipe.name,
        source_lang=recipe.languages.source,
        target_lang=recipe.languages.target,
        domains=list(recipe.domains),
        vocabulary="",
        parameters=about["parameters"],
        beam=recipe.decoding.beam,
        length_penalty=recipe.decoding.length_penalty,
        max_source_positions=1024,
        max_target_positions=1024,
        scores={metric: systems["student"] for metric, systems in results["scores"].items()},
        parity=about["parity"],
        provenance={"student": context.plan.nodes["student"].key, "licences": context.slice["licences"]},
    )
    sources, targets = _pooled_dev(context)
    bundle = build_bundle(
        decoded / STOCK,
        decoded / FLOAT32,
        _vocabulary(context),
        context.dir / BUNDLE,
        manifest=manifest,
        dev_sources=sources,
        dev_targets=targets,
        threads=context.threads,
    )
    context.progress.message(f"bundle {bundle.digest}")


def report(context: StepContext) -> None:
    """Write the page, the table and the figures."""
    workspace, nodes = context.workspace, context.plan.nodes
    evaluated = context.parent("evaluate")
    decoded = [name for name in nodes["evaluate"].parents if name.startswith("decode.")]
    exported = _read(context.parent("export") / BUNDLE / "manifest.json")
    sizes = {}
    for name in decoded:
        about = _read(workspace.dir(name) / DECODED)
        model = _system_name(name.removeprefix("decode."))
        sizes[model] = {"parameters": about["parameters"], "float32_bytes": about["float32_bytes"], "int8_bytes": None}
    int8 = [entry["bytes"] for name, entry in exported["files"].items() if name.startswith("int8/")]
    sizes["student"]["int8_bytes"] = sum(int8)
    trained = {name: workspace.dir(name) / train.METRICS for name in context.node.parents}
    inputs = ReportInputs(
        recipe=resolved(context.recipe),
        results=_read(evaluated / RESULTS),
        corpus={name: _read(context.parent(name) / f"{name}.json") for name in ("clean", "split")},
        metrics={name: train.read_metrics(path) for name, path in trained.items() if path.is_file()},
        captures={domain: _read(path / REPORT) for domain, path in context.parents("capture").items()},
        sizes=sizes,
        gap=_read(workspace.dir("gap") / GAP) if "gap" in context.node.parents else {},
        parity=exported["parity"],
        steps=_steps(context),
        environment=_environment(exported["versions"]),
        command=f"mtkd run {context.recipe.name}",
    )
    write_report(inputs, context.dir)


def _vocabulary(context: StepContext) -> Vocabulary:
    folder, languages = context.parent("subword"), context.recipe.languages
    return Vocabulary(folder / MODEL, folder / DICTIONARY, languages.source, languages.target)


def _pooled_dev(context: StepContext) -> tuple[list[str], list[str]]:
    """The dev pairs of all domains: what the export's gates are measured on."""
    languages, split = context.recipe.languages, context.parent("split")
    sides: tuple[list[str], list[str]] = ([], [])
    for domain in context.recipe.domains:
        for lines, lang in zip(sides, (languages.source, languages.target), strict=True):
            lines.extend(read_lines(split / domain / f"dev.{lang}"))
    return sides


def _references(context: StepContext, side: str, groups: list[str]) -> dict[str, list[str]]:
    split, lang = context.parent("split"), context.recipe.languages.target
    return {group: list(read_lines(split / group / f"{side}.{lang}")) for group in groups}


def _hypotheses(decoded: Path, side: str) -> dict[str, list[str]]:
    files = (decoded / HYPOTHESES).glob(f"*.{side}.txt")
    return {path.name.split(".")[0]: list(read_lines(path)) for path in files}


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
    cpu = [line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")]
    return versions | {
        "python": platform.python_version(),
        "machine": f"{cpu[0] if cpu else platform.processor()}, {os.cpu_count()} cores",
        "date": datetime.now(UTC).date().isoformat(),
    }


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
