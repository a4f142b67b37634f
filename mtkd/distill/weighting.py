"""Which teachers score which rows, and how much each is believed.

What it owns: `WEIGHTING_RULES`. What it must not know: where teachers or rows are stored.
A rule takes the domain of a corpus and the names of all teachers (one a domain) and returns teacher -> weight, the
weights summing to 1; only the teachers it names are run over that corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def in_domain(domain: str, teachers: Sequence[str]) -> dict[str, float]:
    """Each row is scored by the teacher of its own domain alone (Tan et al. 2019, one expert a row)."""
    assert domain in teachers, f"no teacher for {domain}"
    return {domain: 1.0}


WEIGHTING_RULES: dict[str, Callable[[str, Sequence[str]], dict[str, float]]] = {"in_domain": in_domain}
