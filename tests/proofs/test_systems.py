"""Every system that a recipe can name, down the whole line to a report, with held-out text and changed test sets.

Minutes of training: `make prove`. tests/unit/test_plan_systems.py, test_system_steps.py and test_comparisons.py, and
tests/fairseq/test_tags_and_translations.py and test_translate_step.py have the parts.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mtkd.distill.topk import TopKStore
from mtkd.steps.files import RESULTS, TRANSLATIONS, read_choices, read_hypotheses, read_json
from mtkd.systems import SYSTEMS
from tests.proofs.toy_run import ToyRun, run_toy
from tests.toy import write_micro

pytestmark = pytest.mark.proof
DOMAINS = ("bank", "river")
ROBUSTNESS = ["upper_case", "typos", "short"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    """The micro recipe of two domains, the third held out, after `mtkd run`."""
    folder = tmp_path_factory.mktemp("systems")
    path = write_micro(folder, domains=len(DOMAINS))
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    court = recipe["domains"]["bank"] | {"corpora": [{"path": "court.tsv", "licence": "CC0-1.0"}]}
    recipe |= {"systems": list(SYSTEMS), "robustness": ROBUSTNESS, "held_out": {"court": court}}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return run_toy(path, folder / "run")


@pytest.fixture(scope="module")
def results(finished: ToyRun) -> dict[str, Any]:
    return read_json(finished.dir("evaluate") / RESULTS)


def flag(finished: ToyRun, model: str, name: str) -> bool:
    return name in (finished.dir(model) / "command.sh").read_text(encoding="utf-8").split()


def test_every_system_is_scored_wherever_it_can_translate(results) -> None:
    for scores in results["scores"].values():
        assert list(scores) == list(SYSTEMS)
        for system, of in scores.items():
            assert set(of) == {*DOMAINS, *(() if system == "teachers" else ("general", "court"))}
    for of in results["student_against"].values():
        assert set(of) == set(SYSTEMS) - {"student"}
    assert set(results["robustness"]) <= set(ROBUSTNESS)
    assert set(results["robustness"]["typos"]["bleu"]) == {"mixed", "routing", "teachers", "student"}


def test_each_training_differs_from_mixed_in_its_own_flags_alone(finished: ToyRun) -> None:
    mixed, tagged = ((finished.dir(name) / "command.sh").read_text().split() for name in ("mixed", "tagged"))
    here = [
        [word.replace(str(finished.dir(name)), "DIR") for word in of]
        for name, of in (("mixed", mixed), ("tagged", tagged))
    ]
    assert [word for word in here[1] if word != "--tag-domains"] == here[0]
    for model, flags in {
        "mixed": set(),
        "sequence_kd": {"--translations"},
        "word_and_sequence_kd": {"--translations", "--soft-targets"},
        "student": {"--soft-targets"},
    }.items():
        assert {
            name for name in ("--translations", "--soft-targets", "--tag-domains") if flag(finished, model, name)
        } == flags


def test_translations_are_rows_of_the_train_text_and_their_capture_is_of_them(finished: ToyRun) -> None:
    for domain in DOMAINS:
        counts = read_json(finished.dir(f"translate.{domain}") / TRANSLATIONS)
        store = TopKStore.open(finished.dir(f"capture.{domain}_translated") / "store").header
        own = TopKStore.open(finished.dir(f"capture.{domain}") / "store").header
        assert store.rows == own.rows == counts["rows"]
        assert store.targets != own.targets
        assert store.teachers == own.teachers
        assert store.corpus == f"{domain}_translated"


def test_tags_are_for_the_domains_own_text(finished: ToyRun) -> None:
    found = {name: read_hypotheses(finished.dir(f"decode.{name}"), "test") for name in ("mixed", "tagged")}
    assert found["tagged"].keys() == found["mixed"].keys() == {*DOMAINS, "general", "court"}
    assert not [line for of in found["tagged"].values() for line in of if "<dom:" in line]


def test_routing_speaks_with_the_chosen_teachers_words(finished: ToyRun) -> None:
    choices = read_choices(finished.dir("route"), "typos")
    routed = read_hypotheses(finished.dir("decode_perturbed.routing"), "typos")
    own = read_hypotheses(finished.dir("decode_perturbed.teachers"), "typos")
    agree = total = 0
    for domain in DOMAINS:
        assert len(routed[domain]) == len(own[domain]) == len(choices[domain])
        for choice, line, other in zip(choices[domain], routed[domain], own[domain], strict=True):
            agree += choice != domain or line == other
            total += 1
    # Batches differ, which may turn a near tie.
    assert agree >= 0.9 * total


def test_the_report_shows_them_all(finished: ToyRun) -> None:
    page = (finished.dir("report") / "index.html").read_text(encoding="utf-8")
    for shown in (
        "tagged (oracle tag)",
        "sequence-level KD",
        "word + sequence KD",
        "uniform ensemble",
        "routing by classifier",
        "taken for river",
        "2 teachers in float32 and the classifier",
        "Changed test sets",
        "court: held out",
        "student less mixed",
    ):
        assert shown in page, shown


def test_further_systems_leave_what_the_first_four_need_alone(finished: ToyRun) -> None:
    plain = ("systems=[generic, mixed, teachers, student]", "robustness=[]")
    states = ToyRun(finished.recipe, finished.root, plain).workspace.states()
    assert {name for name, state in states.items() if not state.done} == {"evaluate", "export", "report"}
