"""The step route: which teacher a classifier of domains sends each sentence to. No torch, no fairseq."""

from __future__ import annotations

from pathlib import Path

from mtkd.context import StepContext
from mtkd.corpus.textfile import read_lines, write_json, writing
from mtkd.routing import Router
from mtkd.steps.files import CHOICES, ROUTES, read_perturbed


def route(context: StepContext) -> None:
    """Train the classifier on the domains' train sources, measure it on their test sets, and choose for every text."""
    split, lang = context.parent("split"), context.recipe.languages.source
    domains = context.slice["domains"]

    def sources(group: str, side: str) -> list[str]:
        return list(read_lines(split / group / f"{side}.{lang}"))

    router = Router.fit({domain: sources(domain, "train") for domain in domains}, seed=context.recipe.seed)
    found = router.measure({domain: sources(domain, "test") for domain in domains})
    texts = {(group, "test"): sources(group, "test") for group in context.slice["test_sets"]}
    for changed in context.parents("robustness").values():
        for variant in context.recipe.robustness:
            texts |= {(group, variant): lines for group, lines in read_perturbed(changed, variant, lang).items()}
    for (group, side), lines in texts.items():
        _write(context.dir / CHOICES / f"{group}.{side}.txt", router.route(lines))
    write_json(context.dir / ROUTES, found)


def _write(path: Path, choices: list[str]) -> None:
    with writing(path) as file:
        file.writelines(f"{domain}\n" for domain in choices)
