"""The loss of DESIGN.md, "The mathematics", once more: dense distributions, one token at a time, in float64.

What it owns: the formulas as one would write them on paper, and example rows that are hard in every way we know of.
What it must not know: mtkd, from which it imports nothing. Why: two implementations that share no line can only agree
where both are right. Its gradients are autograd's, through these very formulas.

Shapes: N tokens, K kept entries, V vocabulary, A atoms. A missing letter is a missing axis: `p_V` is one token's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

LOG_TAILS = (math.log(0.3), math.log(0.999), math.log(1e-12), -80.0, -65504.0)
"""Logs of the teachers' tail masses: ordinary, near one, tiny, nothing in float32, and the least that float16 holds."""
SHARPNESS = (1.0, 8.0)
"""Standard deviations of the student's logits: unsure, and so sure that 1 - sum(q) would be 0 in float32."""


class Example(NamedTuple):
    """One token for every pairing of a tail mass with a sharpness; references lie in K and outside by turns."""

    logits_NV: Tensor
    log_p_NV: Tensor
    kept_NK: Tensor
    target_N: Tensor
    kd_weight_N: Tensor
    """lambda; the first row's is 0, the second's 1."""
    weight_N: Tensor
    """w, of mean 1."""


class Stored(NamedTuple):
    """The example's teacher as a store would keep it, but in float64; the tail is None where K = V."""

    ids_NK: Tensor
    log_probs_NK: Tensor
    log_tail_N: Tensor | None


class RowLosses(NamedTuple):
    """The parts of the loss and their sum, each [N]."""

    loss_N: Tensor
    smoothed_nll_N: Tensor
    nll_N: Tensor
    kd_N: Tensor


def example(k: int, vocab_size: int = 23, seed: int = 0) -> Example:
    """Rows of float64; kept ids are k of the vocabulary in any order, not its likeliest, so that m can be anything."""
    generator = torch.Generator().manual_seed(seed)
    logits, log_p, kept = [], [], []
    target: list[Tensor] = []
    for log_tail in LOG_TAILS:
        for sharpness in SHARPNESS:
            order_V = torch.randperm(vocab_size, generator=generator)
            log_p_V = 2 * torch.randn(vocab_size, generator=generator, dtype=torch.float64)
            inside, outside = order_V[:k], order_V[k:]
            if k == vocab_size:
                log_p_V = log_p_V.log_softmax(0)
            else:
                log_p_V[inside] = log_p_V[inside].log_softmax(0) + math.log1p(-math.exp(log_tail))
                log_p_V[outside] = log_p_V[outside].log_softmax(0) + log_tail
            logits.append(sharpness * torch.randn(vocab_size, generator=generator, dtype=torch.float64))
            log_p.append(log_p_V)
            kept.append(inside)
            target.append(order_V[0 if len(target) % 3 == 0 else -1])
    kd_weight_N = torch.rand(len(target), generator=generator, dtype=torch.float64)
    kd_weight_N[:2] = torch.tensor([0.0, 1.0])
    weight_N = torch.linspace(0.5, 1.5, len(target), dtype=torch.float64)
    logits_NV, log_p_NV, kept_NK, target_N = (torch.stack(rows) for rows in (logits, log_p, kept, target))
    return Example(logits_NV, log_p_NV, kept_NK, target_N, kd_weight_N, weight_N)


def stored(given: Example, temperature: float) -> Stored:
    """Kept log-probabilities at T = 1 over the full softmax, and log sum_{j not in K} p_j^(1/T)."""
    log_tails = []
    for log_p_V, kept_K in zip(given.log_p_NV, given.kept_NK, strict=True):
        log_tails.append((log_p_V[_outside(kept_K, len(log_p_V))] / temperature).logsumexp(0))
    whole = given.kept_NK.size(1) == given.log_p_NV.size(1)
    return Stored(given.kept_NK, given.log_p_NV.gather(1, given.kept_NK), None if whole else torch.stack(log_tails))


def dense_reading(ids_NK: Tensor, log_probs_NK: Tensor, log_tail_N: Tensor, vocab_size: int, temp: float) -> Tensor:
    """A dense teacher [N, V] at T = 1 whose kept entries and tempered tail are what stored rows say, rounded or not."""
    log_p_NV = torch.empty(len(ids_NK), vocab_size, dtype=torch.float64)
    for n, (kept_K, log_tail) in enumerate(zip(ids_NK, log_tail_N.double(), strict=True)):
        outside = _outside(kept_K, vocab_size)
        log_p_NV[n, outside] = temp * (log_tail - math.log(len(outside)))
        log_p_NV[n, kept_K] = log_probs_NK[n].double()
    return log_p_NV


def row_losses(given: Example, kd_loss: str, tail: str, temperature: float, epsilon: float) -> RowLosses:
    """w ((1 - lambda) nll_ls + lambda T^2 D(p^T || q^T)), token by token; differentiable by `given.logits_NV`."""
    vocab_size = given.logits_NV.size(1)
    share = epsilon / (vocab_size - 1)
    losses = []
    for z_V, log_p_V, kept_K, y, kd_weight, weight in zip(*given, strict=True):
        log_q_V = (z_V.exp() / z_V.exp().sum()).log()
        nll = -log_q_V[y]
        smoothed = (1 - epsilon - share) * nll + share * sum(-log_q_V)
        kd = temperature**2 * divergence(kd_loss, tail, z_V, log_p_V, kept_K, temperature)
        loss = weight * ((1 - kd_weight) * smoothed + kd_weight * kd)
        losses.append((loss, smoothed, nll, kd if kd_weight > 0 else 0 * kd))
    return RowLosses(*(torch.stack(part) for part in zip(*losses, strict=True)))


def divergence(kd_loss: str, tail: str, z_V: Tensor, log_p_V: Tensor, kept_K: Tensor, temperature: float) -> Tensor:
    """D(p^T || q^T) of one token, without T^2."""
    p_V = (log_p_V / temperature).exp() / (log_p_V / temperature).exp().sum()
    q_V = (z_V / temperature).exp() / (z_V / temperature).exp().sum()
    outside = _outside(kept_K, len(z_V))
    return DIVERGENCES[kd_loss](*TAIL_ATOMS[tail](p_V, q_V, kept_K, outside))


def _bucket(p_V: Tensor, q_V: Tensor, kept_K: Tensor, outside: Tensor) -> tuple[Tensor, Tensor, bool]:
    if len(outside) == 0:
        return p_V[kept_K], q_V[kept_K], False
    p_A, q_A = (torch.cat([values_V[kept_K], values_V[outside].sum()[None]]) for values_V in (p_V, q_V))
    return p_A, q_A, True


def _renormalise(p_V: Tensor, q_V: Tensor, kept_K: Tensor, _: Tensor) -> tuple[Tensor, Tensor, bool]:
    return p_V[kept_K] / p_V[kept_K].sum(), q_V[kept_K], False


def _uniform(p_V: Tensor, q_V: Tensor, _: Tensor, outside: Tensor) -> tuple[Tensor, Tensor, bool]:
    """All V outcomes, each outside K believed to weigh m/(V-k)."""
    spread_V = p_V.clone()
    if len(outside) > 0:
        spread_V[outside] = p_V[outside].sum() / len(outside)
    return spread_V, q_V, False


def _kl(p_A: Tensor, q_A: Tensor) -> Tensor:
    """Sum of p (log p - log q), where 0 log 0 = 0."""
    some = p_A > 0
    return (p_A[some] * (p_A[some].log() - q_A[some].log())).sum()


def _forward_kl(p_A: Tensor, q_A: Tensor, _: bool) -> Tensor:
    return _kl(p_A, q_A)


def _reverse_kl(p_A: Tensor, q_A: Tensor, last_is_tail: bool) -> Tensor:
    """KL(q || p), the log of the teacher's tail mass being at least -16."""
    floored_A = p_A.clone()
    if last_is_tail:
        floored_A[-1] = floored_A[-1].clamp_min(math.exp(-16.0))
    return _kl(q_A, floored_A)


def _js(p_A: Tensor, q_A: Tensor, _: bool) -> Tensor:
    return 0.5 * _kl(p_A, (p_A + q_A) / 2) + 0.5 * _kl(q_A, (p_A + q_A) / 2)


DIVERGENCES: dict[str, Callable[[Tensor, Tensor, bool], Tensor]] = {
    "forward_kl": _forward_kl,
    "reverse_kl": _reverse_kl,
    "js": _js,
}
"""(p, q, whether the last atom is a tail) -> nats."""
TAIL_ATOMS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, bool]]] = {
    "bucket": _bucket,
    "renormalise": _renormalise,
    "uniform": _uniform,
}
"""(p over V, q over V, K, the others) -> arguments of a divergence."""


def _outside(kept_K: Tensor, vocab_size: int) -> Tensor:
    kept = set(kept_K.tolist())
    return torch.tensor([v for v in range(vocab_size) if v not in kept], dtype=torch.long)
