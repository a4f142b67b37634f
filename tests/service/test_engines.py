"""The contract of every row of `ENGINES`, then what only the CTranslate2 engine promises."""

from __future__ import annotations

import json
import logging
import shutil

import pytest

from mtkd.bundle import MANIFEST, ModelBundle, describe_files
from mtkd.errors import BundleError
from service.engines.ctranslate2 import CTranslate2Engine
from service.segment import split, translate_texts

LONG = " ".join(f"word{number}" for number in range(300))
MAX_SOURCE, MAX_TARGET = 24, 32


@pytest.fixture
def student(bundle_dir) -> CTranslate2Engine:
    return CTranslate2Engine.from_bundle(ModelBundle.open(bundle_dir), threads=1)


def test_it_names_its_languages_and_model(engine):
    assert (engine.source_lang, engine.target_lang) == ("en", "de")
    assert engine.name
    assert engine.digest


def test_as_many_translations_as_segments_each_of_one_line(engine):
    segments = ["The printer", "a", "Licht 😀 \u00a0 aus", "\u2581x\x00", "<ph0> </s> <unk> <dom:office>"] * 3
    outputs = engine.translate(segments)
    assert len(outputs) == len(segments)
    assert all(output.splitlines() in ([output], []) for output in outputs)


def test_a_segment_has_the_same_translation_in_any_place(engine):
    segments = ["The printer is on", "the light", "Please leave the house", "x"]
    assert engine.translate(segments)[::-1] == engine.translate(segments[::-1])


def test_line_structure_is_kept(engine):
    text = "\n  The printer.\r\n\n\tLight off \n---\n"
    (output,) = translate_texts(engine, [text])
    shape = [(line.rstrip("\r\n") == "", line[len(line.rstrip("\r\n")) :]) for line in text.splitlines(keepends=True)]
    got = [(line.rstrip("\r\n") == "", line[len(line.rstrip("\r\n")) :]) for line in output.splitlines(keepends=True)]
    assert got == shape
    assert "\n---\n" in output


def test_empty_texts_come_back_unchanged(engine):
    assert translate_texts(engine, ["", " ", "\n\n", "\t"]) == ["", " ", "\n\n", "\t"]


def test_every_word_of_a_long_text_reaches_the_engine_in_segments_that_fit(engine):
    segments = [segment.text for segment in split(LONG, "en", engine.fits)]
    assert " ".join(segments) == LONG
    assert all(engine.fits(segment) for segment in segments)
    assert len(engine.translate(segments)) == len(segments)


def test_fits_counts_subwords_and_the_end_of_sentence(student):
    assert student.fits("the " * 11)
    assert not student.fits("1" * MAX_SOURCE)
    encoded = [len(student._encode(["z" * count])[0]) for count in range(1, MAX_SOURCE + 2)]
    assert [student.fits("z" * count) for count in range(1, MAX_SOURCE + 2)] == [size < MAX_SOURCE for size in encoded]


def test_a_long_text_is_split_before_the_model_sees_it(student):
    parts = [segment.text for segment in split(LONG, "en", student.fits)]
    assert len(parts) > 30
    assert max(len(pieces) for pieces in student._encode(parts)) < MAX_SOURCE


@pytest.mark.parametrize("symbol", ["<ph0>", "<ph31>", "<dom:office>", "<spare7>"])
def test_a_reserved_symbol_that_a_user_types_is_only_text(student, symbol):
    (pieces,) = student._encode([f"a {symbol} b"])
    assert symbol not in pieces
    assert student._subwords.decode(pieces) == f"a {symbol} b"
    assert symbol in student._subwords.encode(f"a {symbol} b", out_type=str), "SentencePiece alone would match it"


def test_control_characters_and_odd_spaces_are_not_encoded(student):
    assert student._encode(["the\u00a0\u2581 \x00printer"]) == student._encode(["the printer"])


def test_a_translation_without_end_is_bounded_and_reported(endless_bundle_dir, caplog):
    endless = CTranslate2Engine.from_bundle(ModelBundle.open(endless_bundle_dir), threads=1)
    with caplog.at_level(logging.WARNING):
        (output,) = endless.translate(["the secret printer"])
    assert output
    assert len(endless._subwords.encode(output)) < 4 * MAX_TARGET
    assert f"reached {MAX_TARGET - 1} subwords and may be incomplete: 1" in caplog.text
    assert "secret" not in caplog.text


def test_no_reserved_symbol_comes_out(endless_bundle_dir):
    endless = CTranslate2Engine.from_bundle(ModelBundle.open(endless_bundle_dir), threads=1, beam=1)
    outputs = endless.translate([f"printer {number}" for number in range(40)])
    assert not any("<ph" in output or "<dom" in output or "<spare" in output for output in outputs)


def test_both_compute_types_load(bundle_dir):
    bundle = ModelBundle.open(bundle_dir)
    outputs = {
        name: CTranslate2Engine.from_bundle(bundle, compute_type=name).translate(["The printer"])
        for name in ("int8", "float32")
    }
    assert all(len(output) == 1 for output in outputs.values())


def test_an_unknown_compute_type_is_refused(bundle_dir):
    with pytest.raises(BundleError, match="no compute type 'int4'"):
        CTranslate2Engine.from_bundle(ModelBundle.open(bundle_dir), compute_type="int4")


@pytest.mark.parametrize("name", ["int8/model.bin", "sentencepiece.model"])
def test_a_model_that_does_not_load_is_one_clear_error(bundle_dir, tmp_path, name):
    broken = tmp_path / "broken"
    shutil.copytree(bundle_dir, broken)
    (broken / name).write_bytes(b"garbage")
    manifest = json.loads((broken / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"] = describe_files(broken)
    (broken / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match="cannot load the int8 model"):
        CTranslate2Engine.from_bundle(ModelBundle.open(broken))
