"""The output projection of a fairseq model, read outside its `forward`.

What it owns: which students the fused loss can work with, and which teachers have probabilities to give. What it must
not know: losses.
Why it refuses: a trainer that shards or traces parameters would take this use of the weight for none at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mtkd.errors import CheckpointError, UsageError


def output_projection(model: Any) -> Tensor | None:
    """The weight [V, D] that turns the decoder's features into logits; None where it has a bias (plain loss then).

    Raises:
        UsageError: adaptive softmax, a sharded model, or a DDP wrapper that looks for unused parameters.
    """
    wrapper = model
    while hasattr(wrapper, "module"):
        if type(wrapper).__name__ == "FullyShardedDataParallel":
            raise UsageError("--ddp-backend fully_sharded: the loss reads the whole output projection; use pytorch_ddp")
        if getattr(wrapper, "find_unused_parameters", False):
            raise UsageError("--find-unused-parameters: the loss reads the output projection outside forward; leave it")
        wrapper = wrapper.module
    if getattr(wrapper.decoder, "adaptive_softmax", None) is not None:
        raise UsageError("--adaptive-softmax-cutoff: distillation needs the whole softmax; leave it out")
    projection = wrapper.decoder.output_projection
    weight: Tensor = projection.weight
    return weight if getattr(projection, "bias", None) is None else None


def teachers_projection(model: Any, path: Path) -> nn.Linear:
    """The layer that turns the features of a teacher's decoder into logits; `path` is its checkpoint.

    Raises:
        CheckpointError: it has none that is one matrix product.
    """
    projection = model.decoder.output_projection
    if not isinstance(projection, nn.Linear):
        raise CheckpointError(
            f"{path}: no plain output projection (adaptive softmax?), so it gives no probabilities to learn from; "
            "use a teacher without --adaptive-softmax-cutoff"
        )
    return projection
