"""Checkpoints, capture and export: one model, the same numbers everywhere, and nothing unsafe is opened."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from sentencepiece import SentencePieceProcessor

from mtkd import checkpoint, export, fairseq_model
from mtkd.decoding import Beam, Decoder, texts
from mtkd.errors import CheckpointError, ExportRefused, UsageError
from mtkd.export import Vocabulary
from mtkd.teacher import TeacherPass


def vocabulary(micro) -> Vocabulary:
    return Vocabulary(micro.subword_model, micro.dictionary, "en", "de")


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


@pytest.fixture(scope="module")
def stock(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stock") / "student.pt"
    fairseq_model.to_stock(trained.checkpoint, path, source_lang="en", target_lang="de")
    return path


@pytest.fixture
def teacher(micro, trained) -> TeacherPass:
    return TeacherPass({"bank": trained.checkpoint}, {"bank": 1.0}, micro.data / "bank", micro.dictionary, "en", "de")


class Malicious:
    def __reduce__(self):
        return os.system, ("touch /tmp/mtkd-was-here",)


def test_checkpoint_that_needs_unpickling_is_refused_unread(tmp_path: Path) -> None:
    torch.save({"model": {}, "args": Malicious()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match=r"refused, reading it would run code.*posix\.system"):
        checkpoint.read(tmp_path / "evil.pt")
    assert not Path("/tmp/mtkd-was-here").exists()


def test_broken_foreign_and_missing_checkpoints_are_named(trained, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pt"
    cut.write_bytes(trained.checkpoint.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match="broken or cut short"):
        checkpoint.read(cut)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.read(tmp_path / "missing.pt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of a fairseq translation model"):
        checkpoint.read(tmp_path / "foreign.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"empty\.pt"):
        checkpoint.read(tmp_path / "empty.pt")


def test_checkpoint_of_another_vocabulary_is_refused(micro, trained, tmp_path: Path) -> None:
    shorter = tmp_path / "dict.txt"
    shorter.write_text("\n".join(micro.dictionary.read_text().split("\n")[:-9]) + "\n")
    with pytest.raises(CheckpointError, match=r"its vocabulary has 480 symbols, this run's has 472.*subword\.model"):
        fairseq_model.load_model(trained.checkpoint, Dictionary.load(str(shorter)), "en", "de")


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name == "mtkd" or name.startswith("mtkd."):
            raise ImportError("mtkd is not here")
sys.meta_path.insert(0, Block())
import argparse, torch
torch.serialization.add_safe_globals([argparse.Namespace])
from fairseq import checkpoint_utils
models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([sys.argv[1]], arg_overrides={"data": sys.argv[2]})
assert type(models[0]).__module__.startswith("fairseq.models.transformer"), type(models[0])
assert type(task).__name__ == "TranslationTask"
assert cfg.criterion._name == "label_smoothed_cross_entropy"
from ctranslate2.converters import FairseqConverter
FairseqConverter(sys.argv[1], sys.argv[2]).convert(sys.argv[3])
print("loaded and converted")
"""


def test_stock_student_loads_and_converts_where_mtkd_cannot_be_imported(micro, stock: Path, tmp_path: Path) -> None:
    """Design invariant 6."""
    argv = [sys.executable, "-c", BLOCKED, str(stock), str(micro.data / "bank"), str(tmp_path / "ct2")]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "loaded and converted" in done.stdout, done.stderr[-2000:]


def test_stock_student_names_fairseqs_parts_and_no_path(micro, stock: Path, trained) -> None:
    state = checkpoint.read(stock)
    assert (state["cfg"]["task"]["_name"], state["args"].task) == ("translation", "translation")
    assert state["cfg"]["criterion"]["_name"] == state["args"].criterion == "label_smoothed_cross_entropy"
    assert "last_optimizer_state" not in state
    text = repr(vars(state["args"])) + repr({**state["cfg"], "model": None})
    for private in ("mtkd", "word_kd", "soft_targets", str(micro.data), str(trained.checkpoint.parent)):
        assert private not in text


def test_nll_of_training_capture_fairseq_and_ctranslate2_agree(micro, trained, stock: Path, teacher, tmp_path) -> None:
    """Training passing proves nothing about inference: the same dev text has one NLL everywhere."""
    words = vocabulary(micro)
    export.convert(stock, words, tmp_path / "float32")
    decoder = Decoder(tmp_path / "float32", words.subword_model, threads=1)
    logged = [row for row in trained.log if row["split"] == "valid"][-1]
    for domain in ("bank", "river"):
        sources, targets = (lines(micro.split / domain / f"dev.{lang}") for lang in ("en", "de"))
        found = export.check_conversion(stock, tmp_path / "float32", words, sources, targets)
        assert found["fairseq_nll"] == pytest.approx(logged[f"{domain}_nll_loss"] * np.log(2), abs=2e-4)
        assert decoder.nll(sources, targets) == pytest.approx(found["fairseq_nll"], abs=1e-4)
    sources, targets = (lines(micro.split / "bank" / f"train.{lang}") for lang in ("en", "de"))
    captured = teacher.believe(range(len(targets)), 4, [1.0]).reference_log_probs
    assert -captured.mean(dtype=np.float64) == pytest.approx(decoder.nll(sources, targets), abs=1e-4)


def test_any_fairseq_checkpoint_becomes_a_bundle_that_translates(micro, trained, tmp_path: Path) -> None:
    bundle = export.export_checkpoint(
        trained.checkpoint,
        subword_model=micro.subword_model,
        dictionary=micro.dictionary,
        source_lang="en",
        target_lang="de",
        dev_source=micro.split / "bank" / "dev.en",
        dev_target=micro.split / "bank" / "dev.de",
        output=tmp_path / "bundle",
    )
    parity = bundle.manifest.parity
    assert abs(parity["fairseq_nll"] - parity["float32_nll"]) < export.MAX_NLL_DIFFERENCE
    assert set(parity["dev"]) == {"float32", "int8"}
    assert bundle.manifest.parameters == sum(
        value.numel()
        for name, value in checkpoint.read(trained.checkpoint)["model"].items()
        if name not in {"decoder.embed_tokens.weight", "decoder.output_projection.weight"} and value.numel() > 1
    )
    hypotheses = Decoder(bundle.model_dir("int8"), bundle.subword_model, threads=1).translate(
        lines(micro.split / "bank" / "dev.en"), Beam(2, 1.0)
    )
    assert len(hypotheses) == len(lines(micro.split / "bank" / "dev.en"))
    assert not list(tmp_path.glob("bundle.*"))


def test_conversion_of_another_model_is_refused(micro, stock: Path, tmp_path: Path) -> None:
    words = vocabulary(micro)
    state = checkpoint.read(stock)
    state["model"]["decoder.layers.0.fc2.weight"] *= -1
    checkpoint.write(state, tmp_path / "other.pt")
    export.convert(tmp_path / "other.pt", words, tmp_path / "float32")
    sources, targets = (lines(micro.split / "bank" / f"dev.{lang}") for lang in ("en", "de"))
    with pytest.raises(ExportRefused, match="the converted model is not the trained one"):
        export.check_conversion(stock, tmp_path / "float32", words, sources, targets)


def test_int8_that_costs_too_much_is_refused() -> None:
    good = ["the cat sat on the mat today", "a dog ran over the green hill"]
    with pytest.raises(ExportRefused, match=r"int8 costs .* bleu on dev \(allowed: 0\.5\)"):
        export.check_quantisation(good, ["the cat", "a dog"], good, "de")
    assert export.check_quantisation(good, good, good, "de")["int8"]["bleu"]["score"] == pytest.approx(100)


def test_model_that_ctranslate2_cannot_convert_is_refused(micro, stock: Path, tmp_path: Path) -> None:
    state = checkpoint.read(stock)
    state["args"].no_token_positional_embeddings = True
    checkpoint.write(state, tmp_path / "odd.pt")
    with pytest.raises(ExportRefused, match="CTranslate2 cannot convert"):
        export.convert(tmp_path / "odd.pt", vocabulary(micro), tmp_path / "float32")


@pytest.mark.parametrize("content", ["", "one line\n"])
def test_export_needs_dev_text_of_equal_length(micro, trained, tmp_path: Path, content: str) -> None:
    (tmp_path / "dev.de").write_text(content)
    with pytest.raises(UsageError, match="the gates need the same number in both"):
        export.export_checkpoint(
            trained.checkpoint,
            subword_model=micro.subword_model,
            dictionary=micro.dictionary,
            source_lang="en",
            target_lang="de",
            dev_source=micro.split / "bank" / "dev.en",
            dev_target=tmp_path / "dev.de",
            output=tmp_path / "bundle",
        )
    assert not (tmp_path / "bundle").exists()


def test_older_checkpoint_with_args_and_no_cfg_becomes_stock(trained, tmp_path: Path) -> None:
    state = checkpoint.read(trained.checkpoint)
    old = state | {"args": state["cfg"]["model"], "cfg": None}
    assert isinstance(old["args"], argparse.Namespace)
    checkpoint.write(old, tmp_path / "old.pt")
    fairseq_model.to_stock(tmp_path / "old.pt", tmp_path / "stock.pt", source_lang="en", target_lang="de")
    assert checkpoint.read(tmp_path / "stock.pt")["args"].task == "translation"


def test_decoding_keeps_the_order_of_lines_and_every_line(micro, stock: Path, tmp_path: Path) -> None:
    words = vocabulary(micro)
    export.convert(stock, words, tmp_path / "float32")
    decoder = Decoder(tmp_path / "float32", words.subword_model, threads=1)
    sources = [*lines(micro.split / "bank" / "train.en")[:70], "", "monina"]
    together = decoder.translate(sources, Beam(2, 1.0))
    assert len(together) == len(sources)
    assert together[3] == decoder.translate([sources[3]], Beam(2, 1.0))[0]
    assert together[-1] == decoder.translate(["monina"], Beam(2, 1.0))[0]


def test_a_hypothesis_that_spells_a_line_break_stays_one_line(micro) -> None:
    subword = SentencePieceProcessor(model_file=str(vocabulary(micro).subword_model))
    [word] = subword.encode(["monina"], out_type=str)
    broken = [*word, "<0x0A>", "<0x0D>", "<0xC2>", "<0x85>", *word]
    assert texts(subword, [broken, word]) == ["monina monina", "monina"]
