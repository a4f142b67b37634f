"""Dense softmaxes reduced to what a store keeps: the k likeliest entries and what all others sum to.

What it owns: the reduction of one teacher's logits, and of several teachers mixed in probability space, chunk by chunk
from the decoder's features. What it must not know: fairseq, files, rows of a corpus.
Why chunks: N x V logits are written once and read four times by the plain way; here a chunk lives in one reused buffer
and is reduced in place, in few passes.

Shapes: N tokens, C tokens of a chunk, K kept entries, V vocabulary, D width of the features, S temperatures,
B blocks of columns, E entries of a block. Logarithms are natural.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtkd.distill.fused import CHUNK_ENTRIES

BLOCK = 64
"""Columns of a block in `largest`; measured on a CPU for V = 8,000 and 32,000."""
FEW = 4
"""`largest` goes by blocks where it then looks at no more than one column in so many."""


class Head(NamedTuple):
    """One teacher's last layer over N tokens: logits = features @ weight.T + bias, in float32."""

    features_ND: Tensor
    weight_VD: Tensor
    bias_V: Tensor | None
    share: float
    """How much this teacher is believed; the shares of all teachers of a row sum to 1."""


class Beliefs(NamedTuple):
    """What is kept of the softmax for N tokens, not yet rounded; S temperatures."""

    ids_NK: Tensor
    log_probs_NK: Tensor
    log_tails_NS: Tensor
    reference_N: Tensor


def believe(heads: Sequence[Head], target_N: Tensor, top_k: int, temperatures: Sequence[float]) -> Beliefs:
    """`reduce_softmax` of one teacher's logits, or `reduce_mixture` of several teachers at the one temperature."""
    if len(heads) == 1:
        parts = [
            reduce_softmax(logits_CV, target_N[span], top_k, temperatures) for span, logits_CV in _logits(heads[0])
        ]
    else:
        (temperature,) = temperatures
        parts = [
            reduce_mixture(probs_CV, target_N[span], top_k, temperature)
            for span, probs_CV in mixture(heads, temperature)
        ]
    return Beliefs(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def mixture(heads: Sequence[Head], temperature: float) -> Iterator[tuple[slice, Tensor]]:
    """Chunks of sum_j w_j softmax(z_j / T) [C, V], each tempered before it is mixed, in a buffer that is used again.

    Mixed densely and in probability space: the forward KL from this mixture is, up to a constant, the mean of those
    from the teachers (Hinton et al. 2015, section 5).
    """
    spans, probs_CV = _chunks(heads[0])
    one_CV = torch.empty_like(probs_CV)
    for span in spans:
        mixed_CV = probs_CV[: span.stop - span.start].zero_()
        for head in heads:
            softmax_CV = _project(head, span, temperature, one_CV)
            softmax_CV.sub_(softmax_CV.amax(1, keepdim=True)).exp_()
            mixed_CV.addcmul_(softmax_CV, head.share / softmax_CV.sum(1, keepdim=True))
        yield span, mixed_CV


def reduce_softmax(logits_NV: Tensor, target_N: Tensor, top_k: int, temperatures: Sequence[float]) -> Beliefs:
    """The k largest log-probabilities at T = 1, and for each temperature the log of sum_{j not in K} p_j^(1/T).

    `logits_NV` is overwritten. The tail is summed over the excluded entries, never taken as 1 - sum(p), and relative
    to the largest of them: a tail of e^-200 is as exact as one of 0.5.
    """
    reference_N = logits_NV.gather(1, target_N[:, None]).squeeze(1)
    if top_k == logits_NV.size(1):
        log_total_N = logits_NV.logsumexp(1)
        kept_NK, ids_NK = logits_NV.topk(top_k)
        log_tails_NS = kept_NK.new_full((len(target_N), len(temperatures)), -torch.inf)
        return Beliefs(ids_NK, kept_NK - log_total_N[:, None], log_tails_NS, reference_N - log_total_N)
    # One entry more than is kept: the largest of all others, without a pass to find it.
    values, ids = largest(logits_NV, top_k + 1)
    kept_NK, ids_NK, peak_N1 = values[:, :top_k], ids[:, :top_k], values[:, top_k:]
    rest_NV = logits_NV.scatter_(1, ids_NK, -torch.inf).sub_(peak_N1)
    log_rest: dict[float, Tensor] = {}
    hotter = None
    for temperature in sorted({1.0, *temperatures}, reverse=True):
        # From hot to cold, since exp(x / T) to the power T / t is exp(x / t): in place, and what was too small for the
        # hotter one is too small for this one. The largest entry is 1 at every temperature.
        if hotter is not None:
            rest_NV.pow_(hotter / temperature)
        else:
            (rest_NV if temperature == 1.0 else rest_NV.div_(temperature)).exp_()
        log_rest[temperature] = peak_N1.squeeze(1) / temperature + rest_NV.sum(1).log()
        hotter = temperature
    log_total_N = torch.logaddexp(log_rest[1.0], kept_NK.logsumexp(1))
    tails = [log_rest[temperature] - log_total_N / temperature for temperature in temperatures]
    return Beliefs(ids_NK, kept_NK - log_total_N[:, None], torch.stack(tails, dim=1), reference_N - log_total_N)


def reduce_mixture(probs_NV: Tensor, target_N: Tensor, top_k: int, temperature: float) -> Beliefs:
    """The k largest entries of a mixture of tempered teachers as T * log p^T, and the log of what the others sum to.

    `probs_NV` is overwritten. A mixture of tempered softmaxes is no tempered softmax, so there is no p at T = 1 to
    keep. T * log p^T, tempered by the reader and normalised with the tail, is p^T again: for its one temperature a row
    reads like any other. Log-probabilities below float32's range are -inf.
    """
    reference_N = probs_NV.gather(1, target_N[:, None]).squeeze(1).log()
    kept_NK, ids_NK = largest(probs_NV, top_k)
    log_tail_N = probs_NV.scatter_(1, ids_NK, 0.0).sum(1).log()
    return Beliefs(ids_NK, temperature * kept_NK.log(), log_tail_N[:, None], temperature * reference_N)


def fidelity(probs_NV: Tensor, top_k: int) -> Tensor:
    """KL(dense || stored) in nats [N], the stored tail m being spread evenly over what is not kept.

    sum_{j not in K} p_j log(p_j (V - k) / m): zero when nothing was lost by keeping only k entries. `probs_NV` is
    overwritten.
    """
    excluded = probs_NV.size(1) - top_k
    if excluded == 0:
        return probs_NV.new_zeros(len(probs_NV))
    rest_NV = probs_NV.scatter_(1, largest(probs_NV, top_k)[1], 0.0)
    m_N = rest_NV.sum(1).clamp_min(torch.finfo(rest_NV.dtype).tiny)
    entropy_N: Tensor = torch.special.entr(rest_NV, out=rest_NV).sum(1)
    return (m_N * (math.log(excluded) - m_N.log()) - entropy_N).clamp_min(0.0)


def largest(values_NV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest entries of each row, largest first, and their columns: an exact `topk`, faster where k is small.

    They are sought in the k blocks of columns with the largest maxima. Were one of them in another block, each of
    those k blocks would hold an entry at least as large, and these would do as well.
    """
    blocks = values_NV.size(1) // BLOCK
    if blocks < FEW * k:
        top = values_NV.topk(k)
        return top.values, top.indices
    blocked_NBE = values_NV[:, : blocks * BLOCK].reshape(len(values_NV), blocks, BLOCK)
    best_NK = blocked_NBE.amax(2).topk(k, sorted=False).indices
    within_E = torch.arange(BLOCK, device=values_NV.device)
    columns = (best_NK[:, :, None] * BLOCK + within_E).flatten(1)
    if blocks * BLOCK < values_NV.size(1):
        left_over = torch.arange(blocks * BLOCK, values_NV.size(1), device=values_NV.device)
        columns = torch.cat([columns, left_over.expand(len(columns), -1)], dim=1)
    top = values_NV.gather(1, columns).topk(k)
    return top.values, columns.gather(1, top.indices)


def _logits(head: Head) -> Iterator[tuple[slice, Tensor]]:
    """Chunks of one teacher's logits [C, V] in a buffer that is used again."""
    spans, logits_CV = _chunks(head)
    for span in spans:
        yield span, _project(head, span, 1.0, logits_CV)


def _chunks(head: Head) -> tuple[list[slice], Tensor]:
    """The spans of the chunks, and a buffer for the largest of them."""
    tokens, vocab_size = len(head.features_ND), len(head.weight_VD)
    step = min(tokens, max(1, CHUNK_ENTRIES[head.features_ND.device.type] // vocab_size))
    spans = [slice(start, min(start + step, tokens)) for start in range(0, tokens, step)]
    return spans, head.features_ND.new_empty(step, vocab_size)


def _project(head: Head, span: slice, temperature: float, buffer_CV: Tensor) -> Tensor:
    """The chunk's logits divided by T, in the buffer."""
    features_CD = head.features_ND[span]
    if temperature != 1.0:
        features_CD = features_CD / temperature
    logits_CV = torch.mm(features_CD, head.weight_VD.t(), out=buffer_CV[: len(features_CD)])
    return logits_CV if head.bias_V is None else logits_CV.add_(head.bias_V / temperature)
