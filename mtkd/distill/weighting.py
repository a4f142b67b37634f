"""Which teachers score which rows, and how much each is believed.

What it owns: `WEIGHTING_RULES`, and what follows from a rule's weights for a store.
What it must not know: where teachers or rows are stored, how distributions are mixed.
A rule takes the domain of a corpus and the names of all teachers (one a domain) and returns teacher -> weight, the
weights summing to 1; only the teachers it names are run over that corpus. `GENERALIST` names the model that the
teachers were fine-tuned from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mtkd.errors import UsageError
from mtkd.recipe_text import GENERALIST


def in_domain(domain: str, teachers: Sequence[str]) -> dict[str, float]:
    """Each row is scored by the teacher of its own domain alone (Tan et al. 2019, one expert a row)."""
    assert domain in teachers, f"no teacher for {domain}"
    return {domain: 1.0}


def uniform(domain: str, teachers: Sequence[str]) -> dict[str, float]:
    """Every teacher is believed alike, wherever the row is from: an ensemble (Hinton et al. 2015, section 1)."""
    return dict.fromkeys(teachers, 1.0 / len(teachers))


def generalist_and_specialist(domain: str, teachers: Sequence[str]) -> dict[str, float]:
    """The generic model and the domain's own teacher, half each (Hinton et al. 2015, section 5)."""
    assert domain in teachers, f"no teacher for {domain}"
    return {GENERALIST: 0.5, domain: 0.5}


WEIGHTING_RULES: dict[str, Callable[[str, Sequence[str]], dict[str, float]]] = {
    "in_domain": in_domain,
    "uniform": uniform,
    "generalist_and_specialist": generalist_and_specialist,
}


def rule_text(rule: str, weights: Mapping[str, float]) -> str:
    """The rule as a store's header names it: with its weights where several teachers share a row."""
    if len(weights) == 1:
        return rule
    return f"{rule}({','.join(f'{name}={weight:g}' for name, weight in sorted(weights.items()))})"


def stored_temperatures(rule: str, weights: Mapping[str, float], temperatures: Sequence[float]) -> list[float]:
    """The temperatures that a store of these teachers holds, of those that are asked for, 1.0 among them.

    One teacher's row serves every temperature whose tail was kept with it. Several teachers are mixed after each was
    tempered, and the mixture at one temperature says nothing of that at another: their store holds one alone, the one
    that is not 1 where there is such.

    Raises:
        UsageError: several teachers, and more than one temperature besides 1.
    """
    if len(weights) == 1:
        return list(temperatures)
    tempered = [temperature for temperature in temperatures if temperature != 1.0]
    if len(tempered) > 1:
        listed = ", ".join(f"{temperature:g}" for temperature in tempered)
        raise UsageError(
            f"distill.weighting '{rule}' mixes teachers after tempering each, so a store of theirs serves one "
            f"temperature, but {listed} are asked for: capture one temperature at a time (no sweep over temperatures, "
            "no distill.captured.temperatures), or use distill.weighting 'in_domain'"
        )
    return tempered or [1.0]
