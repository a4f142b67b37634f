"""fairseq's dropout, faster on a CPU: four entries of a mask from each random word.

What it owns: which entries are dropped, on a CPU. What it must not know: tasks, losses, which model has dropouts.
Why: on a CPU torch draws a word for every entry, one after the other on one core, which shows in a small model's update
(docs/benchmarks/README.md). On a GPU torch's own kernel is used.
"""

from __future__ import annotations

import torch
from fairseq.modules import FairseqDropout
from torch import Tensor, nn

_LANES = 4
"""16-bit numbers in a random word."""
_VALUES = 2**16


class LaneDropout(FairseqDropout):  # type: ignore[misc]
    """Srivastava et al. 2014, inverted as torch does it; the rate is the nearest multiple of 2^-16.

    Repeatable by `torch.manual_seed`, as torch's; the masks are others than torch draws from the same seed.
    """

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        """`x` of any shape, each entry zero with probability `p` or else over 1 - p; `x` itself outside training."""
        if self._drops and x.device.type == "cpu":
            return x * keep_mask(x, self.p)
        dropped: Tensor = super().forward(x, inplace)
        return dropped

    @property
    def _drops(self) -> bool:
        return bool(0.0 < self.p < 1.0 and (self.training or self.apply_during_inference))


def keep_mask(like: Tensor, rate: float) -> Tensor:
    """A mask of `like`'s shape and type: 0 with probability `rate`, else what keeps the expectation, 1 / (1 - rate)."""
    dropped = min(round(rate * _VALUES), _VALUES - 1)
    # From the least 64-bit number on: random_() alone leaves the sign out, which is one lane's highest bit.
    words = torch.empty(-(-like.numel() // _LANES), dtype=torch.int64).random_(-(2**63), None)
    lanes = words.view(torch.int16)[: like.numel()].view(like.shape)
    return (lanes >= dropped - _VALUES // 2).to(like.dtype).mul_(_VALUES / (_VALUES - dropped))


def use_lane_dropout(model: nn.Module) -> None:
    """Put `LaneDropout` in the place of every `FairseqDropout` of `model`."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is FairseqDropout:
                setattr(module, name, LaneDropout(child.p, child.module_name))
