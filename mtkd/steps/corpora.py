"""The step corpora: a page about the text. Needs nothing trained."""

from __future__ import annotations

from mtkd.context import StepContext
from mtkd.corpora_page import CorporaInputs, write_corpora_page
from mtkd.corpus.fetch import ARCHIVES
from mtkd.corpus.statistics import describe_split
from mtkd.steps.files import read_json
from mtkd.workspace import read_json as read_json_if_any


def corpora(context: StepContext) -> None:
    """Describe the cleaned and split text, with examples."""
    recipe, cleaned, split = context.recipe, context.parent("clean"), context.parent("split")
    archives = {group: read_json(folder / ARCHIVES)["archives"] for group, folder in context.parents("fetch").items()}
    groups = recipe.corpora_groups()
    statistics = describe_split(split, list(groups), recipe.languages)
    inputs = CorporaInputs(
        name=recipe.name,
        languages=recipe.languages,
        clean=read_json(cleaned / "clean.json"),
        split=read_json(split / "split.json"),
        licences={name: sorted({corpus.licence for corpus in group.corpora}) for name, group in groups.items()},
        statistics=statistics,
        examples=read_json_if_any(cleaned / "examples.json") or {},
        archives=archives,
    )
    write_corpora_page(inputs, context.dir)
    if statistics.confusion is not None:
        context.progress.message(
            f"a classifier tells the groups of single sentences apart in {statistics.confusion.accuracy:.0%} of cases"
        )
