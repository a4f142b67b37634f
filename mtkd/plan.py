r"""The DAG of a run as a table: which steps there are, what each needs, and what of the recipe it depends on.

What it owns: `SYSTEMS`, and how a recipe becomes nodes with parents and slices.
What it must not know: where files are kept, how a step works, Snakemake.

    fetch.* > clean > split > subword > binarize
                            > corpora
    binarize > generic > teacher.* > capture.* > student > decode.* > evaluate > export
                       \> mixed > decode.* > gap                    > report
    teacher.* > transfer.* > capture.*_transfer > student.* > decode.* > sweep > report
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mtkd.bundle import sha256_of
from mtkd.distill.weighting import WEIGHTING_RULES
from mtkd.graph import TRAININGS, HashFile, Plan, Table
from mtkd.plan_texts import add_fetches, corpora_slice
from mtkd.recipe import Distill, Recipe
from mtkd.recipe_text import GENERALIST, TRANSFER

SYSTEMS: dict[str, Callable[[Recipe], tuple[str, ...]]] = {
    "generic": lambda recipe: (generic_node(recipe, recipe.model.student),),
    "mixed": lambda recipe: ("mixed",),
    "teachers": lambda recipe: tuple(f"teacher.{domain}" for domain in recipe.domains),
    "student": lambda recipe: ("student",),
}
"""System -> the models that must be made and decoded to compare it."""


def generic_node(recipe: Recipe, preset: str) -> str:
    """Name of the generic model of one preset; teachers and student of one shape share theirs."""
    return "generic" if recipe.model.teacher == recipe.model.student else f"generic.{preset}"


def build_plan(recipe: Recipe, hash_file: HashFile = sha256_of) -> Plan:
    """The plan of a recipe; `hash_file` may be a cached SHA-256 (`workspace.FileHashes`)."""
    systems: dict[str, tuple[str, ...]] = {name: SYSTEMS[name](recipe) for name in recipe.systems}
    table = Table(hash_file)
    _add_corpora(table, recipe)
    _add_trainings(table, recipe, teachers=_distils(recipe) or "teachers" in systems, mixed="mixed" in systems)
    models = [model for names in systems.values() for model in names]
    for model in models:
        if model != "student":
            _add_decoding(table, recipe, model)
    if {"mixed", "teachers"} <= systems.keys():
        decoded = [f"decode.{model}" for system in ("mixed", "teachers") for model in systems[system]]
        table.add("gap", ["split", *decoded], languages=recipe.languages)
    if _distils(recipe):
        _add_soft_targets(table, recipe)
    _add_student(table, recipe, "student", recipe.distill)
    _add_decoding(table, recipe, "student")
    _add_sweep(table, recipe)
    _add_results(table, recipe, [f"decode.{model}" for model in models])
    return Plan(table.nodes, systems)


def sweep_students(recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Model (node name) -> (kd_weight, temperature) of every student of the sweep; the run's own ones serve."""
    shared = {(recipe.distill.kd_weight, recipe.distill.temperature): "student"}
    if "mixed" in recipe.systems:
        shared[0.0, 1.0] = "mixed"
    return {shared.get(point, f"student.kd{point[0]:g}_t{point[1]:g}"): point for point in recipe.sweep_points()}


def teacher_node(recipe: Recipe, name: str) -> str:
    """Node of a teacher that a weighting rule names."""
    return generic_node(recipe, recipe.model.teacher) if name == GENERALIST else f"teacher.{name}"


def corpus_teachers(recipe: Recipe) -> dict[str, dict[str, float]]:
    """Corpus that has soft targets -> the teachers that score it and their weights; text without references too."""
    rule, domains = WEIGHTING_RULES[recipe.distill.weighting], list(recipe.domains)
    weights = {domain: rule(domain, domains) for domain in domains}
    return weights | {domain + TRANSFER: weights[domain] for domain in recipe.transfer_domains()}


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


def _add_trainings(table: Table, recipe: Recipe, *, teachers: bool, mixed: bool) -> None:
    """Generic models of the presets that are needed, teachers, mixed fine-tuning."""
    trained = [domain for domain in recipe.domains if teachers and domain not in recipe.teachers]
    generalist = _distils(recipe) and any(GENERALIST in of for of in corpus_teachers(recipe).values())
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
    if mixed:
        table.add("mixed", _student_parents(recipe), **_student_training(recipe))


def _distils(recipe: Recipe) -> bool:
    """Whether any student of the run learns from teachers."""
    return any(weight > 0 for weight, _ in [(recipe.distill.kd_weight, 1.0), *recipe.sweep_points()])


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
    for corpus, weights in corpus_teachers(recipe).items():
        domain = corpus.removesuffix(TRANSFER)
        translated = [f"transfer.{domain}"] if corpus != domain else []
        table.add(
            f"capture.{corpus}",
            ["binarize", *translated, *(teacher_node(recipe, name) for name in weights)],
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
        teachers = {teacher_node(recipe, teacher) for of in corpus_teachers(recipe).values() for teacher in of}
        taught_by = [node for node, of in table.nodes.items() if node in teachers or of.step in ("transfer", "capture")]
    parents = [*_student_parents(recipe), *taught_by]
    # Gates decide whether it is trained, `captured` what else a store holds: neither changes what comes out.
    loss = distill.model_dump(exclude={"gates", "captured"})
    table.add(name, dict.fromkeys(parents), distill=loss, **_student_training(recipe))


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
    table.add(f"decode.{model}", parents, sides=sides, decoding=recipe.decoding, languages=recipe.languages)


def _add_results(table: Table, recipe: Recipe, decoded: list[str]) -> None:
    named = {"name": recipe.name, "licences": _licences(recipe)}
    table.add("evaluate", ["split", *decoded], systems=recipe.systems, languages=recipe.languages, seed=recipe.seed)
    needed = ["split", "subword", "binarize", "student", "decode.student", "evaluate"]
    table.add("export", needed, decoding=recipe.decoding, languages=recipe.languages, **named)
    told = ["clean", "split", "gap", *TRAININGS, "transfer", "capture", "sweep", "evaluate", "export"]
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
