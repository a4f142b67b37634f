"""The steps robustness, route and evaluate on real files: from split and hypotheses to the results of all systems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtkd import scoring
from mtkd.context import StepContext
from mtkd.corpus.clean import clean_corpora
from mtkd.corpus.split import split_corpora
from mtkd.corpus.subword import VOCABULARY, train_subword
from mtkd.pipeline import open_workspace
from mtkd.progress import Progress
from mtkd.recipe import Recipe
from mtkd.recipe_file import load_recipe
from mtkd.steps import STEPS
from mtkd.steps.files import HYPOTHESES, RESULTS, ROUTES, read_choices, read_json, read_perturbed
from mtkd.systems import SYSTEMS
from mtkd.workspace import Workspace
from tests.unit.workflow_recipe import DOMAINS, write_recipe

OVERRIDES = [
    f"systems=[{', '.join(SYSTEMS)}]",
    "robustness=[upper_case, typos, no_final_punctuation]",
    "held_out={cooking: {corpora: [{path: text/cooking.tsv, licence: MIT}], split: {test: 0.2, dev: 0.1}}}",
    "subword.vocab_size=480",
]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


class Run:
    """A recipe with everything that is newer than mixed fine-tuning, split, and as if all its models had decoded."""

    def __init__(self, folder: Path) -> None:
        path = write_recipe(folder)
        text = (folder / "text" / "it.tsv").read_text(encoding="utf-8")
        changed = text.translate(str.maketrans("abcde", "vwxyz"))
        (folder / "text" / "cooking.tsv").write_text("src\ttgt\n" + changed.partition("\n")[2], encoding="utf-8")
        self.recipe: Recipe = load_recipe(path, OVERRIDES)
        self.place: Workspace = open_workspace(self.recipe, folder / "run")
        self.split = self.place.dir("split")
        clean_corpora(self.recipe, self.place.dir("clean"))
        split_corpora(self.recipe, self.place.dir("clean"), self.split)

    def step(self, name: str) -> Path:
        node = self.place.plan.nodes[name]
        context = StepContext(self.recipe, self.place.plan, self.place, node, 1, Progress(name, as_events=False))
        context.dir.mkdir(parents=True, exist_ok=True)
        STEPS[node.step](context)
        return context.dir

    def translate_as(self, node: str, texts: dict[str, list[str]], mark: str) -> None:
        """Write hypotheses: the references, with a mark on every other line."""
        folder = self.place.dir(node) / HYPOTHESES
        folder.mkdir(parents=True, exist_ok=True)
        for name, references in texts.items():
            marked = [f"{line} {mark}" if number % 2 else line for number, line in enumerate(references)]
            (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in marked), encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("systems"))
    changed = run.step("robustness")
    run.step("route")
    tests = {f"{group}.test": lines(run.split / group / "test.de") for group in run.recipe.corpora_groups()}
    for name, node in run.place.plan.nodes.items():
        if node.step in ("decode", "uniform_ensemble"):
            run.translate_as(name, tests, name)
        if node.step == "decode_perturbed":
            for variant in run.recipe.robustness:
                texts = read_perturbed(changed, variant, "de")
                run.translate_as(name, {f"{domain}.{variant}": of for domain, of in texts.items()}, name)
    return run


@pytest.fixture(scope="module")
def results(run: Run) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        # As few resamples as a huge test set would get: there are a few hundred tests to make.
        patch.setattr(scoring, "MAX_RESAMPLED_ROWS", 1)
        return read_json(run.step("evaluate") / RESULTS)


def test_every_variant_leaves_sides_of_equal_length_and_no_empty_file(run: Run) -> None:
    changed = run.place.dir("robustness")
    for variant in ("upper_case", "typos"):
        sides = [read_perturbed(changed, variant, lang) for lang in ("en", "de")]
        assert set(sides[0]) == set(DOMAINS)
        assert all(len(sides[0][domain]) == len(sides[1][domain]) > 0 for domain in DOMAINS)
    # The texts have no punctuation, and a file without lines could not be read.
    assert read_perturbed(changed, "no_final_punctuation", "en") == {}


def test_a_teacher_is_chosen_for_every_sentence_of_every_text(run: Run) -> None:
    routed, changed = run.place.dir("route"), run.place.dir("robustness")
    choices = read_choices(routed, "test")
    assert set(choices) == {*DOMAINS, "cooking"}
    for group, of in choices.items():
        assert len(of) == len(lines(run.split / group / "test.en"))
        assert set(of) <= set(DOMAINS)
    typos = read_perturbed(changed, "typos", "en")
    assert {domain: len(of) for domain, of in read_choices(routed, "typos").items()} == {
        domain: len(of) for domain, of in typos.items()
    }
    assert set(read_json(routed / ROUTES)["accuracy"]) == set(DOMAINS)


def test_all_systems_are_scored_on_all_texts_they_can_translate(run: Run, results) -> None:
    for metric in ("bleu", "chrf"):
        assert list(results["scores"][metric]) == list(SYSTEMS)
        for system, of in results["scores"][metric].items():
            assert list(of) == [*DOMAINS] + ([] if system == "teachers" else ["cooking"])
    assert results["routing"] == read_json(run.place.dir("route") / ROUTES)


def test_routing_says_what_the_chosen_teachers_say(run: Run, results) -> None:
    from sacrebleu.metrics import CHRF

    choices = read_choices(run.place.dir("route"), "test")["cooking"]
    by_teacher = {
        domain: lines(run.place.dir(f"decode.teacher.{domain}") / HYPOTHESES / "cooking.test.txt") for domain in DOMAINS
    }
    said = [by_teacher[domain][number] for number, domain in enumerate(choices)]
    expected = CHRF().corpus_score(said, [lines(run.split / "cooking" / "test.de")]).score
    assert results["scores"]["chrf"]["routing"]["cooking"]["score"] == pytest.approx(expected)


def test_changed_test_sets_are_compared_for_the_four_systems_that_translate_them(results) -> None:
    assert set(results["robustness"]) == {"upper_case", "typos"}
    assert set(results["robustness"]["typos"]["bleu"]) == {"mixed", "routing", "teachers", "student"}
    assert set(results["robustness_against"]["bleu"]["typos"]) == {"mixed", "routing"}


def test_no_model_and_no_vocabulary_learns_from_what_is_held_out(run: Run, tmp_path: Path) -> None:
    train_subword(run.recipe, run.split, tmp_path / "with")
    vocabulary = read_json(tmp_path / "with" / VOCABULARY)
    train_subword(run.recipe.model_copy(update={"held_out": {}}), run.split, tmp_path / "without")
    assert read_json(tmp_path / "without" / VOCABULARY) == vocabulary
    assert "<dom:cooking>" not in vocabulary["reserved"]
