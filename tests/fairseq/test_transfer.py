"""Text without references in training: only the teacher's beliefs teach there, and nothing else changes.

lambda row by row, and the loss by hand, are in test_criterion.py; how such text is made, in test_transfer_step.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary

from mtkd.errors import UsageError
from mtkd.fairseq_model import load_model
from mtkd.plan import build_plan
from mtkd.recipe_file import load_recipe
from tests.fairseq.micro_task import as_json, batch_of, criterion, loss_and_gradients, make_task, write_store
from tests.toy import write_micro

DOMAINS = "bank,river"


@pytest.fixture(scope="module")
def taught(micro, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The task's arguments: bank has soft targets, also for text without references, for which court's stands in."""
    root = tmp_path_factory.mktemp("stores")
    stores = {
        "bank": write_store(micro, "bank", root / "bank").path,
        "bank_transfer": write_store(micro, "bank_transfer", root / "transfer", rows_of="court").path,
    }
    transfer = as_json({"bank": micro.data / "court"})
    return {"domains": DOMAINS, "transfer": transfer, "soft_targets": as_json(stores)}


def relabelled(task, sample: dict[str, Any], rows_B: torch.Tensor) -> dict[str, Any]:
    """The batch with other labels in some rows; the decoder's input stays."""
    target_BT = sample["target"]
    other_BT = torch.where(target_BT.eq(task.tgt_dict.pad()), target_BT, (target_BT + 7) % 400 + 4)
    return sample | {"target": torch.where(rows_B[:, None], other_BT, target_BT)}


@pytest.mark.parametrize("plain", [False, True])
def test_labels_of_rows_without_references_do_not_matter(micro, taught, trained, plain: bool) -> None:
    """Neither at lambda 0.3, which the other rows of the batch keep, so that theirs do."""
    task = make_task(micro, **taught)
    student = load_model(trained.checkpoint, Dictionary.load(str(micro.dictionary)), "en", "de")
    sample = batch_of(task)
    alone_B = ~sample["has_reference"]
    assert 0 < alone_B.sum() < len(alone_B)
    loss, gradients = loss_and_gradients(criterion(task, 0.3, plain=plain), student, sample)
    changed = loss_and_gradients(criterion(task, 0.3, plain=plain), student, relabelled(task, sample, alone_B))
    assert changed[0] == loss
    assert all(torch.equal(changed[1][name], gradient) for name, gradient in gradients.items())
    others = loss_and_gradients(criterion(task, 0.3, plain=plain), student, relabelled(task, sample, ~alone_B))
    assert others[0] != loss


def test_text_without_references_and_without_soft_targets_is_refused(micro, taught, tmp_path: Path) -> None:
    store = write_store(micro, "bank", tmp_path / "bank").path
    task = make_task(micro, **taught | {"soft_targets": as_json({"bank": store})})
    with pytest.raises(UsageError, match=r"--transfer: bank_transfer has no"):
        task.load_dataset("train")


def test_a_domain_is_drawn_as_often_with_its_references_as_without(micro, taught) -> None:
    task = make_task(micro, **taught, sampling_weights='{"bank": 3.0}')
    task.load_dataset("train")
    dataset = task.dataset("train")
    rows = {name: len(corpus) for name, corpus in dataset.corpora.items()}
    dataset.set_epoch(1)
    corpus_of_row, _ = dataset.locate([dataset[i]["id"] for i in range(len(dataset))])
    names = [dataset.names[corpus] for corpus in corpus_of_row]
    rates = {name: names.count(name) / rows[name] for name in rows}
    assert list(rates) == ["bank", "river", "bank_transfer"]
    assert rates["bank"] == pytest.approx(rates["bank_transfer"], rel=0.05)
    assert rates["bank"] == pytest.approx(3 * rates["river"], rel=0.05)


def test_dev_sets_are_those_of_the_domains_alone(micro, taught) -> None:
    """Design invariant 5: what a checkpoint is chosen by does not change with the text that it was trained on."""
    datasets = []
    for task in (make_task(micro, domains=DOMAINS), make_task(micro, **taught)):
        task.load_dataset("valid")
        datasets.append(task.dataset("valid"))
    plain, with_transfer = ([dataset[i] for i in range(len(dataset))] for dataset in datasets)
    assert datasets[1].names == datasets[0].names == ["bank", "river"]
    assert all(torch.equal(a["target"], b["target"]) for a, b in zip(plain, with_transfer, strict=True))
    assert datasets[1].collater(with_transfer)["has_reference"].all()


def test_what_is_trained_at_lambda_0_never_sees_text_without_references(tmp_path: Path) -> None:
    path = write_micro(tmp_path, transfer_sentences=5)
    plan = build_plan(load_recipe(path))
    assert "transfer.bank" in {node.name for node in plan.with_ancestors(plan.select("student"))}
    assert "transfer.bank" not in {node.name for node in plan.with_ancestors(plan.select("mixed"))}
    without = build_plan(load_recipe(path, ["distill.kd_weight=0"]))
    assert not any(node.step == "transfer" for node in without.nodes.values())
