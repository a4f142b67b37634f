"""The steps robustness and decode_perturbed: the domains' test sets, changed, and what the systems make of them."""

from __future__ import annotations

from mtkd.context import StepContext
from mtkd.corpus.robustness import perturbed
from mtkd.corpus.textfile import read_lines, writing
from mtkd.decoding import Beam, Decoder
from mtkd.steps.files import FLOAT32, HYPOTHESES, PERTURBED, read_choices, read_perturbed
from mtkd.steps.models import vocabulary_of

Place = tuple[str, str]
"""A domain and a way to change its test set."""


def robustness(context: StepContext) -> None:
    """Write both sides of every domain's test set as each variant leaves them; of nothing there is no file."""
    split, languages = context.parent("split"), context.recipe.languages
    pair = (languages.source, languages.target)
    for domain in context.slice["domains"]:
        sides = [list(read_lines(split / domain / f"test.{lang}")) for lang in pair]
        for variant in context.slice["variants"]:
            changed = perturbed(*sides, variant=variant, seed=context.recipe.seed)
            for lang, lines in zip(pair, changed, strict=True) if changed[0] else ():
                with writing(context.dir / PERTURBED / domain / f"{variant}.{lang}") as file:
                    file.writelines(line + "\n" for line in lines)


def decode_perturbed(context: StepContext) -> None:
    """Translate the changed test sets as one system would: each sentence by its own model where there are several."""
    recipe, changed = context.recipe, context.parent("robustness")
    texts: dict[Place, list[str]] = {
        (domain, variant): lines
        for variant in recipe.robustness
        for domain, lines in read_perturbed(changed, variant, recipe.languages.source).items()
    }
    wanted = {place: _models(context, place, len(lines)) for place, lines in texts.items()}
    found = {place: [""] * len(lines) for place, lines in texts.items()}
    beam = Beam(recipe.decoding.beam, recipe.decoding.length_penalty)
    total, done = sum(map(len, texts.values())), 0
    for model, decoded in context.parents("decode").items():
        decoder = Decoder(decoded / FLOAT32, vocabulary_of(context).subword_model, threads=context.threads)
        for place, sources in texts.items():
            lines = [line for line, of in enumerate(wanted[place]) if of == model]
            translated = decoder.translate([sources[line] for line in lines], beam)
            for line, text in zip(lines, translated, strict=True):
                found[place][line] = text
            done += len(lines)
            context.progress.update(done, total, "sentences")
    for (domain, variant), translated in found.items():
        with writing(context.dir / HYPOTHESES / f"{domain}.{variant}.txt") as file:
            file.writelines(line + "\n" for line in translated)


def _models(context: StepContext, place: Place, sentences: int) -> list[str]:
    """The model that translates each sentence of a changed test set."""
    domain, variant = place
    system = str(context.node.target)
    if system == "routing":
        return [f"teacher.{choice}" for choice in read_choices(context.parent("route"), variant)[domain]]
    return [f"teacher.{domain}" if system == "teachers" else system] * sentences
