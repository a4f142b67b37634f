"""The student's loss per target token: (1 - lambda) * NLL + lambda * T^2 * D(teacher || student).

What it owns: the mathematics, as functions of small tensors, and `word_kd`, which applies them to whole logits.
What it must not know: files, fairseq, batches' layout. Why small tensors: a teacher row is k kept entries and one mass
for all others, so every divergence needs of the student only its log-probabilities on these. `fused.py` computes them
in chunks, without the N x V logits, and runs the very same functions; `word_kd` is its readable twin.

Shapes: N tokens, K kept entries, V vocabulary. Logarithms are natural, losses in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mtkd.errors import UsageError

LOG_TAIL_FLOOR = -16.0
"""Reverse KL divides by the teacher's tail mass: less than e^-16 counts as that, or one token could rule a batch."""

NO_TAIL = "soft targets without their tail: only 'renormalise' needs none"


class SoftTargets(NamedTuple):
    """Teacher rows of N tokens.

    `ids_NK` are distinct vocabulary ids, or None where K = V and the columns are the vocabulary in order.
    `log_probs_NK` are log-probabilities at T = 1 over the full vocabulary (or anything whose tempered softmax is the
    distribution that is meant); `log_tail_N` is log sum_{j not in K} p_j^(1/T) at the temperature of the loss, or None
    where K = V leaves no tail. Rows that are not to be learnt from hold finite fillers and have a lambda of 0.
    """

    ids_NK: Tensor | None
    log_probs_NK: Tensor
    log_tail_N: Tensor | None

    def rows(self, span: slice) -> SoftTargets:
        """The soft targets of some of the tokens."""
        ids = None if self.ids_NK is None else self.ids_NK[span]
        return SoftTargets(ids, self.log_probs_NK[span], None if self.log_tail_N is None else self.log_tail_N[span])

    def covers(self, vocab_size: int) -> bool:
        """Whether K = V."""
        return self.log_probs_NK.size(1) == vocab_size

    def in_vocabulary_order(self) -> SoftTargets:
        """The same with `ids_NK` None; only where K = V."""
        if self.ids_NK is None:
            return self
        return SoftTargets(None, torch.empty_like(self.log_probs_NK).scatter_(1, self.ids_NK, self.log_probs_NK), None)


class Atoms(NamedTuple):
    """A distribution reduced to its kept entries and one outcome for the rest, in logs; None where nothing is left."""

    log_kept_NK: Tensor
    log_tail_N: Tensor | None


class StudentLogs(NamedTuple):
    """All that a divergence needs of the student's softmax(z/T); the last two are None where K = V."""

    log_kept_NK: Tensor
    log_tail_N: Tensor | None
    """Log of what q sums to outside K."""
    mean_log_rest_N: Tensor | None
    """Mean of log q outside K."""
    excluded: int
    """V - K."""


class HardLogs(NamedTuple):
    """All that the NLL term needs of the student's softmax(z)."""

    nll_N: Tensor
    sum_log_q_N: Tensor


class TokenLosses(NamedTuple):
    """Per token, in nats: what is minimised, and its parts for the log; `kd_N` is 0 where lambda is."""

    loss_N: Tensor
    smoothed_nll_N: Tensor
    nll_N: Tensor
    kd_N: Tensor | None


def teacher_atoms(soft: SoftTargets, temperature: float) -> Atoms:
    """The teacher's rows tempered and normalised: p^T_i ~ p_i^(1/T), the tail included.

    Normalising also takes out what float16 storage rounded away, so that the divergence is zero at equality.
    """
    log_kept_NK = _wide(soft.log_probs_NK) / temperature
    if soft.log_tail_N is None:
        return Atoms(log_kept_NK.log_softmax(-1), None)
    log_tail_N = _wide(soft.log_tail_N)
    log_total_N = torch.logaddexp(log_kept_NK.logsumexp(-1), log_tail_N)
    return Atoms(log_kept_NK - log_total_N[:, None], log_tail_N - log_total_N)


def bucket(teacher: Atoms, student: StudentLogs) -> tuple[Atoms, Atoms]:
    """The tail is one more outcome: the student is told how much it weighs, not how it is spread."""
    assert teacher.log_tail_N is not None or student.log_tail_N is None, NO_TAIL
    return teacher, Atoms(student.log_kept_NK, student.log_tail_N)


def renormalise(teacher: Atoms, student: StudentLogs) -> tuple[Atoms, Atoms]:
    """The tail is forgotten: p / sum_K p against the student's full q (Tan et al. 2019 and most that followed)."""
    return Atoms(teacher.log_kept_NK.log_softmax(-1), None), Atoms(student.log_kept_NK, None)


def uniform(teacher: Atoms, student: StudentLogs) -> tuple[Atoms, Atoms]:
    """The tail is spread evenly over the V - K others: m (log(m/(V-K)) - mean of log q outside K) is added.

    As an outcome of its own this is one that the student gives the geometric mean of its probabilities, times V - K.
    """
    if student.mean_log_rest_N is None:
        return bucket(teacher, student)
    assert teacher.log_tail_N is not None, NO_TAIL
    return teacher, Atoms(student.log_kept_NK, student.mean_log_rest_N + math.log(student.excluded))


def forward_kl(teacher: Atoms, student: Atoms) -> Tensor:
    """KL(p || q) on the atoms [N]: sum_K p (log p - log q) + m (log m - log q_m).

    With the `bucket` tail its gradient by a logit z_v is (q_v - p_v)/T for v in K and (q_v/T)(1 - m/q_m) elsewhere.
    Word-level distillation: Kim & Rush 2016, equation 5.
    """
    kl_N = (teacher.log_kept_NK.exp() * (teacher.log_kept_NK - student.log_kept_NK)).sum(-1)
    if teacher.log_tail_N is None or student.log_tail_N is None:
        return kl_N
    return kl_N + teacher.log_tail_N.exp() * (teacher.log_tail_N - student.log_tail_N)


def reverse_kl(teacher: Atoms, student: Atoms) -> Tensor:
    """KL(q || p) on the atoms [N]: sum_K q (log q - log p) + q_m (log q_m - log m), log m at least LOG_TAIL_FLOOR."""
    kl_N = (student.log_kept_NK.exp() * (student.log_kept_NK - teacher.log_kept_NK)).sum(-1)
    if teacher.log_tail_N is None or student.log_tail_N is None:
        return kl_N
    return kl_N + student.log_tail_N.exp() * (student.log_tail_N - teacher.log_tail_N.clamp_min(LOG_TAIL_FLOOR))


def js(teacher: Atoms, student: Atoms) -> Tensor:
    """Jensen-Shannon divergence on the atoms [N] (Lin 1991): KL(p || a)/2 + KL(q || a)/2, a = (p + q)/2; <= log 2."""
    tails = teacher.log_tail_N, student.log_tail_N
    log_tail_N = None if tails[0] is None or tails[1] is None else _log_mean(tails[0], tails[1])
    middle = Atoms(_log_mean(teacher.log_kept_NK, student.log_kept_NK), log_tail_N)
    return 0.5 * forward_kl(teacher, middle) + 0.5 * forward_kl(student, middle)


KD_LOSSES: dict[str, Callable[[Atoms, Atoms], Tensor]] = {"forward_kl": forward_kl, "reverse_kl": reverse_kl, "js": js}
"""Divergences by name: (teacher, student) -> nats per token [N]."""
TAILS: dict[str, Callable[[Atoms, StudentLogs], tuple[Atoms, Atoms]]] = {
    "bucket": bucket,
    "renormalise": renormalise,
    "uniform": uniform,
}
"""What is done with the mass outside K, by name: (teacher, student) -> the two as atoms that can be compared."""


@dataclass(frozen=True)
class Objective:
    """What is minimised: the divergence and its tail, the temperature T > 0, label smoothing's epsilon.

    Raises:
        UsageError: a divergence with a tail that makes it infinite or asymmetric.
    """

    kd_loss: str = "forward_kl"
    tail: str = "bucket"
    temperature: float = 1.0
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what has no finite value."""
        if self.tail != "bucket" and self.kd_loss != "forward_kl":
            raise UsageError(f"{self.kd_loss} with tail '{self.tail}': only forward_kl is finite then; use 'bucket'")

    def smoothed(self, hard: HardLogs, vocab_size: int) -> Tensor:
        """fairseq's label-smoothed NLL [N]: (1 - eps - e)(-log q_y) + e * sum_v(-log q_v), e = eps / (V - 1)."""
        if self.epsilon == 0.0:
            return hard.nll_N
        share = self.epsilon / (vocab_size - 1)
        return (1.0 - self.epsilon - share) * hard.nll_N - share * hard.sum_log_q_N

    def divergence(self, soft: SoftTargets, student: StudentLogs) -> Tensor:
        """T^2 * D(p^T || q^T) [N]; T^2 keeps the gradient's size independent of T (Hinton et al. 2015, section 2)."""
        atoms = TAILS[self.tail](teacher_atoms(soft, self.temperature), student)
        return self.temperature**2 * KD_LOSSES[self.kd_loss](*atoms)

    def losses(
        self,
        vocab_size: int,
        hard: HardLogs,
        student: StudentLogs | None,
        soft: SoftTargets | None,
        kd_weight_N: Tensor | None,
        weight_N: Tensor | None = None,
    ) -> TokenLosses:
        """w * ((1 - lambda) * nll_ls + lambda * T^2 * D) per token; without soft targets w * nll_ls."""
        smoothed_N = self.smoothed(hard, vocab_size)
        weight: Tensor | float = 1.0 if weight_N is None else weight_N
        if soft is None or student is None or kd_weight_N is None:
            return TokenLosses(weight * smoothed_N, smoothed_N, hard.nll_N, None)
        kd_N = self.divergence(soft, student)
        loss_N = weight * ((1.0 - kd_weight_N) * smoothed_N + kd_weight_N * kd_N)
        return TokenLosses(loss_N, smoothed_N, hard.nll_N, torch.where(kd_weight_N > 0, kd_N, torch.zeros_like(kd_N)))


def student_logs(logits_NV: Tensor, ids_NK: Tensor | None, temperature: float) -> StudentLogs:
    """The student's softmax(z/T) on the teacher's atoms.

    The tail comes from the logits outside K, never from 1 - sum(q): that is 0 in float32 where 6e-9 is right.
    """
    scaled_NV = logits_NV / temperature
    log_total_N = scaled_NV.logsumexp(-1)
    if ids_NK is None:
        return StudentLogs(scaled_NV - log_total_N[:, None], None, None, 0)
    kept_NK = scaled_NV.gather(1, ids_NK)
    log_kept_NK = kept_NK - log_total_N[:, None]
    excluded = logits_NV.size(1) - ids_NK.size(1)
    if excluded == 0:
        return StudentLogs(log_kept_NK, None, None, 0)
    log_rest_N = scaled_NV.scatter(1, ids_NK, -torch.inf).logsumexp(-1)
    mean_rest_N = (scaled_NV.sum(-1) - kept_NK.sum(-1)) / excluded
    return StudentLogs(log_kept_NK, log_rest_N - log_total_N, mean_rest_N - log_total_N, excluded)


def hard_logs(logits_NV: Tensor, target_N: Tensor) -> HardLogs:
    """The student's log-probability of the references, and the sum of all its log-probabilities, at T = 1."""
    log_q_NV = logits_NV.log_softmax(-1)
    return HardLogs(-log_q_NV.gather(1, target_N[:, None]).squeeze(1), log_q_NV.sum(-1))


def word_kd(
    logits_NV: Tensor,
    target_N: Tensor,
    objective: Objective,
    soft: SoftTargets | None = None,
    kd_weight_N: Tensor | None = None,
    weight_N: Tensor | None = None,
) -> TokenLosses:
    """The whole loss per token: w * ((1 - lambda) * nll_ls + lambda * T^2 * D(p^T || q^T)).

    Args:
        logits_NV: the student's logits, any float type; computed in at least float32.
        target_N: reference ids, no padding among them; at lambda = 1 they matter to no gradient.
        objective: divergence, tail, temperature, smoothing (of the NLL term alone, which is always at T = 1).
        soft: teacher rows, or None for ordinary training.
        kd_weight_N: lambda of each token in [0, 1]; 0 for a row without soft targets, 1 for one without a reference.
        weight_N: w, how much each token counts; 1 where left out.
    """
    logits_NV = _wide(logits_NV)
    hard = hard_logs(logits_NV, target_N)
    student = None if soft is None else student_logs(logits_NV, soft.ids_NK, objective.temperature)
    return objective.losses(logits_NV.size(1), hard, student, soft, kd_weight_N, weight_N)


def _log_mean(log_p: Tensor, log_q: Tensor) -> Tensor:
    return torch.logaddexp(log_p, log_q) - math.log(2.0)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
