"""Which models the fused loss can read the output projection of, and what is said of the others."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.distributed.module_proxy_wrapper import ModuleProxyWrapper
from fairseq.models.transformer import TransformerModel

from mtkd.errors import UsageError
from mtkd.fairseq_model import load_model
from mtkd.fairseq_plugin.projection import output_projection
from tests.fairseq.micro_task import as_json, batch_of, criterion, distance, loss_and_gradients, make_task, write_store

SMALL = {"embed_dim": 16, "ffn_embed_dim": 16, "layers": 1, "attention_heads": 2}


@pytest.fixture(scope="module")
def task(micro, tmp_path_factory: pytest.TempPathFactory):
    store = write_store(micro, "bank", tmp_path_factory.mktemp("stores") / "bank").path
    return make_task(micro, domains="bank,river", soft_targets=as_json({"bank": store}))


def small_transformer(task, **changes: Any) -> TransformerModel:
    sides = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in SMALL.items()}
    return TransformerModel.build_model(Namespace(**sides | {"share_all_embeddings": True} | changes), task)


def test_adaptive_softmax_is_refused(task) -> None:
    model = small_transformer(task, adaptive_softmax_cutoff="100,200", share_all_embeddings=False)
    with pytest.raises(UsageError, match="--adaptive-softmax-cutoff: distillation needs the whole softmax"):
        output_projection(model)


def test_projection_is_found_through_ddp_unless_it_looks_for_unused_parameters(task, tmp_path: Path) -> None:
    model = small_transformer(task)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        looking, plain = (
            ModuleProxyWrapper(torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=unused))
            for unused in (True, False)
        )
    finally:
        torch.distributed.destroy_process_group()
    assert output_projection(plain) is model.decoder.output_projection.weight
    with pytest.raises(UsageError, match="--find-unused-parameters: the loss reads the output projection"):
        output_projection(looking)


def test_sharded_model_is_refused(task) -> None:
    # fairscale, which has the real one, is no dependency of ours; only the name counts.
    sharded = type("FullyShardedDataParallel", (torch.nn.Module,), {})()
    sharded.module = small_transformer(task)
    with pytest.raises(UsageError, match="--ddp-backend fully_sharded: the loss reads the whole output projection"):
        output_projection(sharded)


def test_projection_with_bias_falls_back_to_the_plain_loss(task, trained) -> None:
    model = load_model(trained.checkpoint, task.tgt_dict, "en", "de")
    weight = model.decoder.output_projection.weight
    biased = torch.nn.Linear(weight.size(1), weight.size(0))
    biased.weight = weight
    torch.nn.init.normal_(biased.bias)
    model.decoder.output_projection = biased
    assert output_projection(model) is None
    sample = batch_of(task)
    value, gradients = loss_and_gradients(criterion(task, 0.5), model, sample)
    expected, expected_gradients = loss_and_gradients(criterion(task, 0.5, plain=True), model, sample)
    assert value == expected
    assert distance(gradients, expected_gradients) == 0.0
    assert gradients["decoder.output_projection.bias"].abs().sum() > 0
