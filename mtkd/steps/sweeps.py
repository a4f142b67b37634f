"""The step sweep: every kd_weight at every temperature, compared on dev. No torch, no fairseq."""

from __future__ import annotations

from mtkd import train
from mtkd.context import StepContext
from mtkd.corpus.textfile import write_json
from mtkd.steps.files import SWEEP, read_hypotheses, read_references
from mtkd.sweep import SweepPoint, compare_points
from mtkd.sweep_findings import point_name, sweep_verdict


def sweep(context: StepContext) -> None:
    """Score every student of the sweep on the domains' dev text, and say which did best and by how much."""
    recipe, decoded = context.recipe, context.parents("decode")
    points = {
        model: SweepPoint(
            kd_weight,
            temperature,
            read_hypotheses(decoded[model], "dev"),
            train.read_metrics(context.parent(model) / train.METRICS),
        )
        for model, (kd_weight, temperature) in context.slice["students"].items()
    }
    context.progress.update(0, 1, f"scoring and testing {len(points)} points")
    found = compare_points(
        points,
        read_references(context, "dev", list(recipe.domains)),
        target_lang=recipe.languages.target,
        seed=recipe.seed,
    )
    write_json(context.dir / SWEEP, found)
    for point in found["points"].values():
        scored = f"{point['macro']['bleu']['score']:.1f} BLEU, {point['macro']['chrf']['score']:.1f} chrF"
        nll = f", NLL {point['nll']['all']:.2f} bits a token" if point["nll"] else ""
        context.progress.message(f"{point_name(point)}: {scored}{nll} (macro average on dev)")
    context.progress.message(sweep_verdict(found))
