"""The generated recipes have what the tests that train on them rely on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from mtkd.corpus.clean import clean_corpora
from mtkd.corpus.split import find_leaks, split_corpora
from mtkd.corpus.subword import encode_corpora, train_subword
from mtkd.recipe import Recipe
from tests.toy import DOMAINS, LENGTHS, Language, write_micro, write_toy


def load(path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(path.parent)  # paths in a recipe are relative to its folder
    return Recipe.model_validate(yaml.safe_load(path.read_text()))


def test_the_same_seed_writes_the_same_toy(tmp_path: Path) -> None:
    first, second = write_toy(tmp_path / "1", pairs_per_domain=50), write_toy(tmp_path / "2", pairs_per_domain=50)
    names = sorted(path.name for path in first.parent.iterdir())
    assert names == ["bank.tsv", "court.tsv", "general.tsv", "recipe.yaml", "river.tsv"]
    assert all((first.parent / name).read_bytes() == (second.parent / name).read_bytes() for name in names)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_sentence_gives_its_domain_away_and_needs_it(domain: str) -> None:
    rng = random.Random(1)
    language = Language(rng)
    others = {word for other in DOMAINS if other != domain for word in language.typical[other]}
    for _ in range(300):
        source, target = language.sentence(rng, domain)
        words = source.split()
        assert len(words) == len(target.split())
        assert len(words) in LENGTHS
        assert sum(word in language.typical[domain] for word in words) >= 2
        assert sum(word in language.ambiguous for word in words) >= 2
        assert not others & set(words)


def test_ambiguous_words_have_a_translation_of_their_own_in_every_register() -> None:
    language = Language(random.Random(1))
    for word in language.ambiguous:
        assert len({translation[word] for translation in language.translation.values()}) == len(DOMAINS) + 1


def test_neutral_text_has_every_word_in_it() -> None:
    rng = random.Random(1)
    language = Language(rng)
    seen = {word for _ in range(500) for word in language.sentence(rng, "general")[0].split()}
    assert seen == set(language.translation["general"])


def test_toy_survives_the_corpus_steps_with_one_piece_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load(write_toy(tmp_path / "toy"), monkeypatch)
    clean_corpora(recipe, tmp_path / "clean")
    report = split_corpora(recipe, tmp_path / "clean", tmp_path / "split")
    for counts in report.values():
        assert 1500 <= counts["train"] <= 3000
        assert 100 <= counts["test"] <= 150
        assert 100 <= counts["dev"] <= 150
    assert find_leaks(tmp_path / "split", recipe.languages) == 0
    vocabulary = train_subword(recipe, tmp_path / "split", tmp_path / "subword")
    encode_corpora(tmp_path / "split", vocabulary.model, tmp_path / "encoded", recipe.languages)
    for group in report:
        for language in ("en", "de"):
            pieces = (tmp_path / "encoded" / group / f"train.{language}").read_text().split("\n")
            words = (tmp_path / "split" / group / f"train.{language}").read_text().split("\n")
            assert [len(line.split()) for line in pieces] == [len(line.split()) for line in words]


def test_micro_is_large_enough_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load(write_micro(tmp_path / "micro"), monkeypatch)
    assert {role.updates for role in (recipe.training.generic, recipe.training.teacher, recipe.training.student)} == {5}
    clean_corpora(recipe, tmp_path / "clean")
    report = split_corpora(recipe, tmp_path / "clean", tmp_path / "split")
    assert train_subword(recipe, tmp_path / "split", tmp_path / "subword").size == recipe.subword.vocab_size
    assert all(counts["train"] > 100 for counts in report.values())
