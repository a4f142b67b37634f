"""The criterion on a real model: lambda by row, fused and plain alike, weights of corpora, number formats.

Shapes: N tokens, V vocabulary, D width.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig

from mtkd.distill import fused
from mtkd.distill.losses import KD_LOSSES, TAILS
from mtkd.errors import UsageError
from mtkd.fairseq_model import load_model
from tests.fairseq.micro_task import (
    DOMAINS,
    as_json,
    batch_of,
    criterion,
    distance,
    largest_tensor,
    loss_and_gradients,
    make_task,
    write_store,
)

EPSILON = 0.1
COMBINATIONS = [(loss, tail) for loss in KD_LOSSES for tail in TAILS if tail == "bucket" or loss == "forward_kl"]


@pytest.fixture(scope="module")
def stores(micro, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of bank and of its text without references, for which river's stands in; river and court have none."""
    root = tmp_path_factory.mktemp("stores")
    return {
        "bank": write_store(micro, "bank", root / "bank").path,
        "bank_transfer": write_store(micro, "bank_transfer", root / "transfer", rows_of="river").path,
    }


@pytest.fixture(scope="module")
def trained_model(micro, trained):
    return load_model(trained.checkpoint, Dictionary.load(str(micro.dictionary)), "en", "de")


@pytest.fixture
def model(trained_model):
    return copy.deepcopy(trained_model)


@pytest.fixture(scope="module")
def task(micro, stores):
    """All kinds of rows: with soft targets, without, and without references."""
    return make_task(
        micro,
        soft_targets=as_json(stores),
        transfer=as_json({"bank": micro.data / "river"}),
        loss_weights='{"court": 3.0}',
    )


def test_every_kind_of_row_is_in_the_batch(task) -> None:
    sample = batch_of(task)
    assert task.corpora == [*DOMAINS, "bank_transfer"]
    assert set(sample["corpus"].tolist()) == {0, 1, 2, 3}
    assert sample["has_reference"].tolist() == [corpus != 3 for corpus in sample["corpus"].tolist()]
    assert sample["soft_targets"]["known"].tolist() == [corpus in {0, 3} for corpus in sample["corpus"].tolist()]


@pytest.mark.parametrize("kd_weight", [0.0, 0.3, 1.0])
def test_lambda_of_each_row_by_hand(task, model, kd_weight: float) -> None:
    """lambda with soft targets and references, 0 without the first, 1 without the second, even at lambda 0."""
    sample = batch_of(task)
    model.train()
    torch.manual_seed(0)
    _, _, log = criterion(task, kd_weight)(model, sample)
    torch.manual_seed(0)
    with torch.no_grad():
        log_q_BTV = model(**sample["net_input"])[0].double().log_softmax(-1)
    expected = kd = nll = 0.0
    spread = EPSILON / (log_q_BTV.size(-1) - 1)
    for row, corpus in enumerate(sample["corpus"].tolist()):
        lam = {0: kd_weight, 1: 0.0, 2: 0.0, 3: 1.0}[corpus]
        weight = sample["loss_weight"][row].item()
        for place, reference in enumerate(sample["target"][row].tolist()):
            if reference == task.tgt_dict.pad():
                continue
            log_q_V = log_q_BTV[row, place]
            smoothed = -(1 - EPSILON - spread) * log_q_V[reference] - spread * log_q_V.sum()
            nll -= log_q_V[reference].item()
            ids = sample["soft_targets"]["ids"][row, place]
            # The tail is 0.1, rounded to float16 like all that is stored.
            atoms = torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1], dtype=torch.float64).log().half().double().log_softmax(0)
            student = torch.cat([log_q_V[ids], (1 - log_q_V[ids].exp().sum()).log()[None]])
            divergence = (atoms.exp() * (atoms - student)).sum()
            kd += divergence.item() if lam > 0 else 0.0
            expected += weight * ((1 - lam) * smoothed + lam * divergence).item()
    assert log["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert log["nll_loss"].item() == pytest.approx(nll, rel=1e-5)
    assert log["kd_loss"].item() == pytest.approx(kd, rel=1e-5)


@pytest.mark.parametrize(("kd_loss", "kd_tail"), COMBINATIONS)
def test_fused_equals_plain_in_value_and_gradient(micro, stores, model, kd_loss: str, kd_tail: str) -> None:
    task = make_task(micro, domains="bank,court", soft_targets=as_json({"bank": stores["bank"]}), kd_tail=kd_tail)
    sample = batch_of(task)
    value, gradients = loss_and_gradients(criterion(task, 0.5, kd_loss=kd_loss), model, sample)
    expected, expected_gradients = loss_and_gradients(criterion(task, 0.5, kd_loss=kd_loss, plain=True), model, sample)
    assert value == pytest.approx(expected, rel=1e-5)
    assert distance(gradients, expected_gradients) < 1e-4
    assert len(gradients) == len(list(model.parameters()))


@pytest.mark.parametrize(("kd_loss", "kd_tail"), COMBINATIONS)
def test_every_loss_and_tail_trains(micro, stores, model, kd_loss: str, kd_tail: str) -> None:
    task = make_task(micro, domains="bank", soft_targets=as_json({"bank": stores["bank"]}), kd_tail=kd_tail)
    sample = batch_of(task)
    adam = FairseqAdam(FairseqAdamConfig(adam_betas="(0.9, 0.98)", lr=[1e-3]), list(model.parameters()))
    losses = []
    for update in range(3):
        adam.zero_grad()
        # The same dropout each time: the loss must fall by what was learnt.
        torch.manual_seed(0)
        loss, size, _ = task.train_step(sample, model, criterion(task, 1.0, kd_loss=kd_loss), adam, update)
        adam.multiply_grads(1 / size)
        adam.step()
        losses.append(loss.item())
    assert losses[2] < losses[1] < losses[0]


def test_loss_weights_are_as_written_and_their_mean_over_an_epochs_tokens_is_one(task) -> None:
    dataset = task.dataset("train")
    weighted = torch.zeros(4, dtype=torch.float64)
    tokens = torch.zeros(4, dtype=torch.float64)
    for batch in task.get_batch_iterator(dataset, max_tokens=400, seed=1).next_epoch_itr(shuffle=True):
        counts_B = batch["target"].ne(task.tgt_dict.pad()).sum(1)
        weighted.index_add_(0, batch["corpus"], (batch["loss_weight"] * counts_B).double())
        tokens.index_add_(0, batch["corpus"], counts_B.double())
    assert weighted.sum().item() == pytest.approx(tokens.sum().item(), rel=1e-6)
    bank, river, court, transfer = (weighted / tokens).tolist()
    assert bank == pytest.approx(river) == pytest.approx(transfer)
    assert court == pytest.approx(3 * bank)


def test_loss_weights_touch_neither_log_nor_dev_loss(micro, task, model) -> None:
    sample = batch_of(task)
    unweighted = {name: value for name, value in sample.items() if name != "loss_weight"}
    logs = []
    for batch in (sample, unweighted):
        model.train()
        torch.manual_seed(0)
        logs.append(criterion(task, 0.3)(model, batch)[2])
    assert logs[0]["loss"] != logs[1]["loss"]
    assert all(logs[0][key] == logs[1][key] for key in logs[0] if key != "loss")
    model.eval()
    assert criterion(task, 0.3)(model, sample)[0] == criterion(task, 0.3)(model, unweighted)[0]


def test_lambda_lies_between_0_and_1(micro) -> None:
    with pytest.raises(UsageError, match="lambda lies between 0 and 1"):
        criterion(make_task(micro), 1.5)


def test_at_weight_one_labels_do_not_matter(micro, stores, model) -> None:
    """Design invariant 4, through model and criterion; the decoder's input stays as it was."""
    task = make_task(micro, domains="bank", soft_targets=as_json({"bank": stores["bank"]}))
    sample = batch_of(task)
    target = sample["target"]
    other = sample | {"target": torch.where(target.eq(task.tgt_dict.pad()), target, (target + 7) % 400 + 4)}
    before, after = (loss_and_gradients(criterion(task, 1.0), model, batch) for batch in (sample, other))
    assert before[0] == after[0]
    assert distance(before[1], after[1]) == 0.0
    assert before[0] != loss_and_gradients(criterion(task, 0.5), model, other)[0]


def test_dev_loss_is_the_same_for_every_lambda(task, model) -> None:
    """Design invariant 5: checkpoints of every lambda are chosen by the same number."""
    sample = batch_of(task)
    model.eval()
    losses = [criterion(task, weight)(model, sample)[0].item() for weight in (0.0, 0.5, 1.0)]
    assert len(set(losses)) == 1


def test_padding_adds_nothing(task, model) -> None:
    dataset = task.dataset("train")
    samples = [dataset[0], dataset[5], dataset[200]]
    model.eval()
    together = criterion(task, 0.0)(model, dataset.collater(samples))[0]
    alone = sum(criterion(task, 0.0)(model, dataset.collater([sample]))[0] for sample in samples)
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)


def test_per_domain_sums_add_up_and_every_domain_is_logged(task, model) -> None:
    dataset = task.dataset("train")
    model.train()
    _, size, log = criterion(task, 0.5)(model, dataset.collater([dataset[0], dataset[1]]))
    assert {key for key in log if key.startswith("nll.")} == {f"nll.{name}" for name in task.corpora}
    assert log["nll.river"] == 0
    assert log["tokens.bank"] == size == log["soft_tokens"] == log["ntokens"]
    assert log["nll.bank"].item() == pytest.approx(log["nll_loss"].item())


@pytest.mark.parametrize("plain", [True, False])
def test_full_top_k_through_the_criterion_has_no_tail(micro, model, plain: bool) -> None:
    """k = V equals dense KL: the criterion drops the tail's atom when every symbol is kept."""
    task = make_task(micro, domains="bank")
    sample = batch_of(task)
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(*sample["target"].shape, len(task.tgt_dict), generator=generator).log_softmax(-1)
    ids = teacher.argsort(-1, descending=True)
    soft = {
        "ids": ids,
        "log_probs": teacher.gather(-1, ids),
        "log_tail": torch.full(sample["target"].shape, -torch.inf),
        "known": torch.ones(len(ids), dtype=torch.bool),
    }
    loss, _ = loss_and_gradients(criterion(task, 1.0, plain=plain), model, sample | {"soft_targets": soft})
    torch.manual_seed(0)
    with torch.no_grad():
        logits = model(**sample["net_input"])[0]
    dense = torch.nn.functional.kl_div(logits.log_softmax(-1), teacher, log_target=True, reduction="none").sum(-1)
    assert loss == pytest.approx(dense[sample["target"].ne(task.tgt_dict.pad())].sum().item(), rel=1e-5)


def test_fused_loss_never_makes_all_logits(task, model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fused.CHUNK_ENTRIES, "cpu", 20 * len(task.tgt_dict))
    sample = batch_of(task, every=2)
    logits = sample["ntokens"] * len(task.tgt_dict)
    largest_parameter = max(parameter.numel() for parameter in model.parameters())
    assert logits > 2 * largest_parameter
    assert largest_tensor(criterion(task, 0.5, plain=True), model, sample) >= logits
    assert largest_tensor(criterion(task, 0.5), model, sample) < 0.6 * logits


@pytest.mark.parametrize("plain", [True, False])
def test_float16_gradients_are_those_of_float32_under_loss_scaling(task, model, plain: bool) -> None:
    sample = batch_of(task)
    _, exact = loss_and_gradients(criterion(task, 0.5, plain=plain), model, sample)
    model.half()
    model.zero_grad()
    torch.manual_seed(0)
    # As fairseq casts a batch under --fp16.
    narrow = sample | {"loss_weight": sample["loss_weight"].half()}
    loss, _, _ = criterion(task, 0.5, plain=plain)(model, narrow)
    assert loss.dtype == torch.float32
    (loss / sample["ntokens"] * 128).backward()
    gradients = {name: p.grad.float() * sample["ntokens"] / 128 for name, p in model.named_parameters()}
    assert distance(gradients, exact) < 0.03


@pytest.mark.parametrize("plain", [True, False])
def test_bf16_autocast_gradients_are_those_of_float32(micro, stores, model, plain: bool) -> None:
    settings = {"soft_targets": as_json({"bank": stores["bank"]})}
    found = []
    for switch in ("off", "on"):
        task = make_task(micro, **settings, bf16_autocast=switch)
        sample = batch_of(task)
        model.zero_grad()
        torch.manual_seed(0)
        adam = FairseqAdam(FairseqAdamConfig(adam_betas="(0.9, 0.98)", lr=[1e-3]), list(model.parameters()))
        loss, _, _ = task.train_step(sample, model, criterion(task, 0.5, plain=plain), adam, 0)
        found.append((loss, {name: p.grad.clone() for name, p in model.named_parameters()}))
    assert {gradient.dtype for gradient in found[1][1].values()} == {torch.float32}
    assert found[1][0].item() != found[0][0].item()
    assert found[1][0].item() == pytest.approx(found[0][0].item(), rel=0.01)
    assert distance(found[1][1], found[0][1]) < 0.05


@pytest.mark.parametrize(("switch", "fused_attention"), [("off", True), ("on", False)])
def test_attention_in_bf16_is_not_torchs_fused_kernel(micro, model, switch: str, fused_attention: bool) -> None:
    """On a CPU that kernel is slow backward in bfloat16, and fast in float32."""
    task = make_task(micro, bf16_autocast=switch)
    adam = FairseqAdam(FairseqAdamConfig(adam_betas="(0.9, 0.98)", lr=[1e-3]), list(model.parameters()))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        task.train_step(batch_of(task), model, criterion(task, 0.0), adam, 0)
    called = {event.key for event in profile.key_averages()}
    assert any("flash_attention_for_cpu" in name for name in called) == fused_attention
