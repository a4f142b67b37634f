"""Task and dataset: rows stay with their sentences, domains are drawn as asked, what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data import LanguagePairDataset

from mtkd.errors import StoreMismatch, UsageError
from mtkd.fairseq_plugin.dataset import ORDERS, DomainSampling, MultiDomainDataset
from mtkd.fairseq_plugin.task import fast_bf16
from tests.fairseq.micro_task import DOMAINS, as_json, batch_of, make_task, write_store


@pytest.fixture(scope="module")
def stores(micro, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("stores")
    return {domain: write_store(micro, domain, root / domain).path for domain in ("bank", "court")}


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
            known = torch.tensor([DOMAINS[d] != "river" for d in batch["corpus"].tolist()])
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


def test_temperature_that_was_not_captured_serves_renormalise_alone(micro, stores, tmp_path: Path) -> None:
    """Without its tail the tempered row of one teacher can be had from T = 1, that of several mixed ones cannot."""
    settings = {"domains": "bank", "kd_temperature": 2.0, "kd_tail": "renormalise"}
    both = write_store(micro, "bank", tmp_path / "both", change=lambda header: {"temperatures": [1.0, 2.0]}).path
    batches = [
        batch_of(make_task(micro, **settings, soft_targets=as_json({"bank": path}))) for path in (both, stores["bank"])
    ]
    assert torch.equal(batches[0]["soft_targets"]["log_probs"], batches[1]["soft_targets"]["log_probs"])
    assert batches[1]["soft_targets"]["log_tail"].isfinite().all()
    two = {"bank": "d" * 64, "river": "e" * 64}
    mixed = write_store(micro, "bank", tmp_path / "mixed", change=lambda header: {"teachers": two}).path
    with pytest.raises(StoreMismatch, match="asked for T = 2"):
        make_task(micro, **settings, soft_targets=as_json({"bank": mixed})).load_dataset("train")


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


def test_rows_sorted_by_their_longer_side_make_fewer_batches_of_less_padding(micro) -> None:
    dictionary = make_task(micro).source_dictionary
    random = np.random.default_rng(1)
    sources = random.integers(2, 40, size=4000)
    targets = np.maximum(2, np.rint(sources * random.normal(1.1, 0.25, size=4000))).astype(int)
    sides = [[torch.full((size,), 5) for size in sizes] for sizes in (sources, targets)]
    corpus = LanguagePairDataset(sides[0], sources, dictionary, sides[1], targets, dictionary)
    real = int((sources + targets).sum())
    padding, batches = {}, {}
    for order in ORDERS:
        dataset = MultiDomainDataset({"bank": corpus}, order=order)
        indices = dataset.ordered_indices()
        assert sorted(indices) == list(range(4000))
        batches[order] = dataset.batch_by_size(indices, max_tokens=512)
        sizes = [dataset.sizes[batch] for batch in batches[order]]
        assert max(size.max() * len(size) for size in sizes) <= 512
        padding[order] = sum(int(size.max(axis=0).sum()) * len(size) for size in sizes) - real
    assert padding["longer_side"] < 0.7 * padding["source"]
    assert len(batches["longer_side"]) < 0.95 * len(batches["source"])


def test_bf16_is_automatic_only_where_the_processor_has_it() -> None:
    flags = Path("/proc/cpuinfo").read_text()
    assert fast_bf16("cpu") == ("avx512_bf16" in flags or "amx_bf16" in flags)
