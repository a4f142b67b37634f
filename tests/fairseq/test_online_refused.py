"""Online teachers that are not what they should be: each is refused by name before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mtkd import checkpoint
from mtkd.corpus.subword import VOCABULARY
from mtkd.errors import CheckpointError, UsageError
from tests.fairseq.micro_task import as_json, make_task, write_store


def alone(corpus: str, path: Path) -> str:
    """`--online-teachers`: one of one corpus."""
    return json.dumps({corpus: {str(path): 1.0}})


def test_stores_and_online_teachers_together_are_refused(micro, trained, tmp_path: Path) -> None:
    store = write_store(micro, "court", tmp_path / "store").path
    task = make_task(micro, soft_targets=as_json({"court": store}), online_teachers=alone("bank", trained.checkpoint))
    with pytest.raises(UsageError, match="--soft-targets and --online-teachers: give one of the two"):
        task.load_dataset("train")


@pytest.mark.parametrize("of", ["{}", '"first.pt"', '{"a.pt": 0.5}', '{"a.pt": 1.5, "b.pt": -0.5}', '{"a.pt": "1"}'])
def test_shares_that_make_no_mixture_are_refused(micro, of: str) -> None:
    with pytest.raises(UsageError, match=r"--online-teachers: bank: must be a JSON object checkpoint -> share"):
        make_task(micro, online_teachers=f'{{"bank": {of}}}').load_dataset("train")


def test_teacher_of_an_unknown_corpus_is_refused(micro, trained) -> None:
    with pytest.raises(UsageError, match="--online-teachers: must be a JSON object whose keys are among the domains"):
        make_task(micro, online_teachers=alone("moon", trained.checkpoint)).load_dataset("train")


def load(micro, path: Path) -> None:
    make_task(micro, online_teachers=alone("bank", path)).load_dataset("train")


def test_teacher_of_another_vocabulary_is_refused(micro, trained, tmp_path: Path) -> None:
    """Design invariant 1: by the rows of the embedding, and by the fingerprint beside the checkpoint."""
    state = checkpoint.read(trained.checkpoint)
    named = tmp_path / "model.pt"
    checkpoint.write(state, named)
    (tmp_path / VOCABULARY).write_text(json.dumps({"fingerprint": make_task(micro).vocabulary}))
    load(micro, named)
    (tmp_path / VOCABULARY).write_text(json.dumps({"fingerprint": "0123456789abcdef"}))
    with pytest.raises(CheckpointError, match=r"its vocabulary is 0123456789abcdef, this run's is .*subword\.model"):
        load(micro, named)
    for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight"):
        state["model"][name] = state["model"][name][:-8]
    other = tmp_path / "other.pt"
    checkpoint.write(state, other)
    with pytest.raises(CheckpointError, match=r"its vocabulary has 472 symbols, this run's has 480"):
        load(micro, other)


def test_missing_broken_and_unsafe_teachers_are_refused(micro, trained, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load(micro, tmp_path / "missing.pt")
    cut = tmp_path / "cut.pt"
    cut.write_bytes(trained.checkpoint.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match="broken or cut short"):
        load(micro, cut)
    unsafe = tmp_path / "unsafe.pt"
    torch.save({"model": {}, "args": Path("x")}, unsafe)
    with pytest.raises(CheckpointError, match="refused, reading it would run code"):
        load(micro, unsafe)
