"""The output projection of a fairseq model, read outside its `forward`.

What it owns: which models the fused loss can work with. What it must not know: losses.
Why it refuses: a trainer that shards or traces parameters would take this use of the weight for none at all.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mtkd.errors import UsageError


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
