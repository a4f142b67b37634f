"""`mtkd init`: from a folder of translations to a commented recipe that works as it is.

What it owns: the numbers chosen for the text that was found, and why. What it must not know: formats, how a recipe is
worded (`init_template.py`), how a model is trained.
Why the text is cleaned, split and cut into subwords once: only that tells what will be left to hold out, and how large
a vocabulary so much text can fill; a recipe that stops at its third step would be worse than none.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtkd.corpus.clean import clean_corpora
from mtkd.corpus.discover import Discovery, Unusable, discover
from mtkd.corpus.split import SIDES, read_side, split_corpora
from mtkd.corpus.subword import evenly, train_subword
from mtkd.corpus.textfile import writing
from mtkd.errors import CorpusError, UsageError
from mtkd.init_template import Sides, recipe_text
from mtkd.presets import PRESETS
from mtkd.recipe import Recipe
from mtkd.recipe_file import RECIPE_NAME, did_you_mean
from mtkd.recipe_text import GENERAL

Say = Callable[[str], None]
FEWEST_PAIRS = 50
"""A domain with fewer has nothing to hold out: no score would mean anything."""
HELD_OUT = (20, 1000)
"""A tenth is held out for test and as much for dev, but no less and no more than so many pairs."""
VOCABULARIES = {0: 1000, 1_000: 2000, 5_000: 4000, 20_000: 8000, 200_000: 16000, 1_000_000: 32000}
"""Pairs -> size of the vocabulary that is tried first."""
SMALLEST_VOCABULARY, LARGEST_VOCABULARY = 400, 32000
SAMPLE_PAIRS = 20_000
"""So many pairs tell whether a vocabulary can be filled; more take longer and can fill it too."""
PIECES_PER_WORD = 1.5
_BATCH_TOKENS = {"pico": 2048, "nano": 2048, "micro": 2048, "tiny": 2048}
_LEARNING_RATES = {"pico": 0.002, "nano": 0.002, "micro": 0.0015, "tiny": 0.001, "big": 0.0005}
_EPOCHS = {"generic": (30, 300, 100_000), "teacher": (10, 100, 20_000), "student": (15, 200, 50_000)}
"""Role -> passes over its text, and the fewest and the most updates for that."""


@dataclass(frozen=True)
class Initialised:
    """The recipe that was written, what was found, and what became of each group's text when it was tried."""

    path: Path
    discovery: Discovery
    sides: dict[str, Sides]


def init_recipe(
    folder: Path,
    output: Path | None = None,
    *,
    source: str | None = None,
    target: str | None = None,
    preset: str = "tiny",
    progress: Say = lambda _: None,
) -> Initialised:
    """Write a recipe for the translations in a folder, `folder/recipe.yaml` unless told otherwise.

    `progress` is called with what is about to be done, in words.

    Raises:
        UsageError: the recipe exists, the folder does not, the preset is unknown, or the languages are.
        CorpusError: no text that can be used, or too little of it.
    """
    output = output or folder / RECIPE_NAME
    if output.exists():
        raise UsageError(f"{output}: is there already; move it away, or name another with --output")
    if not folder.is_dir():
        what = "is a file; name the folder that it is in" if folder.exists() else "no such folder"
        raise UsageError(f"{folder}: {what}")
    if preset not in PRESETS:
        raise UsageError(f"--preset {preset}: no such preset{did_you_mean(preset, PRESETS)}")
    found = discover(folder, source, target, progress=lambda path: progress(f"counting {path}"))
    found = _without(found, _small({group: sum(corpus.pairs for corpus in of) for group, of in found.groups.items()}))
    with tempfile.TemporaryDirectory() as scratch:
        found, recipe, sides = _tried(found, preset, Path(scratch), progress)
        progress("trying vocabularies")
        size = _vocabulary(recipe, Path(scratch), sum(of.train for of in sides.values()))
        words = {group: _target_words(Path(scratch) / "split", group, recipe) for group in sides}
    settings = _settings(recipe, preset, size, sides, words)
    output.parent.mkdir(parents=True, exist_ok=True)
    with writing(output) as file:
        file.write(recipe_text(Recipe.model_validate(settings), found, sides, folder=output.absolute().parent))
    return Initialised(output, found, sides)


def _small(pairs: dict[str, int]) -> dict[str, str]:
    """Why the groups that have too few pairs are none."""
    why = "'{}' has {} pairs, fewer than {}".format
    return {group: why(group, count, FEWEST_PAIRS) for group, count in pairs.items() if count < FEWEST_PAIRS}


def _without(found: Discovery, reasons: dict[str, str]) -> Discovery:
    """Without some groups, whose files are unusable then.

    Raises:
        CorpusError: no domain is left.
    """
    unusable = [
        Unusable(path.relative_to(found.folder), reason)
        for group, reason in reasons.items()
        for counted in found.groups[group]
        for path in counted.corpus.names().values()
    ]
    left = {group: corpora for group, corpora in found.groups.items() if group not in reasons}
    found = replace(found, groups=left, unusable=sorted([*found.unusable, *unusable], key=lambda file: file.path))
    if not left.keys() - {GENERAL}:
        listed = "".join(f"\n{file.path}: {file.reason}" for file in found.unusable)
        raise CorpusError(f"{found.folder}: no domain with {FEWEST_PAIRS} pairs or more; a recipe needs one{listed}")
    return found


def _tried(found: Discovery, preset: str, scratch: Path, say: Say) -> tuple[Discovery, Recipe, dict[str, Sides]]:
    """Clean and split the text as the recipe will; the groups that stand it, a draft of the recipe, what is left."""
    found, kept = _cleaned(found, preset, scratch / "clean", say)
    say("splitting the text")
    for more in (1.0, 1.5, 2.0):
        # What is held out by whole documents can be less than its share; a larger share is then the remedy.
        recipe = _draft(found, preset, {group: round(more * _share(kept[group]), 6) for group in found.groups})
        try:
            report = split_corpora(recipe, scratch / "clean", scratch / "split")
        except CorpusError as error:
            problem = error
        else:
            counts = {group: {side: report[group][side] for side in SIDES} for group in found.groups}
            return found, recipe, {group: Sides(kept[group], **sides) for group, sides in counts.items()}
    raise CorpusError(f"{found.folder}: too little text to hold some of it out; add some, or join domains\n{problem}")


def _cleaned(found: Discovery, preset: str, out: Path, say: Say) -> tuple[Discovery, dict[str, int]]:
    """Clean the text; the groups of which enough is left, and how many pairs of each that is."""
    recipe = _draft(found, preset, {})
    try:
        counts = clean_corpora(recipe, out, progress=lambda group, done, _: say(f"cleaning {group}: {done:,} pairs"))
    except CorpusError:
        hopeless = {}
        for group, domain in recipe.corpora_groups().items():
            try:
                clean_corpora(recipe.model_copy(update={"domains": {group: domain}, "general": None}), out)
            except CorpusError as error:
                hopeless[group] = str(error)
        if not hopeless:  # it is how they are together
            raise
        return _cleaned(_without(found, hopeless), preset, out, say)
    kept = {group: of["kept"] for group, of in counts.items()}
    return _without(found, _small(kept)), kept


def _share(pairs: int) -> float:
    """The share of so many pairs that is held out for test, and as much for dev."""
    least, most = HELD_OUT
    return float(f"{min(0.2, max(least, min(most, pairs / 10)) / pairs):.2g}")


def _draft(found: Discovery, preset: str, shares: dict[str, float]) -> Recipe:
    """A recipe with all that the text decides, and nothing yet of what depends on how much is left of it."""
    groups = {
        group: {
            "corpora": [counted.corpus for counted in corpora],
            "split": {"test": share, "dev": share, "minimum": 1} if (share := shares.get(group)) else {},
        }
        for group, corpora in found.groups.items()
    }
    return Recipe.model_validate(
        {
            "name": re.sub("[^A-Za-z0-9_.-]+", "-", found.folder.name).lstrip("-_.") or "memories",
            "languages": found.languages,
            "domains": {group: part for group, part in groups.items() if group != GENERAL},
            "general": groups.get(GENERAL),
            "model": {"teacher": preset, "student": preset},
            "training": {role: {"updates": 1} for role in _EPOCHS},
        }
    )


def _vocabulary(recipe: Recipe, scratch: Path, pairs: int) -> int:
    """The size of vocabulary for so many pairs, or the nearest that a sample of the text can fill."""
    sample, languages = scratch / "sample", recipe.languages
    for group in recipe.corpora_groups():
        rows = sum(1 for _ in read_side(scratch / "split", group, "train", languages))
        wanted = max(1, SAMPLE_PAIRS * rows // pairs)
        with (
            writing(sample / group / f"train.{languages.source}") as source,
            writing(sample / group / f"train.{languages.target}") as target,
        ):
            for pair in evenly(read_side(scratch / "split", group, "train", languages), rows, wanted):
                source.write(pair.source + "\n")
                target.write(pair.target + "\n")
    wished = next(size for least, size in reversed(VOCABULARIES.items()) if pairs >= least)
    smaller, larger = [wished], [wished]
    while smaller[-1] > SMALLEST_VOCABULARY:
        smaller.append(max(SMALLEST_VOCABULARY, smaller[-1] * 3 // 4 // 8 * 8))
    while larger[-1] < LARGEST_VOCABULARY:  # a script of thousands of characters wants more, not less
        larger.append(min(LARGEST_VOCABULARY, larger[-1] * 2))
    for size in [*smaller, *larger[1:]]:
        try:
            return train_subword(_with_vocabulary(recipe, size), sample, scratch / "subword").size
        except CorpusError as error:
            problem = error
    raise problem


def _with_vocabulary(recipe: Recipe, size: int) -> Recipe:
    return recipe.model_copy(update={"subword": recipe.subword.model_copy(update={"vocab_size": size})})


def _target_words(split_dir: Path, group: str, recipe: Recipe) -> int:
    return sum(pair.target.count(" ") + 1 for pair in read_side(split_dir, group, "train", recipe.languages))


def _settings(
    recipe: Recipe, preset: str, vocab_size: int, sides: dict[str, Sides], words: dict[str, int]
) -> dict[str, Any]:
    """The draft with the numbers that depend on how much text is left."""
    settings = recipe.model_dump()
    settings["subword"]["vocab_size"] = vocab_size
    groups = settings["domains"] | ({GENERAL: settings["general"]} if settings["general"] else {})
    for group, part in groups.items():
        part["split"]["minimum"] = max(1, min(100, min(sides[group].dev, sides[group].test) // 2))
    largest = max(count for group, count in words.items() if group != GENERAL)
    taught = {"generic": sum(words.values()), "teacher": largest, "student": sum(words.values())}
    settings["training"] = {role: _training(role, preset, taught[role]) for role in _EPOCHS}
    return settings


def _training(role: str, preset: str, words: int) -> dict[str, Any]:
    """How a role is trained on so many target words."""
    passes, fewest, most = _EPOCHS[role]
    max_tokens = _BATCH_TOKENS.get(preset, 4096)
    updates = int(max(fewest, min(most, float(f"{passes * words * PIECES_PER_WORD / max_tokens:.1g}"))))
    rate = _LEARNING_RATES.get(preset, 0.0007)
    return {
        "updates": updates,
        "patience": 5,
        "validate_every": max(20, min(2000, updates // 10)),
        "warmup_updates": min(4000, updates // 4),
        "learning_rate": rate if role == "generic" else rate / 2,
        "max_tokens": max_tokens,
    }
