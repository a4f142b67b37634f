"""What the trainer is told of domains and targets: a tag before each source, translations in place of references."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mtkd.corpus.subword import domain_symbol
from mtkd.errors import StoreMismatch, UsageError
from mtkd.fairseq_plugin.dataset import with_tag
from tests.fairseq.micro_task import DOMAINS, as_json, make_task, write_store


def loaded(task, split: str):
    task.load_dataset(split)
    return task.dataset(split)


@pytest.fixture
def translations(micro, tmp_path: Path) -> Path:
    """A train set of `bank` whose targets are other than the references: its own sources."""
    folder = tmp_path / "bank_translated"
    folder.mkdir()
    for path in (micro.data / "bank").glob("train.*"):
        if ".en." in path.name:
            shutil.copyfile(path, folder / path.name)
            shutil.copyfile(path, folder / path.name.replace(".en.", ".de."))
    return folder


@pytest.mark.parametrize("split", ["train", "valid"])
def test_every_source_begins_with_the_symbol_of_its_domain_and_nothing_else_changes(micro, split: str) -> None:
    plain, tagged = (loaded(make_task(micro, tag_domains=tagged), split) for tagged in (False, True))
    symbols = [make_task(micro).src_dict.index(domain_symbol(domain)) for domain in DOMAINS]
    assert len(tagged) == len(plain) > 0
    for row in range(len(plain)):
        corpus = int(plain.locate(row)[0])
        expected = torch.cat([torch.tensor([symbols[corpus]]), plain[row]["source"]])
        assert torch.equal(tagged[row]["source"], expected)
        assert torch.equal(tagged[row]["target"], plain[row]["target"])
        assert tagged.size(row) == (len(expected), len(plain[row]["target"]))
    assert np.array_equal(tagged.sizes, plain.sizes + np.array([1, 0]))
    batch = tagged.collater([tagged[row] for row in (0, 1, 2)])
    assert batch["net_input"]["src_lengths"].tolist() == sorted(
        (tagged.size(row)[0] for row in (0, 1, 2)), reverse=True
    )


def test_a_vocabulary_without_the_symbol_is_refused(micro) -> None:
    rows = make_task(micro)._load(micro.data / "bank", "train")
    with pytest.raises(UsageError, match="the vocabulary has no <dom:moon>"):
        with_tag(rows, domain_symbol("moon"))


def test_translations_stand_in_for_the_references_of_train_alone(micro, translations: Path) -> None:
    plain = make_task(micro)
    task = make_task(micro, translations=as_json({"bank": translations}))
    for split, translated in (("train", True), ("valid", False)):
        before, after = loaded(plain, split), loaded(task, split)
        assert len(before) == len(after)
        for row in range(len(before)):
            replaced = translated and int(before.locate(row)[0]) == DOMAINS.index("bank")
            assert torch.equal(after[row]["source"], before[row]["source"])
            assert torch.equal(after[row]["target"], before[row]["source" if replaced else "target"])


def test_soft_targets_of_the_references_are_refused_for_translations(micro, translations: Path, tmp_path: Path) -> None:
    store = write_store(micro, "bank", tmp_path / "store")
    settings = {"translations": as_json({"bank": translations}), "soft_targets": as_json({"bank": store.path})}
    with pytest.raises(StoreMismatch, match="bank_translated"):
        make_task(micro, **settings).load_dataset("train")
