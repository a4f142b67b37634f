"""The student learns from its teachers' beliefs, and from nothing else where it is told to: on the toy's domains.

Minutes of training: `make prove`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtkd import export, fairseq_model
from mtkd.decoding import Beam, Decoder
from mtkd.distill.store_writer import StoreWriter
from mtkd.distill.topk import TeacherRows, TopKStore
from mtkd.export import Vocabulary
from mtkd.scoring import score
from tests.proofs.toy_run import ToyRun, retrain
from tests.toy import DOMAINS

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def bleu(toy: ToyRun) -> dict[str, dict[str, float]]:
    """System -> test set -> BLEU."""
    found = {system: toy.bleu(system) for system in ("generic", "teachers", "student")}
    print(found)
    return found


def test_teachers_know_their_domain_and_the_generic_model_does_not(bleu) -> None:
    for domain in DOMAINS:
        assert bleu["teachers"][domain] >= 95
        assert bleu["generic"][domain] < 0.6 * bleu["teachers"][domain]


def test_one_student_equals_all_teachers_with_no_domain_given(bleu) -> None:
    for domain in DOMAINS:
        assert bleu["student"][domain] >= 0.9 * bleu["teachers"][domain]


def test_soft_targets_alone_teach_even_beside_random_labels(toy: ToyRun, bleu, tmp_path: Path) -> None:
    plugin = Path(__file__).parent / "random_labels"
    found = retrained(toy, tmp_path, {"--task": "random_labels", "--user-dir": str(plugin), "--kd-weight": "1.0"})
    for domain in DOMAINS:
        assert found[domain] >= 0.9 * bleu["teachers"][domain]


def test_soft_targets_of_other_rows_teach_nothing(toy: ToyRun, bleu, tmp_path: Path) -> None:
    stores = {domain: str(shuffled(toy.dir(f"capture.{domain}") / "store", tmp_path / domain)) for domain in DOMAINS}
    found = retrained(toy, tmp_path, {"--soft-targets": json.dumps(stores), "--kd-weight": "1.0"})
    for domain in DOMAINS:
        assert found[domain] < 0.6 * bleu["teachers"][domain]


def retrained(toy: ToyRun, folder: Path, changes: dict[str, str]) -> dict[str, float]:
    """BLEU by domain of the last checkpoint of the student's training with some flags changed."""
    retrain(toy, folder / "checkpoints", changes)
    words = toy.dir("subword")
    vocabulary = Vocabulary(words / "sentencepiece.model", words / "dict.txt", "en", "de")
    stock = folder / "student.pt"
    fairseq_model.to_stock(folder / "checkpoints" / "checkpoint_last.pt", stock, source_lang="en", target_lang="de")
    export.convert(stock, vocabulary, folder / "float32")
    decoder = Decoder(folder / "float32", vocabulary.subword_model, threads=2)
    found: dict[str, Any] = {}
    for domain in DOMAINS:
        sides = [(toy.dir("split") / domain / f"test.{lang}").read_text().split("\n")[:-1] for lang in ("en", "de")]
        hypotheses = decoder.translate(sides[0], Beam(5, 1.0))
        found[domain] = score(hypotheses, sides[1], target_lang="de")["bleu"]["score"]
    print(found)
    return found


def shuffled(source: Path, target: Path) -> Path:
    """The store with rows of equal length exchanged at random; every checksum is right, only the rows are not."""
    store = TopKStore.open(source)
    lengths = np.load(source / "lengths.npy")
    order = np.arange(len(lengths))
    rng = np.random.default_rng(1)
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        order[places] = rng.permutation(places)
    assert (order != np.arange(len(order))).mean() > 0.9
    shutil.rmtree(target, ignore_errors=True)
    writer = StoreWriter(target, store.header, lengths.tolist())
    rows = [store.row(row) for row in order]
    writer.append(len(rows), TeacherRows(*(np.concatenate(parts) for parts in zip(*rows, strict=True))))
    return writer.finish().path
