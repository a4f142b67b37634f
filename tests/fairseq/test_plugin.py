"""Dataset and criterion: rows stay with their sentences, domains are drawn as asked, lambda means what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary

from mtkd.corpus.subword import fingerprint
from mtkd.distill.topk import StoreHeader, StoreWriter, TeacherRows, TopKStore, targets_checksum
from mtkd.errors import StoreMismatch, UsageError
from mtkd.fairseq_model import load_model
from mtkd.fairseq_plugin.criterion import WordKDCriterion
from mtkd.fairseq_plugin.dataset import DomainSampling
from mtkd.fairseq_plugin.task import MultiDomainTranslationConfig, MultiDomainTranslationTask, fast_bf16

DOMAINS = ["bank", "river", "court"]
K = 4


def make_task(micro, **changes: Any) -> MultiDomainTranslationTask:
    settings = {
        "data": str(micro.data),
        "source_lang": "en",
        "target_lang": "de",
        "domains": ",".join(DOMAINS),
        "train_subset": "train",
        "dataset_impl": None,
        "seed": 1,
        "fp16": False,
    }
    return MultiDomainTranslationTask.setup_task(MultiDomainTranslationConfig(**(settings | changes)))


def write_store(micro, domain: str, path: Path, *, change: Callable[[StoreHeader], dict] | None = None) -> TopKStore:
    """A store whose likeliest id is the reference itself, so that a misplaced row shows."""
    dictionary = Dictionary.load(str(micro.dictionary))
    task = make_task(micro, domains=domain)
    task.load_dataset("valid")
    rows = [task._load_domain(domain, "train").tgt[i].numpy() for i in range(len(task._load_domain(domain, "train")))]
    lengths = [len(row) for row in rows]
    header = {
        "corpus": domain,
        "vocabulary": fingerprint(dictionary.symbols[dictionary.nspecial :]),
        "vocab_size": len(dictionary),
        "targets": targets_checksum(rows),
        "teachers": {domain: "d" * 64},
        "rule": "in_domain",
        "rows": len(rows),
        "tokens": sum(lengths),
        "top_k": K,
        "temperatures": [1.0],
    }
    header |= change(header) if change else {}
    writer = StoreWriter(path, StoreHeader(**header), lengths)
    tokens = np.concatenate(rows)
    ids = np.stack([tokens, *((tokens + n) % len(dictionary) for n in range(1, K))], axis=1).astype(np.uint16)
    log_probs = np.log(np.tile([0.5, 0.2, 0.1, 0.1], (len(tokens), 1))).astype(np.float16)
    tails = np.full((len(tokens), 1), np.log(0.1), dtype=np.float16)
    writer.append(len(rows), TeacherRows(ids, log_probs, tails, log_probs[:, 0]))
    return writer.finish()


@pytest.fixture(scope="module")
def stores(micro, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("stores")
    return {domain: write_store(micro, domain, root / domain).path for domain in ("bank", "court")}


def as_json(stores: dict[str, Path]) -> str:
    return "{" + ", ".join(f'"{name}": "{path}"' for name, path in stores.items()) + "}"


def test_store_row_matches_sentence_after_shuffle(micro, stores) -> None:
    """Design invariant 2, through fairseq's own iterator: collation re-sorts, epochs reshuffle, domains mix."""
    task = make_task(micro, soft_targets=as_json(stores))
    task.load_dataset("train")
    dataset = task.dataset("train")
    seen: set[int] = set()
    for epoch in (1, 2):
        iterator = task.get_batch_iterator(dataset, max_tokens=300, seed=5, epoch=epoch)
        for batch in iterator.next_epoch_itr(shuffle=True):
            soft, target = batch["soft_targets"], batch["target"]
            known = torch.tensor([DOMAINS[d] != "river" for d in batch["domain"].tolist()])
            assert torch.equal(soft["known"], known)
            real = target.ne(task.tgt_dict.pad()) & known[:, None]
            assert torch.equal(soft["ids"][..., 0][real], target[real])
            assert torch.isfinite(soft["log_probs"]).all()
            seen.update(batch["id"].tolist())
    assert len(seen) == len(dataset)


def test_soft_targets_are_joined_to_train_only(micro, stores) -> None:
    task = make_task(micro, soft_targets=as_json(stores))
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    assert "soft_targets" not in dataset.collater([dataset[0], dataset[1]])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda header: {"vocabulary": "0" * 16}, "vocabulary"),
        (lambda header: {"targets": "0" * 64}, "target text"),
        (lambda header: {"corpus": "river"}, "corpus"),
    ],
)
def test_store_of_something_else_is_refused_at_training(micro, tmp_path: Path, change, what: str) -> None:
    store = write_store(micro, "bank", tmp_path / "store", change=change)
    task = make_task(micro, soft_targets=as_json({"bank": store.path}))
    with pytest.raises(StoreMismatch, match=f"made for {what}"):
        task.load_dataset("train")


def test_larger_k_or_other_temperature_than_captured_is_refused(micro, stores) -> None:
    with pytest.raises(StoreMismatch, match="holds k = 4, asked for 5"):
        make_task(micro, soft_targets=as_json(stores), soft_targets_top_k=5).load_dataset("train")
    with pytest.raises(StoreMismatch, match="asked for T = 2"):
        make_task(micro, soft_targets=as_json(stores), kd_temperature=2.0).load_dataset("train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domains": ""}, "--domains is empty"),
        ({"domains": "bank,bank"}, "a domain is named twice"),
        ({"source_lang": None}, "needs --source-lang and --target-lang"),
        ({"soft_targets": '{"moon": "x"}'}, "must be a JSON object whose keys are among the domains"),
        ({"soft_targets": "{"}, "--soft-targets: not JSON"),
    ],
)
def test_wrong_settings_of_the_task_are_named(micro, changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_task(micro, **changes).load_dataset("train")


def test_lambda_lies_between_0_and_1(micro) -> None:
    with pytest.raises(UsageError, match="lambda lies between 0 and 1"):
        criterion(make_task(micro), 1.5)


def test_domains_with_other_dictionaries_are_refused(micro, tmp_path: Path) -> None:
    for name in ("bank", "river"):
        (tmp_path / name).mkdir()
        for lang in ("en", "de"):
            text = (micro.data / name / f"dict.{lang}.txt").read_text()
            (tmp_path / name / f"dict.{lang}.txt").write_text(text + ("extra 1\n" if name == "river" else ""))
    with pytest.raises(UsageError, match=r"river: dict\.en\.txt differs from bank's"):
        make_task(micro, data=str(tmp_path), domains="bank,river")


def test_sampling_draws_by_weight_and_temperature() -> None:
    rows = {"big": 900, "small": 100}
    assert DomainSampling({}, 1.0, 1).counts(rows) == {"big": 900, "small": 100}
    assert DomainSampling({"small": 9.0}, 1.0, 1).counts(rows) == {"big": 500, "small": 500}
    flat = DomainSampling({}, 1000.0, 1).counts(rows)
    assert abs(flat["big"] - flat["small"]) <= 3


def test_sampling_is_a_function_of_seed_and_epoch_and_wastes_no_row() -> None:
    rows = {"big": 90, "small": 10}
    sampling = DomainSampling({"small": 4.0}, 1.0, seed=3)
    epochs = [sampling.epoch_rows(rows, epoch) for epoch in (1, 2, 3)]
    assert all(np.array_equal(sampling.epoch_rows(rows, n + 1), drawn) for n, drawn in enumerate(epochs))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(DomainSampling({"small": 4.0}, 1.0, seed=4).epoch_rows(rows, 1), epochs[0])
    drawn = np.concatenate(epochs)
    for low, high in ((0, 90), (90, 100)):
        counts = np.bincount(drawn[(drawn >= low) & (drawn < high)] - low, minlength=high - low)
        assert counts.max() - counts.min() <= 1


def test_drawn_rows_are_real_rows_of_their_domain(micro) -> None:
    task = make_task(micro, sampling_weights='{"bank": 3.0}')
    task.load_dataset("train")
    dataset = task.dataset("train")
    dataset.set_epoch(2)
    corpus, place = dataset.locate([dataset[i]["id"] for i in range(len(dataset))])
    assert np.bincount(corpus).tolist() == list(dataset.sampling.counts(dataset._rows_of).values())
    for index in (0, len(dataset) - 1):
        sample = dataset[index]
        expected = dataset.corpora[DOMAINS[corpus[index]]].tgt[int(place[index])]
        assert torch.equal(sample["target"], expected)
        assert dataset.size(index) == (len(sample["source"]), len(sample["target"]))
        assert dataset.num_tokens(index) == dataset.num_tokens_vec(np.array([index]))[0]
    assert not dataset.can_reuse_epoch_itr_across_epochs


def batch_of(task: MultiDomainTranslationTask) -> dict[str, Any]:
    task.load_dataset("train")
    dataset = task.dataset("train")
    return dataset.collater([dataset[i] for i in range(0, len(dataset), 17)])


def criterion(task: MultiDomainTranslationTask, kd_weight: float) -> WordKDCriterion:
    return WordKDCriterion(task, False, 0.1, kd_weight, "forward_kl")


@pytest.fixture(scope="module")
def model(micro, trained):
    return load_model(trained.checkpoint, Dictionary.load(str(micro.dictionary)), "en", "de")


def loss_and_gradient(model, task, sample: dict[str, Any], kd_weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    model.train()
    model.zero_grad()
    loss, _, _ = criterion(task, kd_weight)(model, sample)
    loss.backward()
    return loss.detach(), model.decoder.embed_tokens.weight.grad.clone()


def test_at_weight_one_labels_do_not_matter(micro, stores, model) -> None:
    """Design invariant 4, through model and criterion; the decoder's input stays as it was."""
    task = make_task(micro, domains="bank,court", soft_targets=as_json(stores))
    sample = batch_of(task)
    before = loss_and_gradient(model, task, sample, 1.0)
    target = sample["target"]
    other = torch.where(target.eq(task.tgt_dict.pad()), target, (target + 7) % 400 + 4)
    after = loss_and_gradient(model, task, sample | {"target": other}, 1.0)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0], loss_and_gradient(model, task, sample | {"target": other}, 0.5)[0])


def test_dev_loss_is_the_same_for_every_lambda(micro, stores, model) -> None:
    """Design invariant 5: checkpoints of every lambda are chosen by the same number."""
    task = make_task(micro, soft_targets=as_json(stores))
    sample = batch_of(task)
    model.eval()
    losses = [criterion(task, weight)(model, sample)[0].item() for weight in (0.0, 0.5, 1.0)]
    assert len(set(losses)) == 1


def test_padding_adds_nothing(micro, stores, model) -> None:
    task = make_task(micro, soft_targets=as_json(stores))
    task.load_dataset("train")
    dataset = task.dataset("train")
    samples = [dataset[0], dataset[5], dataset[200]]
    model.eval()
    model.zero_grad()
    together = criterion(task, 0.0)(model, dataset.collater(samples))[0]
    alone = sum(criterion(task, 0.0)(model, dataset.collater([sample]))[0] for sample in samples)
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)


def test_per_domain_sums_add_up_and_every_domain_is_logged(micro, stores, model) -> None:
    task = make_task(micro, soft_targets=as_json(stores))
    task.load_dataset("train")
    dataset = task.dataset("train")
    model.train()
    _, size, log = criterion(task, 0.5)(model, dataset.collater([dataset[0], dataset[1]]))
    assert {key for key in log if key.startswith("nll.")} == {f"nll.{name}" for name in DOMAINS}
    assert log["nll.river"] == 0
    assert log["tokens.bank"] == size == log["soft_tokens"] == log["ntokens"]
    assert log["nll.bank"].item() == pytest.approx(log["nll_loss"].item())


def test_full_top_k_through_the_criterion_has_no_tail(micro, model, tmp_path: Path) -> None:
    """k = V equals dense KL: the criterion drops the tail's atom when every symbol is kept."""
    task = make_task(micro, domains="bank")
    sample = batch_of(task)
    size = len(task.tgt_dict)
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(*sample["target"].shape, size, generator=generator).log_softmax(-1)
    ids = teacher.argsort(-1, descending=True)
    soft = {
        "ids": ids,
        "log_probs": teacher.gather(-1, ids),
        "log_tail": torch.full(sample["target"].shape, -torch.inf),
        "known": torch.ones(len(ids), dtype=torch.bool),
    }
    model.train()
    loss, _, _ = criterion(task, 1.0)(model, sample | {"soft_targets": soft})
    with torch.no_grad():
        logits = model(**sample["net_input"])[0]
    dense = torch.nn.functional.kl_div(logits.log_softmax(-1), teacher, log_target=True, reduction="none").sum(-1)
    assert loss.item() == pytest.approx(dense[sample["target"].ne(task.tgt_dict.pad())].sum().item(), rel=1e-5)


def test_bf16_is_automatic_only_where_the_processor_has_it() -> None:
    flags = Path("/proc/cpuinfo").read_text()
    assert fast_bf16("cpu") == ("avx512_bf16" in flags or "amx_bf16" in flags)
