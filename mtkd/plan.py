r"""The DAG of a run as a table: which steps there are, what each needs, and what of the recipe it depends on.

What it owns: how a recipe becomes nodes with parents and slices. Which systems there are: `systems.py`.
What it must not know: where files are kept, how a step works, Snakemake.

    fetch.* > clean > split > subword > binarize
                            > corpora
    binarize > generic > teacher.* > capture.* > student > decode.* > evaluate > export
                       \> mixed > decode.* > gap                    > report
    teacher.* > transfer.* > capture.*_transfer > student.* > decode.* > sweep > report
    generic > tagged                                             > decode.* > evaluate
    teacher.* > translate.* > sequence_kd                        > decode.* > evaluate
                            > capture.*_translated > word_and_sequence_kd > decode.* > evaluate
    decode.teacher.* > uniform_ensemble > evaluate < route < split
    split > robustness > decode_perturbed.* > evaluate
"""

from __future__ import annotations

from typing import Any

from mtkd.bundle import sha256_of
from mtkd.graph import TRAININGS, HashFile, Plan, Table
from mtkd.plan_texts import add_fetches, corpora_slice
from mtkd.recipe import Distill, Recipe
from mtkd.recipe_text import GENERALIST, TRANSFER, TRANSLATED
from mtkd.systems import (
    OF_TEACHERS,
    PERTURBED,
    SYSTEMS,
    corpus_teachers,
    distils,
    generic_node,
    scorers,
    sweep_students,
    teacher_node,
    teacher_nodes,
    text_node,
)


def build_plan(recipe: Recipe, hash_file: HashFile = sha256_of) -> Plan:
    """The plan of a recipe; `hash_file` may be a cached SHA-256 (`workspace.FileHashes`)."""
    systems: dict[str, tuple[str, ...]] = {name: SYSTEMS[name](recipe) for name in recipe.systems}
    table = Table(hash_file)
    _add_corpora(table, recipe)
    _add_trainings(table, recipe, teachers=distils(recipe) or not systems.keys().isdisjoint(OF_TEACHERS))
    models = list(dict.fromkeys(model for names in systems.values() for model in names))
    for model in models:
        if model in table.nodes:
            _add_decoding(table, recipe, model)
    if {"mixed", "teachers"} <= systems.keys():
        decoded = [f"decode.{model}" for system in ("mixed", "teachers") for model in systems[system]]
        table.add("gap", ["split", *decoded], languages=recipe.languages)
    if distils(recipe):
        _add_soft_targets(table, recipe)
    _add_student(table, recipe, "student", recipe.distill)
    _add_decoding(table, recipe, "student")
    _add_sequence_kd(table, recipe)
    _add_sweep(table, recipe)
    told = [f"decode.{model}" for model in models]
    _add_results(table, recipe, [*told, *_add_compositions(table, recipe), *_add_perturbed(table, recipe)])
    return Plan(table.nodes, systems)


def _add_corpora(table: Table, recipe: Recipe) -> None:
    groups = recipe.corpora_groups()
    texts = {
        name: {
            "corpora": corpora_slice(group.with_references(True)),
            "filters": group.filters,
        }
        for name, group in groups.items()
    }
    table.add("clean", add_fetches(table, recipe), languages=recipe.languages, texts=texts)
    table.add("split", ["clean"], split={name: group.split for name, group in groups.items()})
    told = ["clean", "split", *table.nodes["clean"].parents]
    table.add("corpora", told, languages=recipe.languages, name=recipe.name, licences=_licences(recipe))
    table.add("subword", ["split"], subword=recipe.subword, domains=sorted(recipe.domains), seed=recipe.seed)
    table.add("binarize", ["split", "subword"], augmentation=recipe.augmentation, seed=recipe.seed)


def _add_trainings(table: Table, recipe: Recipe, *, teachers: bool) -> None:
    """Generic models of the presets that are needed, teachers, mixed fine-tuning with and without domain tags."""
    trained = [domain for domain in recipe.domains if teachers and domain not in recipe.teachers]
    generalist = distils(recipe) and any(GENERALIST in of for of in corpus_teachers(recipe).values())
    presets = {recipe.model.teacher: None} if trained or generalist else {}
    for preset in presets | {recipe.model.student: None}:
        name = generic_node(recipe, preset)
        if recipe.generic.checkpoint is not None:
            table.add(name, ["binarize"], checkpoint=recipe.generic.checkpoint)
        else:
            table.add(name, ["binarize"], text=recipe.generic.text, **_training(recipe, "generic", preset))
    for domain in recipe.domains if teachers else ():
        if domain in trained:
            start = generic_node(recipe, recipe.model.teacher)
            settings = _training(recipe, "teacher", recipe.model.teacher)
            table.add(f"teacher.{domain}", ["binarize", start], domain=domain, **settings)
        else:
            brought = recipe.teachers[domain].checkpoint
            table.add(f"teacher.{domain}", ["binarize"], domain=domain, checkpoint=brought)
    for system in ("mixed", "tagged"):
        if system in recipe.systems:
            table.add(system, _student_parents(recipe), **_student_training(recipe))


def _add_soft_targets(table: Table, recipe: Recipe) -> None:
    """Translations of text without references, and, unless teachers are run online, the captures of every corpus."""
    for domain in recipe.transfer_domains():
        group = recipe.domains[domain]
        fetched = [f"fetch.{domain}"] if any(corpus.archives for corpus in group.with_references(False)) else []
        table.add(
            f"transfer.{domain}",
            ["split", "subword", "binarize", f"teacher.{domain}", *fetched],
            domain=domain,
            corpora=corpora_slice(group.with_references(False)),
            filters=group.filters,
            decoding=recipe.decoding,
            languages=recipe.languages,
        )
    if recipe.distill.source == "online":
        return
    for corpus in corpus_teachers(recipe):
        _add_capture(table, recipe, corpus, corpus.removesuffix(TRANSFER))


def _add_capture(table: Table, recipe: Recipe, corpus: str, domain: str) -> None:
    text, weights = ["binarize", text_node(corpus)], corpus_teachers(recipe)[domain]
    table.add(
        f"capture.{corpus}",
        dict.fromkeys([*text, *(teacher_node(recipe, name) for name in weights)]),
        corpus=corpus,
        domain=domain,
        weights=weights,
        rule=recipe.distill.weighting,
        top_k=recipe.captured_top_k(),
        temperatures=recipe.captured_temperatures(),
    )


def _add_student(table: Table, recipe: Recipe, name: str, distill: Distill) -> None:
    """One student; the teachers are among its parents, so that it can hold each store against what it must be of."""
    taught_by: list[str] = []
    if distill.kd_weight > 0:
        corpora = corpus_teachers(recipe)
        texts = {text_node(corpus) for corpus in corpora}
        wanted = scorers(recipe) | texts | {f"capture.{corpus}" for corpus in corpora}
        taught_by = [node for node in table.nodes if node in wanted]
    parents = [*_student_parents(recipe), *taught_by]
    table.add(name, dict.fromkeys(parents), distill=_loss(distill), **_student_training(recipe))


def _add_sequence_kd(table: Table, recipe: Recipe) -> None:
    """The students that learn from their teachers' translations of the train text, and what they need.

    As in mixed fine-tuning, text without references is left out: the systems differ in what the targets are alone.
    """
    systems = [name for name in ("sequence_kd", "word_and_sequence_kd") if name in recipe.systems]
    for domain in recipe.domains if systems else ():
        table.add(
            f"translate.{domain}",
            ["split", "subword", "binarize", f"teacher.{domain}"],
            domain=domain,
            filters=recipe.domains[domain].filters,
            augmentation=recipe.augmentation,
            decoding=recipe.decoding,
            languages=recipe.languages,
            seed=recipe.seed,
        )
    translated = [f"translate.{domain}" for domain in recipe.domains]
    if "sequence_kd" in systems:
        table.add("sequence_kd", [*_student_parents(recipe), *translated], **_student_training(recipe))
        _add_decoding(table, recipe, "sequence_kd")
    if "word_and_sequence_kd" in systems:
        for domain in recipe.domains if recipe.distill.source == "store" else ():
            _add_capture(table, recipe, domain + TRANSLATED, domain)
            translated.append(f"capture.{domain}{TRANSLATED}")
        teachers = [node for node in table.nodes if node in scorers(recipe)]
        parents = dict.fromkeys([*_student_parents(recipe), *teachers, *translated])
        table.add("word_and_sequence_kd", parents, distill=_loss(recipe.distill), **_student_training(recipe))
        _add_decoding(table, recipe, "word_and_sequence_kd")


def _loss(distill: Distill) -> dict[str, Any]:
    """What of `distill` changes a student: gates decide whether it is trained, `captured` what else a store holds."""
    return distill.model_dump(exclude={"gates", "captured"})


def _add_sweep(table: Table, recipe: Recipe) -> None:
    """The sweep's students that the run does not have anyway, their dev translations, and the comparison."""
    students = sweep_students(recipe)
    for name, (kd_weight, temperature) in students.items():
        if name not in table.nodes:
            changed = {"kd_weight": kd_weight, "temperature": temperature}
            _add_student(table, recipe, name, recipe.distill.model_copy(update=changed))
            _add_decoding(table, recipe, name)
    if students:
        decoded = [f"decode.{name}" for name in students]
        table.add("sweep", ["split", *students, *decoded], students=students, languages=recipe.languages)


def _add_decoding(table: Table, recipe: Recipe, model: str) -> None:
    """A model's translations: of every test set if it is a system's, of the dev sets that something is measured on."""
    domains, swept = list(recipe.domains), sweep_students(recipe)
    own = model.removeprefix("teacher.") if model.startswith("teacher.") else None
    sides = {"test": [] if model.startswith("student.") else list(recipe.corpora_groups())}
    sides["dev"] = [own] if own in domains else domains if model == "mixed" or model in swept else []
    parents = ["split", "subword", "binarize", model]
    # Which domain a domain's sentence is of, an oracle says; other text has no tag.
    tags = {"tags": domains} if model == "tagged" else {}
    table.add(f"decode.{model}", parents, sides=sides, decoding=recipe.decoding, languages=recipe.languages, **tags)


def _add_compositions(table: Table, recipe: Recipe) -> list[str]:
    """The systems that are made of the teachers and of no training; the nodes that evaluation needs of them."""
    added = []
    if "uniform_ensemble" in recipe.systems:
        decoded = [f"decode.{model}" for model in teacher_nodes(recipe)]
        sides = {"test": list(recipe.corpora_groups())}
        settings = {"sides": sides, "decoding": recipe.decoding, "languages": recipe.languages}
        table.add("uniform_ensemble", ["split", "subword", *decoded], **settings)
        added.append("uniform_ensemble")
    if recipe.robustness:
        variants = {"variants": recipe.robustness, "domains": list(recipe.domains), "seed": recipe.seed}
        table.add("robustness", ["split"], languages=recipe.languages, **variants)
    if "routing" in recipe.systems:
        texts = ["split", "robustness"] if recipe.robustness else ["split"]
        asked = {"domains": list(recipe.domains), "test_sets": list(recipe.corpora_groups())}
        table.add("route", texts, languages=recipe.languages, seed=recipe.seed, **asked)
        added.append("route")
    return added


def _add_perturbed(table: Table, recipe: Recipe) -> list[str]:
    """Translations of the changed test sets; the nodes that evaluation needs of them."""
    if not recipe.robustness:
        return []
    added = ["robustness"]
    for system in (name for name in PERTURBED if name in recipe.systems):
        decoded = [f"decode.{model}" for model in SYSTEMS[system](recipe)]
        route = ["route"] if system == "routing" else []
        parents = ["robustness", "subword", *route, *decoded]
        table.add(f"decode_perturbed.{system}", parents, decoding=recipe.decoding, languages=recipe.languages)
        added.append(f"decode_perturbed.{system}")
    return added


def _add_results(table: Table, recipe: Recipe, decoded: list[str]) -> None:
    named = {"name": recipe.name, "licences": _licences(recipe)}
    table.add("evaluate", ["split", *decoded], systems=recipe.systems, languages=recipe.languages, seed=recipe.seed)
    needed = ["split", "subword", "binarize", "student", "decode.student", "evaluate"]
    table.add("export", needed, decoding=recipe.decoding, languages=recipe.languages, **named)
    told = ["clean", "split", "gap", *TRAININGS, "transfer", "translate", "capture", "sweep", "evaluate", "export"]
    parents = [name for name, node in table.nodes.items() if node.step in told and not name.startswith("student.")]
    shown = {"systems": recipe.systems, "model": recipe.model, "gates": recipe.distill.gates}
    table.add("report", parents, **shown, **named)


def _training(recipe: Recipe, role: str, preset: str) -> dict[str, Any]:
    return {
        "preset": preset,
        "fairseq_args": recipe.model.fairseq_args,
        "training": getattr(recipe.training, role),
        "seed": recipe.seed,
    }


def _student_parents(recipe: Recipe) -> list[str]:
    return ["binarize", generic_node(recipe, recipe.model.student)]


def _student_training(recipe: Recipe) -> dict[str, Any]:
    """What student and mixed fine-tuning share, so that only the loss differs."""
    return _training(recipe, "student", recipe.model.student) | {"sampling": recipe.sampling}


def _licences(recipe: Recipe) -> dict[str, list[str]]:
    return {
        name: sorted({corpus.licence for corpus in group.corpora}) for name, group in recipe.corpora_groups().items()
    }
