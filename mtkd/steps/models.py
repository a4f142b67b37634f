"""The steps decode, uniform_ensemble and export: from checkpoints to hypotheses and a bundle."""

from __future__ import annotations

from mtkd import fairseq_model, train
from mtkd.bundle import Manifest
from mtkd.context import StepContext
from mtkd.corpus.subword import DICTIONARY, MODEL, domain_symbol
from mtkd.corpus.textfile import read_lines, write_json, writing
from mtkd.decoding import Beam, Decoder
from mtkd.ensemble import translate_with_ensemble
from mtkd.export import Vocabulary, build_bundle, check_conversion, convert
from mtkd.steps.files import BUNDLE, DECODED, FLOAT32, HYPOTHESES, RESULTS, STOCK, read_json


def decode(context: StepContext) -> None:
    """Make one model stock, convert it, hold the conversion against fairseq, and translate the sets the plan names."""
    model = context.node.target
    assert model is not None
    recipe, split = context.recipe, context.parent("split")
    vocabulary = vocabulary_of(context)
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
    wanted = [(side, group) for side, groups in context.slice["sides"].items() for group in groups]
    for done, (side, group) in enumerate(wanted):
        context.progress.update(done, len(wanted), f"{group} {side}")
        sources = list(read_lines(split / group / f"{side}.{vocabulary.source_lang}"))
        tag = domain_symbol(group) if group in context.slice.get("tags", ()) else None
        with writing(context.dir / HYPOTHESES / f"{group}.{side}.txt") as file:
            file.writelines(line + "\n" for line in decoder.translate(sources, beam, tag=tag))
    size = sum(path.stat().st_size for path in float32.rglob("*") if path.is_file())
    write_json(context.dir / DECODED, {"parameters": parameters, "float32_bytes": size, "parity": parity})


def uniform_ensemble(context: StepContext) -> None:
    """Translate every test set with all teachers together; a killed run keeps the sets that it has finished."""
    recipe, split, vocabulary = context.recipe, context.parent("split"), vocabulary_of(context)
    teachers = context.parents("decode").values()
    beam = Beam(recipe.decoding.beam, recipe.decoding.length_penalty)
    for group in context.slice["sides"]["test"]:
        output = context.dir / HYPOTHESES / f"{group}.test.txt"
        if output.exists():
            continue
        lines = translate_with_ensemble(
            [decoded / STOCK for decoded in teachers],
            vocabulary,
            list(read_lines(split / group / f"test.{vocabulary.source_lang}")),
            beam,
            threads=context.threads,
            progress=lambda done, total, group=group: context.progress.update(done, total, group),  # type: ignore[misc]
        )
        with writing(output) as file:
            file.writelines(line + "\n" for line in lines)


def export(context: StepContext) -> None:
    """Make the student's bundle."""
    recipe, decoded = context.recipe, context.parent("decode.student")
    about = read_json(decoded / DECODED)
    results = read_json(context.parent("evaluate") / RESULTS)
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
        vocabulary_of(context),
        context.dir / BUNDLE,
        manifest=manifest,
        dev_sources=sources,
        dev_targets=targets,
        threads=context.threads,
    )
    context.progress.message(f"bundle {bundle.digest}")


def vocabulary_of(context: StepContext) -> Vocabulary:
    """The run's vocabulary; `subword` is a parent of the step."""
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
