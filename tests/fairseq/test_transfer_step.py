"""The step transfer: text without references becomes a train split of the teacher's own translations."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fairseq.data import Dictionary

from mtkd.corpus.transfer import COUNTS, REASONS
from mtkd.decoding import EXTRA_PIECES, Beam, Decoder
from mtkd.errors import CorpusError
from mtkd.export import Vocabulary, convert
from mtkd.fairseq_model import to_stock
from mtkd.plan import build_plan
from mtkd.progress import Progress
from mtkd.recipe_file import load_recipe
from mtkd.steps import transfers
from mtkd.teacher import load_rows
from mtkd.workspace import Workspace
from tests.fairseq import prepared_step
from tests.fairseq.prepared_step import Prepared
from tests.toy import write_micro

SENTENCES = 60


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


class Quiet(Progress):
    """Keeps what was translated when, and stops like a kill once so many sentences are translated."""

    def __init__(self, kill_after: int | None = None) -> None:
        super().__init__("transfer.bank")
        self.kill_after = kill_after
        self.updates: list[int] = []

    def update(self, done: int, total: int, note: str = "") -> None:
        self.updates.append(done)
        if self.kill_after is not None and done >= self.kill_after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def decoder(micro, bank_teacher, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """The same teacher, converted once more."""
    folder = tmp_path_factory.mktemp("decoder")
    to_stock(bank_teacher, folder / "stock.pt", source_lang="en", target_lang="de")
    convert(folder / "stock.pt", Vocabulary(micro.subword_model, micro.dictionary, "en", "de"), folder / "model")
    return Decoder(folder / "model", micro.subword_model, threads=1)


def prepare(micro, teacher: Path, root: Path) -> Prepared:
    recipe = load_recipe(write_micro(root / "recipe", transfer_sentences=SENTENCES))
    return prepared_step.prepare(micro, teacher, recipe, root / "run", "transfer.bank")


@pytest.fixture(scope="module")
def translated(micro, bank_teacher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the step transfer.bank leaves."""
    return prepare(micro, bank_teacher, tmp_path_factory.mktemp("transfer")).run()


def binarised(micro, folder: Path) -> Any:
    dictionary = Dictionary.load(str(micro.dictionary))
    return load_rows(folder / "data" / "bank_transfer", "train", dictionary, "en", "de")


def contents(folder: Path) -> dict[str, bytes]:
    """What a reader of the step's folder can see, without what names the folder itself."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".log", ".sh"}]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_folder_holds_text_counts_and_a_train_split(translated: Path, micro) -> None:
    names = {"train.en", "train.de", COUNTS, "vocabulary.json", "data/bank_transfer/dict.en.txt"}
    names |= {"data/bank_transfer/dict.de.txt"}
    names |= {f"data/bank_transfer/train.en-de.{lang}.{kind}" for lang in ("en", "de") for kind in ("bin", "idx")}
    assert set(contents(translated)) == names
    assert (translated / "vocabulary.json").read_bytes() == (micro.subword / "vocabulary.json").read_bytes()
    assert (translated / "command.sh").read_text().startswith("fairseq-preprocess --source-lang en")


def test_counts_say_what_became_of_every_sentence(translated: Path, micro) -> None:
    counts = json.loads((translated / COUNTS).read_text())
    assert list(counts["dropped"]) == list(REASONS)
    assert counts["read"] == SENTENCES == counts["kept"] + sum(counts["dropped"].values())
    assert counts["kept"] == len(lines(translated / "train.en")) == len(lines(translated / "train.de")) > SENTENCES / 2
    assert counts["licences"] == ["CC0-1.0"]
    rows = binarised(micro, translated)
    assert counts["tokens"] == {"en": int(rows.src_sizes.sum()), "de": int(rows.tgt_sizes.sum())}


def test_row_i_is_kept_sentence_i_and_its_translation(translated: Path, micro, decoder: Decoder) -> None:
    """Sentences are translated sorted by length and in batches: each one alone must come out alike."""
    sources, translations = lines(translated / "train.en"), lines(translated / "train.de")
    alone = [decoder.translate([source], Beam(5, 1.0))[0] for source in sources]
    assert len(set(translations)) > len(sources) / 2
    # A batch rounds in another order, which may turn a near tie.
    assert sum(map(str.__eq__, alone, translations)) >= 0.95 * len(sources)
    rows = binarised(micro, translated)
    dictionary = Dictionary.load(str(micro.dictionary))
    for row, (source, translation) in enumerate(zip(sources, translations, strict=True)):
        for side, text in ((rows.src, source), (rows.tgt, translation)):
            assert dictionary.string(side[row]).split() == decoder.pieces([text])[0]
            assert side[row][-1] == dictionary.eos()


def test_a_killed_run_continues_and_equals_an_uninterrupted_one(
    micro, bank_teacher, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(transfers, "SENTENCES_PER_PART", 16)
    whole, killed = (prepare(micro, bank_teacher, tmp_path / name) for name in ("whole", "killed"))
    expected = contents(whole.run())
    with pytest.raises(KeyboardInterrupt):
        killed.run(Quiet(kill_after=32))
    (folder,) = (killed.root / "steps" / "transfer.bank").iterdir()
    assert not (folder / COUNTS).exists()
    parts = folder / "work" / "translations"
    assert sorted(path.name for path in parts.iterdir()) == ["000000.tsv", "000001.tsv"]
    (parts / "000002.tsv.tmp").write_text("0\thalf a li")
    # What was committed is taken as it is: a translation that no teacher would write shows it.
    first, rest = (parts / "000000.tsv").read_text().split("\n", 1)
    words = " ".join("mark" for _ in first.split())
    (parts / "000000.tsv").write_text(f"0\t{words}\n{rest}")
    progress = Quiet()
    assert killed.run(progress) == folder
    assert progress.updates == [16, 32, 48, 60]
    found = contents(folder)
    assert found["train.en"] == expected["train.en"]
    assert found["train.de"].split(b"\n")[1:] == expected["train.de"].split(b"\n")[1:]
    assert found["train.de"].startswith(b"mark mark")
    assert found.keys() == expected.keys()
    shutil.rmtree(folder)
    killed.run()
    assert contents(folder) == expected


def test_killed_once_the_counts_are_written_nothing_is_translated_again(
    translated: Path, micro, tmp_path: Path
) -> None:
    prepared = Prepared(
        load_recipe(write_micro(tmp_path / "recipe", transfer_sentences=SENTENCES)), tmp_path / "run", "transfer.bank"
    )
    folder = Workspace(prepared.root, build_plan(prepared.recipe)).dir("transfer.bank")
    shutil.copytree(translated, folder)
    (folder / "work").mkdir()
    progress = Quiet()
    prepared.run(progress)
    assert progress.updates == []
    assert contents(folder) == contents(translated)


def test_translations_cut_off_by_the_limit_are_dropped(micro, bank_teacher, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mtkd.decoding.EXTRA_PIECES", -8)
    folder = prepare(micro, bank_teacher, tmp_path).run()
    counts = json.loads((folder / COUNTS).read_text())
    assert counts["dropped"]["cut_off"] == SENTENCES - counts["kept"]
    assert 0 < counts["kept"] < SENTENCES
    rows = binarised(micro, folder)
    assert rows.tgt_sizes.max() - 1 < 2 * (rows.src_sizes.max() - 1) - 8


def test_rows_longer_than_a_model_has_positions_for_are_dropped(
    micro, bank_teacher, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(transfers, "MAX_PIECES", 8)
    folder = prepare(micro, bank_teacher, tmp_path).run()
    counts = json.loads((folder / COUNTS).read_text())
    assert counts["dropped"]["too_long"] > 0
    rows = binarised(micro, folder)
    assert len(rows) == counts["kept"]
    assert max(rows.src_sizes.max(), rows.tgt_sizes.max()) == 8


def test_translations_that_are_all_dropped_stop_the_run(micro, bank_teacher, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(transfers, "MAX_PIECES", 1)
    with pytest.raises(CorpusError, match=r"'bank': none of its 60 sentences .*\(too_long 60\)"):
        prepare(micro, bank_teacher, tmp_path).run()


def test_a_hypothesis_that_the_model_did_not_end_is_marked(micro, decoder: Decoder) -> None:
    """Held against the decoder's own mark of an end, which text has no room for."""
    sources = lines(micro.split / "river" / "train.en")
    found = decoder.hypotheses(sources, Beam(1, 1.0))
    ended = []
    for source in decoder.pieces(sources):
        limit = 2 * len(source) + EXTRA_PIECES
        (result,) = decoder.model.translate_batch(
            [source], beam_size=1, max_decoding_length=limit, return_end_token=True
        )
        ended.append(result.hypotheses[0][-1] == "</s>")
    assert 0 < sum(ended) < len(ended)
    assert sum(each.cut_off != end for each, end in zip(found, ended, strict=True)) >= 0.95 * len(ended)


def test_a_tag_is_one_more_piece_before_the_source(micro, decoder: Decoder) -> None:
    sources = lines(micro.split / "bank" / "test.en")[:6]
    tagged = decoder.translate(sources, Beam(2, 1.0), tag="<dom:river>")
    for source, translation in zip(sources, tagged, strict=True):
        (result,) = decoder.model.translate_batch([["<dom:river>", *decoder.pieces([source])[0]]], beam_size=2)
        assert decoder.subword.decode(result.hypotheses[0]) == translation
    assert tagged != decoder.translate(sources, Beam(2, 1.0))
