"""The step translate: a domain's own train text, its teacher's translations in place of the references."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fairseq.data import Dictionary

from mtkd.decoding import Beam, Decoder
from mtkd.export import Vocabulary, convert
from mtkd.fairseq_model import to_stock
from mtkd.progress import Progress
from mtkd.recipe_file import load_recipe
from mtkd.steps import transfers
from mtkd.steps.files import TRANSLATIONS
from mtkd.teacher import load_rows
from tests.fairseq import prepared_step
from tests.fairseq.prepared_step import Prepared
from tests.toy import write_micro

SYSTEMS = "systems=[sequence_kd, student]"


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


class Killed(Progress):
    """Stops like a kill once so many sentences are translated."""

    def __init__(self, after: int) -> None:
        super().__init__("translate.bank", as_events=False)
        self.after = after

    def update(self, done: int, total: int, note: str = "") -> None:
        if done >= self.after:
            raise KeyboardInterrupt


def prepare(micro, teacher: Path, root: Path, *overrides: str) -> Prepared:
    recipe = load_recipe(write_micro(root / "recipe"), [SYSTEMS, *overrides])
    return prepared_step.prepare(micro, teacher, recipe, root / "run", "translate.bank")


@pytest.fixture(scope="module")
def translated(micro, bank_teacher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the step translate.bank leaves."""
    return prepare(micro, bank_teacher, tmp_path_factory.mktemp("translate")).run()


def test_row_i_stays_row_i_and_is_the_teachers_or_keeps_its_reference(
    translated: Path, micro, bank_teacher, tmp_path
) -> None:
    sources, targets = (lines(translated / f"train.{lang}") for lang in ("en", "de"))
    given = micro.split / "bank"
    references = lines(given / "train.de")
    assert sources == lines(given / "train.en")
    assert len(targets) == len(references)
    to_stock(bank_teacher, tmp_path / "stock.pt", source_lang="en", target_lang="de")
    convert(tmp_path / "stock.pt", Vocabulary(micro.subword_model, micro.dictionary, "en", "de"), tmp_path / "model")
    decoder = Decoder(tmp_path / "model", micro.subword_model, threads=1)
    alone = [decoder.hypotheses([source], Beam(5, 1.0))[0].text for source in sources]
    # A batch rounds in another order, which may turn a near tie.
    by_teacher = sum(target == text for target, text in zip(targets, alone, strict=True))
    kept = sum(target == reference for target, reference in zip(targets, references, strict=True))
    counts = json.loads((translated / TRANSLATIONS).read_text())
    assert counts["rows"] == len(sources) == counts["translated"] + sum(counts["reference kept"].values())
    assert counts["translated"] > len(sources) / 2
    assert by_teacher >= 0.95 * counts["translated"]
    assert kept >= counts["rows"] - counts["translated"]


def test_what_is_binarised_is_what_was_written(translated: Path, micro) -> None:
    dictionary = Dictionary.load(str(micro.dictionary))
    rows = load_rows(translated / "data" / "bank_translated", "train", dictionary, "en", "de")
    targets = lines(translated / "train.de")
    assert len(rows) == len(targets)
    for row in (0, len(rows) - 1):
        spelt = dictionary.string(rows.tgt[row], "sentencepiece")
        assert spelt == targets[row]
    assert (translated / "vocabulary.json").is_file()
    assert not (translated / "work").exists()


def test_translations_that_teach_nothing_leave_the_reference(micro, bank_teacher, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(transfers, "MAX_PIECES", 1)
    folder = prepare(micro, bank_teacher, tmp_path).run()
    counts = json.loads((folder / TRANSLATIONS).read_text())
    assert counts["translated"] == 0
    assert counts["reference kept"]["too_long"] > 0
    assert lines(folder / "train.de") == lines(micro.split / "bank" / "train.de")


def test_rows_are_augmented_as_the_recipe_says_and_the_text_shows_them_as_translated(
    micro, bank_teacher, translated: Path, tmp_path: Path
) -> None:
    folder = prepare(micro, bank_teacher, tmp_path, "augmentation.upper_case=1.0").run()
    assert lines(folder / "train.de") == lines(translated / "train.de")
    dictionary = Dictionary.load(str(micro.dictionary))
    rows = load_rows(folder / "data" / "bank_translated", "train", dictionary, "en", "de")
    plain = load_rows(translated / "data" / "bank_translated", "train", dictionary, "en", "de")
    assert len(rows) == len(plain)
    assert rows.src[0].tolist() != plain.src[0].tolist()


def test_a_killed_run_continues_and_equals_an_uninterrupted_one(
    micro, bank_teacher, translated: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(transfers, "SENTENCES_PER_PART", 32)
    prepared = prepare(micro, bank_teacher, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        prepared.run(Killed(after=64))
    (folder,) = (prepared.root / "steps" / "translate.bank").iterdir()
    assert len(list((folder / "work" / "translations").iterdir())) == 2
    assert not (folder / TRANSLATIONS).exists()
    assert prepared.run() == folder
    assert lines(folder / "train.en") == lines(translated / "train.en")
    assert len(lines(folder / "train.de")) == len(lines(translated / "train.de"))
