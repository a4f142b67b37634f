"""Which teachers a row is scored by, how much each is believed, and what a store of them can hold."""

from __future__ import annotations

import pytest

from mtkd.distill.weighting import WEIGHTING_RULES, rule_text, stored_temperatures
from mtkd.errors import UsageError
from mtkd.recipe_text import GENERALIST

DOMAINS = ["bank", "river", "court"]
NAMED = {
    "in_domain": {"river"},
    "uniform": set(DOMAINS),
    "generalist_and_specialist": {GENERALIST, "river"},
}
"""Rule -> the teachers that are run over the text of the domain `river`."""


@pytest.mark.parametrize("rule", WEIGHTING_RULES)
def test_every_rule_runs_the_teachers_it_should_and_believes_in_all_of_them_together_once(rule: str) -> None:
    weights = WEIGHTING_RULES[rule]("river", DOMAINS)
    assert weights.keys() == NAMED[rule]
    assert sum(weights.values()) == pytest.approx(1.0)
    assert min(weights.values()) > 0


@pytest.mark.parametrize("rule", WEIGHTING_RULES)
def test_every_rule_works_for_one_domain(rule: str) -> None:
    assert sum(WEIGHTING_RULES[rule]("bank", ["bank"]).values()) == pytest.approx(1.0)


def test_a_store_names_the_weights_of_its_rule_where_there_is_more_than_one() -> None:
    assert rule_text("in_domain", {"bank": 1.0}) == "in_domain"
    text = rule_text("generalist_and_specialist", {"generic": 0.5, "bank": 0.5})
    assert text == rule_text("generalist_and_specialist", {"bank": 0.5, "generic": 0.5})
    assert text == "generalist_and_specialist(bank=0.5,generic=0.5)"


@pytest.mark.parametrize("asked", [[1.0], [1.0, 2.0], [1.0, 2.0, 4.0]])
def test_one_teacher_is_stored_for_every_temperature(asked: list[float]) -> None:
    assert stored_temperatures("uniform", {"bank": 1.0}, asked) == asked


def test_several_teachers_are_stored_for_the_one_temperature_that_is_asked_for() -> None:
    halves = {"bank": 0.5, "river": 0.5}
    assert stored_temperatures("uniform", halves, [1.0]) == [1.0]
    assert stored_temperatures("uniform", halves, [1.0, 2.0]) == [2.0]
    with pytest.raises(UsageError, match=r"'uniform'.*2, 4 are asked for: capture one temperature at a time"):
        stored_temperatures("uniform", halves, [1.0, 2.0, 4.0])
