"""The contract of every row of `ENGINES`, then what only the CTranslate2 engine promises."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtkd.bundle import MANIFEST, ModelBundle, describe_files
from mtkd.errors import BundleError
from service.engines.base import PLACEHOLDERS, Decoding
from service.engines.ctranslate2 import CTranslate2Engine
from service.segment import split, translate_texts

LONG = " ".join(f"word{number}" for number in range(300))
MAX_SOURCE, MAX_TARGET = 24, 32
WIDE = Decoding(beam=4, n_best=3)
P0, P1 = PLACEHOLDERS[:2]


def best(engine, segments: list[str]) -> list[str]:
    return [hypotheses[0].text for hypotheses in engine.translate(segments, engine.decoding)]


@pytest.fixture
def student(bundle_dir) -> CTranslate2Engine:
    return CTranslate2Engine.from_bundle(ModelBundle.open(bundle_dir), threads=1)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is the process's (2026-11-22)")
def test_threads_that_decode_give_way_to_those_that_answer(bundle_dir):
    def niceness() -> dict[int, int]:
        tasks = (int(task.name) for task in Path("/proc/self/task").iterdir())
        return {task: os.getpriority(os.PRIO_PROCESS, task) for task in tasks}

    before = niceness()
    engine = CTranslate2Engine.from_bundle(ModelBundle.open(bundle_dir), threads=2)
    after = niceness()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    decoding = [nice for task, nice in after.items() if task not in before]
    assert len(decoding) == 2
    assert all(nice > own for nice in decoding)
    assert all(after.get(task, nice) == nice for task, nice in before.items())
    assert best(engine, ["The printer is on"])


def test_a_sandbox_that_refuses_a_priority_does_not_keep_a_model_from_loading(bundle_dir, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    assert best(CTranslate2Engine.from_bundle(ModelBundle.open(bundle_dir), threads=1), ["The printer is on"])


def test_it_names_its_languages_and_model(engine):
    assert (engine.source_lang, engine.target_lang) == ("en", "de")
    assert engine.name
    assert engine.digest


def test_as_many_translations_as_segments_each_of_one_line(engine):
    segments = ["The printer", "a", "Licht 😀 \u00a0 aus", "\u2581x\x00", "<ph0> </s> <unk> <dom:office>"] * 3
    outputs = best(engine, segments)
    assert len(outputs) == len(segments)
    assert all(output.splitlines() in ([output], []) for output in outputs)


def test_a_segment_has_the_same_translation_in_any_place(engine):
    segments = ["The printer is on", "the light", "Please leave the house", "x"]
    assert best(engine, segments)[::-1] == best(engine, segments[::-1])


def test_hypotheses_are_at_most_as_many_as_asked_for_and_best_first(engine):
    for hypotheses in engine.translate(["The printer is on", "the light", f"leave {P0}"], WIDE):
        assert 1 <= len(hypotheses) <= WIDE.n_best
        assert [hypothesis.score for hypothesis in hypotheses] == sorted(
            (hypothesis.score for hypothesis in hypotheses), reverse=True
        )


def test_no_segments_are_no_translations(engine):
    assert engine.translate([], engine.decoding) == []


def test_without_a_placeholder_in_the_segment_none_comes_out(engine):
    outputs = engine.translate(["The printer <ph0>", "the light", f"leave {P0}", "x"], WIDE)
    plain = [hypothesis.text for index in (0, 1, 3) for hypothesis in outputs[index]]
    assert not any(set(PLACEHOLDERS) & set(text) for text in plain)


def test_tokens_grow_with_the_segment_and_count_its_end(engine):
    assert 1 <= engine.tokens("") < engine.tokens("the printer") < engine.tokens("the printer and the light")
    assert engine.tokens(P0) <= engine.tokens("https://printer.example/light")


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
    assert len(best(engine, segments)) == len(segments)


def test_fits_counts_subwords_and_the_end_of_sentence(student):
    assert student.fits("the " * 11)
    assert not student.fits("1" * MAX_SOURCE)
    encoded = [len(student._encode(["z" * count])[0]) for count in range(1, MAX_SOURCE + 2)]
    assert [student.fits("z" * count) for count in range(1, MAX_SOURCE + 2)] == [size < MAX_SOURCE for size in encoded]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(max_codepoint=127), max_size=MAX_SOURCE + 2))
def test_what_fits_by_its_length_alone_fits_by_its_subwords(student, text):
    assert student.fits(text) == (student.tokens(text) <= MAX_SOURCE)


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
        ((found,),) = endless.translate(["the secret printer"], endless.decoding)
    assert found.text
    assert found.truncated
    assert len(endless._subwords.encode(found.text)) < 4 * MAX_TARGET
    assert "translations that did not end and may be incomplete: 1" in caplog.text
    assert "secret" not in caplog.text


def test_no_reserved_symbol_comes_out(endless_bundle_dir):
    endless = CTranslate2Engine.from_bundle(ModelBundle.open(endless_bundle_dir), threads=1, beam=1)
    outputs = best(endless, [f"printer {number}" for number in range(40)])
    assert not any("<ph" in output or "<dom" in output or "<spare" in output for output in outputs)


def test_a_placeholder_is_its_reserved_symbol_while_a_typed_one_is_text(student):
    (pieces,) = student._encode([f"a {P1} <ph1>{P0}<ph0> b"])
    assert [piece for piece in pieces if piece.startswith("<ph")] == ["<ph1>", "<ph0>"]
    assert student._subwords.decode(pieces) == "a <ph1> <ph1><ph0><ph0> b"
    assert student.tokens(f"a {P0}") == student.tokens("a") + 2


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([P0, P1, PLACEHOLDERS[31], "<ph0>", "<ph1>", "<", "ph0>", ">", " ", "a", "<dom:office>"]))
)
def test_only_placeholders_become_reserved_symbols_in_any_text(student, parts):
    (pieces,) = student._encode(["".join(parts)])
    written = [f"<ph{PLACEHOLDERS.index(part)}>" for part in parts if part in PLACEHOLDERS]
    assert [piece for piece in pieces if piece in student._reserved] == written


def test_a_symbol_that_comes_out_is_its_placeholder_and_a_spelt_one_is_text(student):
    assert student._read([["a", "\u2581", "<ph1>", *student._spell("<ph0>")]]) == [f"a {P1}<ph0>"]


def test_the_search_can_be_told_not_to_repeat_itself(endless_bundle_dir):
    endless = CTranslate2Engine.from_bundle(ModelBundle.open(endless_bundle_dir), threads=1)
    texts = [endless.translate(["printer"], Decoding(beam=1, no_repeat_ngram_size=size))[0][0].text for size in (0, 1)]
    assert texts[0] != texts[1]


def test_alone_or_in_a_batch_a_translation_is_the_same(student):
    segments = [f"{word} {'printer light ' * count}{word}" for word in ("the", "please", "on") for count in range(5)]
    alone = [best(student, [segment])[0] for segment in segments]
    assert best(student, segments) == alone


def test_both_compute_types_load(bundle_dir):
    bundle = ModelBundle.open(bundle_dir)
    outputs = {
        name: best(CTranslate2Engine.from_bundle(bundle, compute_type=name, threads=1), ["The printer"])
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


def test_a_model_that_never_learnt_placeholders_says_so(student):
    assert student.placeholders == 0
    assert len(student._placeholders) == len(PLACEHOLDERS)
