"""The loss of `losses.py` fused with the output projection: no N x V tensor, three matrix products, exact gradients.

What it owns: chunks of tokens, the analytic gradient by the logits, number formats. What it must not know: fairseq,
which divergence it computes. Why it can be generic: a chunk's logits are reduced to the small tensors of `losses.py`,
autograd runs any row of `KD_LOSSES` on those, and the gradients by them go to the logits by

    d nll / dz_v           = q_v - [v = y]
    d sum_v log q_v / dz_v = 1 - V q_v
    d log q_i / dz_v       = ([v = i] - q^T_v) / T
    d log q_m / dz_v       = ([v not in K] q^T_v / q_m - q^T_v) / T
    d mean log rest / dz_v = ([v not in K] / (V - K) - q^T_v) / T

in one pass over the chunk. What is constant along v (the 1 of sum log q, the 1/(V - K)) is a rank-one term that never
touches the chunk. The gradients are computed in the forward pass and scaled in the backward one (as in Liger-Kernel's
chunked losses and Wijmans et al. 2025, Cut Cross-Entropy), so that the logits are made once.

Shapes: N tokens, C tokens of a chunk, K kept entries, V vocabulary, D width of the features.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mtkd.distill.losses import HardLogs, Objective, SoftTargets, StudentLogs, TokenLosses

CHUNK_ENTRIES = {"cpu": 2**24, "cuda": 2**26}
"""Logits of a chunk: enough rows for the matrix products to run at full speed, few enough to stay small."""
_FULL_SPEED_ROWS = 512
"""On a CPU matrix products gain nothing by more rows, and a small vocabulary's logits still are in the cache."""
HALF_LIFT = 2.0**10
"""float16 holds nothing below 6e-8: gradients by the logits are kept so many times larger until they are multiplied."""


def chunk_rows(vocab_size: int, device: str) -> int:
    """The most tokens of a chunk on a type of device, at least one."""
    rows = max(1, CHUNK_ENTRIES[device] // vocab_size)
    return min(rows, _FULL_SPEED_ROWS) if device == "cpu" else rows


class SoftSource(Protocol):
    """Where a chunk's soft targets come from: `SoftTargets` themselves, or teachers that are asked as we go."""

    def rows(self, span: slice) -> SoftTargets:
        """The soft targets of some of the tokens."""
        ...


def fused_word_kd(
    features_ND: Tensor,
    weight_VD: Tensor,
    target_N: Tensor,
    objective: Objective,
    soft: SoftSource | None = None,
    kd_weight_N: Tensor | None = None,
    weight_N: Tensor | None = None,
) -> tuple[Tensor, TokenLosses]:
    """The sum of the losses of `word_kd(features @ weight.T, ...)`, and the losses per token (without gradients).

    Under autocast the matrix products are in its number format and everything else in float32, as for float16 and
    bfloat16 features; gradients are summed in float32. The sum can be differentiated once.

    Args:
        features_ND: the decoder's output, before the projection.
        weight_VD: the output projection, tied to an embedding or not; without a bias.
        target_N: reference ids, no padding among them.
        objective: as for `word_kd`.
        soft: as for `word_kd`, or anything with `rows`.
        kd_weight_N: as for `word_kd`.
        weight_N: as for `word_kd`.
    """
    device = features_ND.device.type
    products = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features_ND.dtype
    task = _Task(target_N, objective, soft, kd_weight_N, weight_N, products, torch.is_grad_enabled())
    loss, loss_N, smoothed_nll_N, nll_N, *kd = _FusedLoss.apply(features_ND, weight_VD, task)  # type: ignore[no-untyped-call]
    return loss, TokenLosses(loss_N, smoothed_nll_N, nll_N, kd[0] if kd else None)


class _Task(NamedTuple):
    """All that is not differentiated."""

    target_N: Tensor
    objective: Objective
    soft: SoftSource | None
    kd_weight_N: Tensor | None
    weight_N: Tensor | None
    products: torch.dtype
    """Number format of the matrix products."""
    gradients: bool
    """Whether any can be asked for; inside `forward` nothing tells."""


class _FusedLoss(torch.autograd.Function):
    """Loss and gradients in one sweep over chunks of tokens."""

    @staticmethod
    def forward(ctx: Any, features_ND: Tensor, weight_VD: Tensor, task: _Task) -> tuple[Tensor, ...]:
        wanted = task.gradients and any(ctx.needs_input_grad)
        with torch.autocast(features_ND.device.type, enabled=False):
            sweep = _Sweep(features_ND, weight_VD, task, gradients=wanted)
            chunks = [sweep.chunk(span) for span in sweep.spans()]
        ctx.gradients = sweep.gradients() if wanted else None
        ctx.formats = features_ND.dtype, weight_VD.dtype
        per_token = [torch.cat(parts) for parts in zip(*chunks, strict=True)]
        ctx.mark_non_differentiable(*per_token)
        return per_token[0].sum(), *per_token

    @staticmethod
    def backward(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None]:
        assert ctx.gradients is not None, "the fused loss can be differentiated once: its gradients are scaled in place"
        gradients, ctx.gradients = ctx.gradients, None
        # Scaled in float32 and narrowed afterwards, or a loss scale would come too late for small gradients.
        features_ND, weight_VD = (
            values.mul_(scale).to(dtype) for values, dtype in zip(gradients, ctx.formats, strict=True)
        )
        return features_ND, weight_VD, None


class _Sweep:
    """One pass over all tokens in chunks, and the sums that the gradients are made of."""

    def __init__(self, features_ND: Tensor, weight_VD: Tensor, task: _Task, *, gradients: bool) -> None:
        self.task = task
        self.sums = torch.float64 if features_ND.dtype == torch.float64 else torch.float32
        self.vocab_size = len(weight_VD)
        self.features_ND = features_ND.detach()
        self.weight_VD = weight_VD.detach().to(task.products)
        self.weight_sum_D = weight_VD.detach().to(self.sums).sum(0)
        self.wanted = gradients
        if gradients:
            self.by_features_ND = torch.empty_like(features_ND, dtype=self.sums)
            self.by_weight_VD = torch.zeros_like(weight_VD, dtype=self.sums)
            self.by_every_row_D = torch.zeros_like(self.weight_sum_D)
        rows = min(len(features_ND), chunk_rows(self.vocab_size, features_ND.device.type))
        # One buffer for all chunks: a fresh one would be paged in, and zeroed by the system, every time.
        self.logits_CV = torch.empty(rows, self.vocab_size, dtype=self.sums, device=features_ND.device)

    def spans(self) -> list[slice]:
        """The chunks; one, and empty, where there are no tokens."""
        total, step = len(self.features_ND), max(1, len(self.logits_CV))
        return [slice(start, min(start + step, total)) for start in range(0, max(1, total), step)]

    def gradients(self) -> tuple[Tensor, Tensor]:
        """By features and by weight, complete after the last chunk."""
        return self.by_features_ND, self.by_weight_VD.add_(self.by_every_row_D)

    def chunk(self, span: slice) -> tuple[Tensor, ...]:
        """Losses per token of one chunk; its gradients go into the sums."""
        task, target_C1 = self.task, self.task.target_N[span][:, None]
        soft = None if task.soft is None else task.soft.rows(span)
        weights = [None if values is None else values[span] for values in (task.kd_weight_N, task.weight_N)]
        temperature = 1.0 if soft is None else task.objective.temperature

        logits_CV = self._project(span)
        # Sum_v z_v without a pass over the logits.
        sum_C = self.features_ND[span].to(self.sums) @ self.weight_sum_D
        reference_C = logits_CV.gather(1, target_C1).squeeze(1)
        hard_total_C = None if temperature == 1.0 else logits_CV.logsumexp(-1)
        tempered_CV = logits_CV if temperature == 1.0 else logits_CV / temperature
        if soft is not None and soft.covers(self.vocab_size):
            soft = soft.in_vocabulary_order()
            student: _Whole | _Split = _Whole(tempered_CV)
        else:
            ids_CK = target_C1[:, :0] if soft is None or soft.ids_NK is None else soft.ids_NK
            student = _Split(tempered_CV, ids_CK, sum_C / temperature)
        log_total_C = student.log_total_C if hard_total_C is None else hard_total_C
        hard = HardLogs(log_total_C - reference_C, sum_C - self.vocab_size * log_total_C)

        losses, by = _on_small_tensors(task.objective, self.vocab_size, hard, student.logs, soft, *weights)
        if self.wanted:
            by_hard_C = by.nll_C - self.vocab_size * by.sum_log_q_C
            by_soft_C = -(by.kept_CK.sum(-1) + by.tail_C + by.mean_C) / temperature
            by_rest_C = by.mean_C / (temperature * max(1, student.logs.excluded))
            dense_CV = student.gradient(
                every_C=by_soft_C + by_hard_C if hard_total_C is None else by_soft_C,
                kept_CK=by.kept_CK / temperature - by_rest_C[:, None],
                tail_C=by.tail_C / temperature,
            )
            if hard_total_C is not None:
                dense_CV.addcmul_(logits_CV.sub_(hard_total_C[:, None]).exp_(), by_hard_C[:, None])
            dense_CV.scatter_add_(1, target_C1, -by.nll_C[:, None])
            self._add(span, dense_CV, by.sum_log_q_C + by_rest_C)
        return tuple(values.detach() for values in losses if values is not None)

    def _project(self, span: slice) -> Tensor:
        """The chunk's logits, in the buffer."""
        features_CD = self.features_ND[span].to(self.task.products)
        logits_CV = self.logits_CV[: len(features_CD)]
        if self.task.products == self.sums:
            return torch.mm(features_CD, self.weight_VD.t(), out=logits_CV)
        return logits_CV.copy_(features_CD @ self.weight_VD.t())

    def _add(self, span: slice, dense_CV: Tensor, constant_C: Tensor) -> None:
        """Add the gradients of a chunk whose gradient by the logits is `dense_CV + constant_C[:, None]`."""
        features_CD = self.features_ND[span].to(self.sums)
        self.by_every_row_D += constant_C @ features_CD
        by_features_CD = constant_C[:, None] * self.weight_sum_D
        if self.task.products == self.sums:
            by_features_CD.addmm_(dense_CV, self.weight_VD)
            self.by_weight_VD.addmm_(dense_CV.t(), features_CD)
        else:
            lift = HALF_LIFT if self.task.products == torch.float16 else 1.0
            narrow_CV = dense_CV.mul_(lift).to(self.task.products)
            by_features_CD += (narrow_CV @ self.weight_VD).to(self.sums) / lift
            if self.task.products == torch.float16:
                # Lifted, a frequent word's sum over tokens would overflow, and unlifted underflow.
                self.by_weight_VD.addmm_(narrow_CV.t().to(self.sums), features_CD, alpha=1.0 / lift)
            else:
                self.by_weight_VD += narrow_CV.t() @ features_CD.to(self.task.products)
        self.by_features_ND[span] = by_features_CD


class _Split:
    """softmax(x) of a chunk as kept entries and the rest; `x` is overwritten by exp(x - max) outside K, 0 in K."""

    def __init__(self, x_CV: Tensor, ids_CK: Tensor, sum_C: Tensor) -> None:
        kept_CK = x_CV.gather(1, ids_CK)
        peak_C1 = x_CV.scatter_(1, ids_CK, -torch.inf).amax(1, keepdim=True)
        self.rest_CV = x_CV.sub_(peak_C1).exp_()
        self.rest_sum_C = self.rest_CV.sum(1)
        log_rest_C = peak_C1.squeeze(1) + self.rest_sum_C.log()
        self.log_total_C = torch.logaddexp(log_rest_C, kept_CK.logsumexp(1))
        self.ids_CK = ids_CK
        excluded = x_CV.size(1) - ids_CK.size(1)
        self.logs = StudentLogs(
            log_kept_NK=kept_CK - self.log_total_C[:, None],
            log_tail_N=log_rest_C - self.log_total_C,
            mean_log_rest_N=(sum_C - kept_CK.sum(1)) / excluded - self.log_total_C,
            excluded=excluded,
        )

    def gradient(self, every_C: Tensor, kept_CK: Tensor, tail_C: Tensor) -> Tensor:
        """every * q_v, plus `kept` for v in K, plus tail * q_v / q_m for the others."""
        log_tail_C = self.logs.log_tail_N
        assert log_tail_C is not None
        outside_C = (every_C * log_tail_C.detach().exp() + tail_C) / self.rest_sum_C
        self.rest_CV.mul_(outside_C[:, None])
        inside_CK = every_C[:, None] * self.logs.log_kept_NK.detach().exp() + kept_CK
        return self.rest_CV.scatter_(1, self.ids_CK, inside_CK)


class _Whole:
    """softmax(x) of a chunk of which every entry is kept."""

    def __init__(self, x_CV: Tensor) -> None:
        self.log_total_C = x_CV.logsumexp(1)
        self.logs = StudentLogs(x_CV - self.log_total_C[:, None], None, None, excluded=0)

    def gradient(self, every_C: Tensor, kept_CK: Tensor, tail_C: Tensor) -> Tensor:
        """every * q_v + kept_v."""
        return self.logs.log_kept_NK.detach().exp().mul_(every_C[:, None]).add_(kept_CK)


class _SmallGradients(NamedTuple):
    """Gradients of a chunk's loss by the tensors of `HardLogs` and `StudentLogs`; zeros where one is not there."""

    nll_C: Tensor
    sum_log_q_C: Tensor
    kept_CK: Tensor
    tail_C: Tensor
    mean_C: Tensor


def _on_small_tensors(
    objective: Objective,
    vocab_size: int,
    hard: HardLogs,
    student: StudentLogs,
    soft: SoftTargets | None,
    kd_weight_C: Tensor | None,
    weight_C: Tensor | None,
) -> tuple[TokenLosses, _SmallGradients]:
    """Any row of `KD_LOSSES` under autograd."""
    leaves = [hard.nll_N, hard.sum_log_q_N, student.log_kept_NK, student.log_tail_N, student.mean_log_rest_N]
    present = [leaf.requires_grad_() for leaf in leaves if leaf is not None]
    with torch.enable_grad():
        losses = objective.losses(vocab_size, hard, None if soft is None else student, soft, kd_weight_C, weight_C)
        found = iter(torch.autograd.grad(losses.loss_N.sum(), present, allow_unused=True, materialize_grads=True))
    return losses, _SmallGradients(*(torch.zeros_like(hard.nll_N) if leaf is None else next(found) for leaf in leaves))
