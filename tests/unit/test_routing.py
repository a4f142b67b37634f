"""The router that stands for the setup before the student: strong, balanced, repeatable, and measured as it is."""

from __future__ import annotations

import json
import random

import pytest

from mtkd import routing
from mtkd.errors import UsageError
from mtkd.routing import Router
from tests.unit.corpus_text import random_text

LETTERS = {"law": "abcdefg", "music": "efghijk", "office": "ijklmno"}
"""Neighbours share some."""


def text_of(seed: int, letters: str, count: int, *, words: int = 6) -> list[str]:
    rng = random.Random(seed)
    return [random_text(rng, words, letters=letters, length=4) for _ in range(count)]


def texts(seed: int, count: int) -> dict[str, list[str]]:
    return {domain: text_of(seed + place, letters, count) for place, (domain, letters) in enumerate(LETTERS.items())}


@pytest.fixture(scope="module")
def router() -> Router:
    return Router.fit(texts(1, 200), seed=1)


def test_domains_are_told_apart(router: Router) -> None:
    found = router.measure(texts(20, 100))
    assert found["macro_accuracy"] > 0.97
    assert router.domains == ["law", "music", "office"]


def test_what_is_measured_is_what_is_routed(router: Router) -> None:
    test = {domain: sentences[: 20 + 5 * place] for place, (domain, sentences) in enumerate(texts(40, 40).items())}
    found = router.measure(test)
    for domain, sentences in test.items():
        routed = router.route(sentences)
        assert found["confusion"][domain] == {other: routed.count(other) for other in router.domains}
        assert found["accuracy"][domain] == routed.count(domain) / len(sentences)
    assert found["macro_accuracy"] == pytest.approx(sum(found["accuracy"].values()) / 3)
    assert json.loads(json.dumps(found)) == found


def test_cost_is_that_of_one_sentence_and_of_what_is_kept(router: Router) -> None:
    found = router.measure(texts(40, 20))
    assert 0.0 < found["ms_per_sentence"] < 1000.0
    larger = Router.fit(texts(1, 800), seed=1).measure(texts(40, 20))
    assert 10_000 < found["bytes"] < larger["bytes"]


def test_neither_order_of_domains_nor_of_sentences_matters(router: Router) -> None:
    train, unseen = texts(1, 200), [sentence for of in texts(60, 60).values() for sentence in of]
    other = Router.fit({domain: train[domain][::-1] for domain in reversed(train)}, seed=1)
    assert other.route(unseen) == router.route(unseen)
    assert other.measure(texts(40, 20))["bytes"] == router.measure(texts(40, 20))["bytes"]


def test_a_sentence_is_routed_alike_alone_and_among_others(router: Router) -> None:
    unseen = [sentence for of in texts(60, 10).values() for sentence in of]
    assert [router.route([sentence])[0] for sentence in unseen] == router.route(unseen)
    assert router.route([]) == []


def test_a_large_domain_is_no_likelier_beforehand() -> None:
    small, large = text_of(1, "abcdef", 40), text_of(2, "efghij", 800)
    found = Router.fit({"small": small, "large": large}, seed=1).measure(
        {"small": text_of(3, "abcdef", 300, words=2), "large": text_of(4, "efghij", 300, words=2)}
    )
    assert found["accuracy"]["small"] > 0.85
    assert found["accuracy"]["large"] > 0.85


def test_capitals_and_slips_do_not_mislead(router: Router) -> None:
    for domain, sentences in texts(40, 50).items():
        assert router.route([sentence.upper() for sentence in sentences]) == router.route(sentences)
        swapped = [sentence[1] + sentence[0] + sentence[2:] for sentence in sentences]
        assert router.route(swapped).count(domain) >= 45


def test_a_large_domain_is_sampled_by_its_text_and_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "SENTENCES_PER_DOMAIN", 50)
    train, test = texts(1, 300), texts(40, 10)
    sizes = [
        Router.fit(of, seed=seed).measure(test)["bytes"]
        for of, seed in ((train, 1), ({domain: text[::-1] for domain, text in train.items()}, 1), (train, 2))
    ]
    assert sizes[0] == sizes[1] != sizes[2]
    monkeypatch.undo()
    assert Router.fit(train, seed=1).measure(test)["bytes"] > 2 * sizes[0]


def test_one_domain_needs_no_router() -> None:
    with pytest.raises(UsageError, match="one domain to choose from; leave it out of the systems"):
        Router.fit({"law": ["ab cd"] * 4}, seed=1)
