"""The optimiser `fused_adam`: fairseq's Adam in one pass over memory instead of some fifteen.

What it owns: fairseq's Adam (decoupled weight decay, epsilon outside of the bias correction) told to torch's fused
kernel, and scaling and clipping of gradients without touching them. What it must not know: tasks, losses.
Why: stock fairseq has a fused Adam for GPUs with apex only; on a CPU its Adam takes as long as a tenth of the model.
No `from __future__ import annotations` here: fairseq reads the dataclass's types at run time.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II
from torch import Tensor


@dataclass
class FusedAdamConfig(FairseqDataclass):  # type: ignore[misc]
    """Arguments of the optimiser: fairseq's names and defaults."""

    adam_betas: Any = field(default=(0.9, 0.999), metadata={"help": "betas for Adam optimizer"})
    adam_eps: float = field(default=1e-8, metadata={"help": "epsilon for Adam optimizer"})
    weight_decay: float = field(default=0.0, metadata={"help": "weight decay"})
    lr: list[float] = II("optimization.lr")  # noqa: RUF009 - a string until hydra resolves it


@register_optimizer("fused_adam", dataclass=FusedAdamConfig)
class FusedAdam(FairseqOptimizer):  # type: ignore[misc]
    """Kingma & Ba 2015 with decoupled weight decay (Loshchilov & Hutter 2019), on CPU and CUDA."""

    def __init__(self, cfg: Any, params: Any) -> None:
        super().__init__(cfg)
        self._optimizer = _Adam(params, **self.optimizer_config)
        self._scale: Tensor | float = 1.0
        """What the gradients still have to be multiplied by."""

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """torch's arguments, which hold against those in a checkpoint."""
        lr, betas = self.cfg.lr, self.cfg.adam_betas
        return {
            "lr": lr if isinstance(lr, float) else lr[0],
            "betas": ast.literal_eval(betas) if isinstance(betas, str) else tuple(betas),
            "eps": self.cfg.adam_eps,
            "weight_decay": self.cfg.weight_decay,
        }

    def multiply_grads(self, c: Tensor | float) -> None:
        """Remember the factor; the fused kernel applies it."""
        self._scale = self._scale * c

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The gradients' norm, and a factor that brings it down to `max_norm` (0: no limit)."""
        gradients = [p.grad for p in self.params if p.grad is not None]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)).float()) * self._scale
        if aggregate_norm_fn is not None:
            norm = aggregate_norm_fn(norm)
        if max_norm > 0:
            self._scale = self._scale * (max_norm / (norm + 1e-6)).clamp(max=1.0)
        return norm

    def step(self, closure: Any = None, scale: float = 1.0, groups: Any = None) -> None:
        """One update with the gradients scaled by all that was asked for since the last one."""
        assert closure is None
        assert groups is None
        factor = torch.as_tensor(self._scale / scale, dtype=torch.float32)
        self._optimizer.step_scaled(factor.reciprocal())
        self._scale = 1.0

    def zero_grad(self) -> None:
        """Forget the gradients, and what they were to be scaled by."""
        super().zero_grad()
        self._scale = 1.0


class _Adam(torch.optim.AdamW):
    """torch's fused AdamW, its epsilon moved to where fairseq has it."""

    supports_flat_params = True
    supports_step_with_scale = True

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    def step_scaled(self, divisor: Tensor) -> None:
        """One step with gradients divided by `divisor`.

        fairseq divides by sqrt(v) + eps and corrects the bias afterwards, torch by sqrt(v / (1 - b2^t)) + eps: the same
        with eps / sqrt(1 - b2^t).
        """
        device = self.param_groups[0]["params"][0].device
        self.grad_scale, self.found_inf = divisor.to(device), torch.zeros((), device=device)
        steps = next((float(state["step"]) for state in self.state.values() if state), 0.0)
        saved = [group["eps"] for group in self.param_groups]
        for group in self.param_groups:
            group["eps"] /= (1.0 - group["betas"][1] ** (steps + 1.0)) ** 0.5
        try:
            self.step()
        finally:
            for group, eps in zip(self.param_groups, saved, strict=True):
                group["eps"] = eps
