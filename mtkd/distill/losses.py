"""The student's loss per target token: (1 - lambda) * NLL + lambda * T^2 * KL(teacher || student).

What it owns: the mathematics, as functions of tensors. What it must not know: files, fairseq, batches' layout.
Why atoms: a stored teacher row is k kept entries and one mass for all others. Teacher and student are both reduced to
these k + 1 atoms, so that every divergence is a function of small tensors and none needs the dense teacher.

Shapes: N tokens, K kept entries, V vocabulary. Logarithms are natural, losses in nats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class SoftTargets(NamedTuple):
    """Stored teacher rows of N tokens.

    `ids_NK` are distinct vocabulary ids; `log_probs_NK` their log-probabilities at T = 1 over the full vocabulary;
    `log_tail_N` is log sum_{j not in K} p_j^(1/T) at the temperature of the loss (log of the tail mass at T = 1), or
    None where K = V leaves no tail; `known_N` is False for tokens without soft targets (their entries are fillers).
    """

    ids_NK: Tensor
    log_probs_NK: Tensor
    log_tail_N: Tensor | None
    known_N: Tensor


class Atoms(NamedTuple):
    """A distribution reduced to its kept entries and one tail mass, in logs; `log_tail_N` is None where K = V."""

    log_kept_NK: Tensor
    log_tail_N: Tensor | None


class TokenLosses(NamedTuple):
    """Per token, in nats: what is minimised, and its parts for the log."""

    loss_N: Tensor
    smoothed_nll_N: Tensor
    nll_N: Tensor
    kd_N: Tensor | None


def teacher_atoms(soft: SoftTargets, temperature: float) -> Atoms:
    """The stored rows tempered and normalised: p^T_i ~ p_i^(1/T), the tail included.

    Normalising also takes out what float16 storage rounded away, so that the divergence is zero at equality.
    """
    log_kept_NK = soft.log_probs_NK.float() / temperature
    if soft.log_tail_N is None:
        return Atoms(log_kept_NK.log_softmax(-1), None)
    log_tail_N = soft.log_tail_N.float()
    log_total_N = torch.logaddexp(log_kept_NK.logsumexp(-1), log_tail_N)
    return Atoms(log_kept_NK - log_total_N[:, None], log_tail_N - log_total_N)


def student_atoms(logits_NV: Tensor, ids_NK: Tensor, temperature: float) -> Atoms:
    """The student's softmax(z/T) on the teacher's atoms.

    The tail comes from the logits outside K, never from 1 - sum(q): that is 0 in float32 where 6e-9 is right.
    """
    scaled_NV = logits_NV / temperature
    log_total_N = scaled_NV.logsumexp(-1)
    log_kept_NK = scaled_NV.gather(1, ids_NK) - log_total_N[:, None]
    if ids_NK.size(1) == logits_NV.size(1):
        return Atoms(log_kept_NK, None)
    log_rest_N = scaled_NV.scatter(1, ids_NK, -torch.inf).logsumexp(-1)
    return Atoms(log_kept_NK, log_rest_N - log_total_N)


def forward_kl(teacher: Atoms, student: Atoms) -> Tensor:
    """KL(p || q) on the atoms [N]: sum_K p (log p - log q) + m (log m - log q_m), the `bucket` tail.

    Its gradient by a logit z_v is (q_v - p_v)/T for v in K and (q_v/T)(1 - m/q_m) elsewhere: the student is told how
    much the tail weighs, not how it is spread. Word-level distillation: Kim & Rush 2016, equation 5.
    """
    kl_N = (teacher.log_kept_NK.exp() * (teacher.log_kept_NK - student.log_kept_NK)).sum(-1)
    if teacher.log_tail_N is None or student.log_tail_N is None:
        return kl_N
    return kl_N + teacher.log_tail_N.exp() * (teacher.log_tail_N - student.log_tail_N)


KD_LOSSES: dict[str, Callable[[Atoms, Atoms], Tensor]] = {"forward_kl": forward_kl}
"""Divergences by name: (teacher, student) -> nats per token [N]."""


def label_smoothed_nll(logits_NV: Tensor, target_N: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """fairseq's label-smoothed negative log-likelihood [N] and the plain one [N].

    nll_ls = (1 - eps - eps_i)(-log q_y) + eps_i * sum_v(-log q_v), with eps_i = eps / (V - 1).
    """
    log_q_NV = logits_NV.log_softmax(-1)
    nll_N = -log_q_NV.gather(1, target_N[:, None]).squeeze(1)
    if epsilon == 0.0:
        return nll_N, nll_N
    share = epsilon / (logits_NV.size(1) - 1)
    return (1.0 - epsilon - share) * nll_N - share * log_q_NV.sum(-1), nll_N


def word_kd(
    logits_NV: Tensor,
    target_N: Tensor,
    soft: SoftTargets | None,
    *,
    kd_weight: float,
    temperature: float = 1.0,
    epsilon: float = 0.0,
    divergence: Callable[[Atoms, Atoms], Tensor] = forward_kl,
) -> TokenLosses:
    """The whole loss per token: (1 - lambda) * nll_ls + lambda * T^2 * D(p^T || q^T).

    lambda is `kd_weight` for tokens with soft targets and 0 for the others. T^2 keeps the gradient's size independent
    of T (Hinton et al. 2015, section 2); the NLL term is always at T = 1, and smoothing touches that term only.

    Args:
        logits_NV: the student's logits, any float type; computed in at least float32.
        target_N: reference ids, no padding among them.
        soft: stored teacher rows, or None for ordinary training.
        kd_weight: lambda in [0, 1].
        temperature: T > 0.
        epsilon: label smoothing of the NLL term.
        divergence: a row of `KD_LOSSES`.
    """
    logits_NV = logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
    smoothed_N, nll_N = label_smoothed_nll(logits_NV, target_N, epsilon)
    if soft is None or kd_weight == 0.0:
        return TokenLosses(smoothed_N, smoothed_N, nll_N, None)
    student = student_atoms(logits_NV, soft.ids_NK, temperature)
    kd_N = temperature**2 * divergence(teacher_atoms(soft, temperature), student)
    mixed_N = (1.0 - kd_weight) * smoothed_N + kd_weight * kd_N
    loss_N = torch.where(soft.known_N, mixed_N, smoothed_N)
    return TokenLosses(loss_N, smoothed_N, nll_N, torch.where(soft.known_N, kd_N, torch.zeros_like(kd_N)))
