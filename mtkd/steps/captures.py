"""The step capture: a teacher's beliefs about every training token of its domain."""

from __future__ import annotations

from mtkd import train
from mtkd.context import StepContext
from mtkd.corpus.textfile import write_json
from mtkd.distill.weighting import WEIGHTING_RULES
from mtkd.steps.files import CAPTURED, DATA, STORE
from mtkd.teacher import TeacherPass, capture_report
from mtkd.teacher import capture as capture_rows


def capture(context: StepContext) -> None:
    """Write the store of one domain, continuing a killed capture, and report what it holds."""
    recipe, domain = context.recipe, context.slice["domain"]
    rule = recipe.distill.weighting
    # A rule that believed several teachers would need them mixed densely here; in_domain names one.
    (teacher,) = WEIGHTING_RULES[rule](domain, list(recipe.domains))
    data = context.parent("binarize") / DATA / domain
    languages = recipe.languages
    teacher_pass = TeacherPass(
        context.parent(f"teacher.{teacher}") / train.MODEL,
        data,
        data / f"dict.{languages.target}.txt",
        languages.source,
        languages.target,
    )
    store = capture_rows(
        teacher_pass,
        context.dir / STORE,
        domain=domain,
        rule=rule,
        top_k=recipe.distill.top_k,
        temperatures=sorted({1.0, recipe.distill.temperature}, key=lambda t: (t != 1.0, t)),
        progress=context.progress,
    )
    report = capture_report(teacher_pass, store)
    write_json(context.dir / CAPTURED, report)
    context.progress.message(
        f"k = {report['top_k']} keeps {report['coverage']:.0%} of the mass, "
        f"the top entry is the reference for {report['top1_is_reference']:.0%} of {report['tokens']:,} tokens"
    )
