"""The systems that a recipe can compare, and which models, teachers and texts each of them is made of.

What it owns: `SYSTEMS`, the names of nodes. What it must not know: parents, slices and keys of nodes (`plan.py`), how
a step works. Why apart: steps ask for these names too.
"""

from __future__ import annotations

from collections.abc import Callable

from mtkd.distill.weighting import WEIGHTING_RULES
from mtkd.recipe import Recipe
from mtkd.recipe_text import GENERALIST, TRANSFER, TRANSLATED


def teacher_nodes(recipe: Recipe) -> tuple[str, ...]:
    """Every domain's own teacher."""
    return tuple(f"teacher.{domain}" for domain in recipe.domains)


SYSTEMS: dict[str, Callable[[Recipe], tuple[str, ...]]] = {
    "generic": lambda recipe: (generic_node(recipe, recipe.model.student),),
    "mixed": lambda recipe: ("mixed",),
    "tagged": lambda recipe: ("tagged",),
    "sequence_kd": lambda recipe: ("sequence_kd",),
    "word_and_sequence_kd": lambda recipe: ("word_and_sequence_kd",),
    "uniform_ensemble": teacher_nodes,
    "routing": teacher_nodes,
    "teachers": teacher_nodes,
    "student": lambda recipe: ("student",),
}
"""System -> the models that must be made and decoded to compare it."""
OF_TEACHERS = ("teachers", "uniform_ensemble", "routing", "sequence_kd", "word_and_sequence_kd")
"""Systems that need the teachers, whatever the student learns from."""
PERTURBED = ("mixed", "routing", "teachers", "student")
"""Systems that translate the changed test sets, where a recipe asks for them."""


def generic_node(recipe: Recipe, preset: str) -> str:
    """Name of the generic model of one preset: `generic` is the teachers', whatever shape the student has."""
    return "generic" if preset == recipe.model.teacher else f"generic.{preset}"


def sweep_students(recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Model (node name) -> (kd_weight, temperature) of every student of the sweep; the run's own ones serve."""
    shared = {(recipe.distill.kd_weight, recipe.distill.temperature): "student"}
    if "mixed" in recipe.systems:
        shared[0.0, 1.0] = "mixed"
    return {shared.get(point, f"student.kd{point[0]:g}_t{point[1]:g}"): point for point in recipe.sweep_points()}


def teacher_node(recipe: Recipe, name: str) -> str:
    """Node of a teacher that a weighting rule names."""
    return generic_node(recipe, recipe.model.teacher) if name == GENERALIST else f"teacher.{name}"


def text_node(corpus: str) -> str:
    """Node that binarised a corpus: the recipe's own text, or one that a teacher has translated."""
    if corpus.endswith(TRANSFER):
        return f"transfer.{corpus.removesuffix(TRANSFER)}"
    return f"translate.{corpus.removesuffix(TRANSLATED)}" if corpus.endswith(TRANSLATED) else "binarize"


def corpus_teachers(recipe: Recipe) -> dict[str, dict[str, float]]:
    """Corpus that has soft targets -> the teachers that score it and their weights; text without references too."""
    rule, domains = WEIGHTING_RULES[recipe.distill.weighting], list(recipe.domains)
    weights = {domain: rule(domain, domains) for domain in domains}
    return weights | {domain + TRANSFER: weights[domain] for domain in recipe.transfer_domains()}


def scorers(recipe: Recipe) -> set[str]:
    """Nodes of the teachers whose beliefs the recipe's weighting rule asks for."""
    return {teacher_node(recipe, teacher) for of in corpus_teachers(recipe).values() for teacher in of}


def distils(recipe: Recipe) -> bool:
    """Whether any student of the run learns from teachers."""
    return any(weight > 0 for weight, _ in [(recipe.distill.kd_weight, 1.0), *recipe.sweep_points()])
