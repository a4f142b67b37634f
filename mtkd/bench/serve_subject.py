"""What `mtkd bench serve` measures: a model of a run in both its forms, and the run's text for it.

What it owns: where in a workspace these are, and the bundle of a model that has none. What it must not know: how
anything is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtkd.corpus.subword import DICTIONARY
from mtkd.corpus.subword import MODEL as SUBWORD_MODEL
from mtkd.corpus.textfile import read_lines
from mtkd.errors import UsageError
from mtkd.evaluation import STUDENT
from mtkd.pipeline import open_workspace
from mtkd.recipe import Recipe
from mtkd.recipe_file import load_recipe
from mtkd.steps.files import BUNDLE, STOCK
from mtkd.train import MODEL
from mtkd.workspace import Workspace

SAVED_RECIPE = Path(".mtkd", "recipe.json")
"""Where `mtkd run` keeps a workspace's recipe."""
SEED = 1


@dataclass(frozen=True)
class Subject:
    """What is measured: a model in both its forms, and text for it."""

    bundle: Path
    checkpoint: Path
    """The stock fairseq checkpoint that the bundle was made of."""
    dictionary: Path
    sentences: list[str]


def subject_of(root: Path, *, sentences: int, model: str = STUDENT) -> Subject:
    """A model of the workspace `root`, and at most so many sentences of all its test sets, mixed, by a fixed seed.

    The student must be exported. Of another model, such as the generic one where no student is trained yet, a bundle is
    made here, once, and kept beside the recipe.

    Raises:
        UsageError: there is no workspace, or no such model in it yet.
        ExportRefused: the other model cannot be made a bundle.
    """
    saved = root / SAVED_RECIPE
    if not saved.is_file():
        raise UsageError(f"{root}: not the workspace of a run; name one that 'mtkd run' has finished: runs/<name>")
    recipe = load_recipe(saved)
    place = open_workspace(recipe, root)
    if model not in place.plan.nodes:
        raise UsageError(f"{root}: no model '{model}' in this run; name one that it trains, such as 'generic'")
    states = place.states()
    for name in ("split", "subword", *(("decode.student", "export") if model == STUDENT else (model,))):
        if not states[name].done:
            raise UsageError(f"{root}: step '{name}' is not done ({states[name].why}); 'mtkd run' makes it")
    bundle, checkpoint = place.dir("export") / BUNDLE, place.dir("decode.student") / STOCK
    if model != STUDENT:
        bundle, checkpoint = _exported(place, recipe, model)
    tests = (place.dir("split") / group / f"test.{recipe.languages.source}" for group in recipe.corpora_groups())
    text = [line for path in tests for line in read_lines(path)]
    mixed = np.random.default_rng(SEED).permutation(len(text))[:sentences]
    return Subject(bundle, checkpoint, place.dir("subword") / DICTIONARY, [text[index] for index in mixed])


def _exported(place: Workspace, recipe: Recipe, model: str) -> tuple[Path, Path]:
    """Bundle and stock checkpoint of a model of which the run itself makes none; the gates are held on one domain."""
    trained = place.dir(model) / MODEL
    if not trained.is_file():
        raise UsageError(f"{place.root}: step '{model}' trains no model; name one that does, such as 'generic'")
    folder = place.private / "bench" / f"{model}-{trained.parent.name}"
    bundle, checkpoint = folder / model, folder / STOCK
    if not bundle.is_dir():
        _export(place, recipe, trained, bundle, checkpoint)
    return bundle, checkpoint


def _export(place: Workspace, recipe: Recipe, trained: Path, bundle: Path, checkpoint: Path) -> None:
    from mtkd.export import export_checkpoint  # noqa: PLC0415 - nothing else here needs torch
    from mtkd.fairseq_model import to_stock  # noqa: PLC0415

    languages, dev = recipe.languages, place.dir("split") / next(iter(recipe.domains)) / "dev"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    to_stock(trained, checkpoint, source_lang=languages.source, target_lang=languages.target)
    export_checkpoint(
        trained,
        subword_model=place.dir("subword") / SUBWORD_MODEL,
        dictionary=place.dir("subword") / DICTIONARY,
        source_lang=languages.source,
        target_lang=languages.target,
        dev_source=dev.with_suffix(f".{languages.source}"),
        dev_target=dev.with_suffix(f".{languages.target}"),
        output=bundle,
        beam=recipe.decoding.beam,
        length_penalty=recipe.decoding.length_penalty,
    )
