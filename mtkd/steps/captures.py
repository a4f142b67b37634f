"""The step capture: what the teachers that the weighting rule names believe about every training token of a corpus."""

from __future__ import annotations

from mtkd import train
from mtkd.capture import capture as capture_rows
from mtkd.capture import capture_report, failed_gates
from mtkd.context import StepContext
from mtkd.corpus.textfile import write_json
from mtkd.distill.weighting import rule_text, stored_temperatures
from mtkd.steps.files import CAPTURED, DATA, STORE
from mtkd.systems import teacher_node, text_node
from mtkd.teacher import TeacherPass


def capture(context: StepContext) -> None:
    """Write the store of one corpus, continuing a killed capture, and report what it holds."""
    wanted, languages = context.slice, context.recipe.languages
    corpus, domain, weights = wanted["corpus"], wanted["domain"], wanted["weights"]
    temperatures = stored_temperatures(wanted["rule"], weights, wanted["temperatures"])
    # What a teacher has translated comes from a step of its own.
    data = context.parent(text_node(corpus)) / DATA / corpus
    teacher = TeacherPass(
        {name: context.parent(teacher_node(context.recipe, name)) / train.MODEL for name in weights},
        weights,
        data,
        data / f"dict.{languages.target}.txt",
        languages.source,
        languages.target,
    )
    store = capture_rows(
        teacher,
        context.dir / STORE,
        corpus=corpus,
        rule=rule_text(wanted["rule"], weights),
        top_k=wanted["top_k"],
        temperatures=temperatures,
        progress=context.progress,
    )
    report = capture_report(teacher, store, references="given" if corpus == domain else "teacher")
    write_json(context.dir / CAPTURED, report)
    context.progress.message(
        f"k = {report['top_k']} keeps {report['coverage']:.0%} of the mass, "
        f"the top entry is the reference for {report['top1_is_reference']:.0%} of {report['tokens']:,} tokens"
    )
    # Said now, while the other corpora are still to be captured; the student refuses to start.
    for shortfall in failed_gates(
        report, context.recipe.distill.gates, context.recipe.training.teacher.label_smoothing
    ):
        context.progress.warn(shortfall)
