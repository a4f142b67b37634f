"""A batch for the fused loss and its plain twin, and what is measured of both."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed
from torch import Tensor

from mtkd.distill.fused import fused_word_kd
from mtkd.distill.losses import Objective, SoftTargets, TokenLosses, word_kd
from tests.unit import dense_reference as dense

V, D = 29, 6
LOSS_SCALE = 2.0**10


class Batch(NamedTuple):
    """All arguments of the fused loss but the objective."""

    features_ND: Tensor
    weight_VD: Tensor
    target_N: Tensor
    soft: SoftTargets | None = None
    kd_weight_N: Tensor | None = None
    weight_N: Tensor | None = None

    def leaves(self, dtype: torch.dtype) -> Batch:
        """The same with features and weight in that number format, and asking for gradients."""
        features_ND, weight_VD = (
            values.detach().to(dtype).requires_grad_() for values in (self.features_ND, self.weight_VD)
        )
        return self._replace(features_ND=features_ND, weight_VD=weight_VD)

    def part(self, span: slice) -> Batch:
        """Some of the tokens of a batch with soft targets."""
        assert self.soft is not None
        assert self.kd_weight_N is not None
        assert self.weight_N is not None
        weights = self.kd_weight_N[span], self.weight_N[span]
        return Batch(self.features_ND[span], self.weight_VD, self.target_N[span], self.soft.rows(span), *weights)


def batch(k: int, temperature: float = 1.0, dtype: torch.dtype = torch.float64) -> Batch:
    """The 10 rows of the dense reference: references in K and outside, lambda and w a row's own."""
    rows = dense.example(k, V)
    generator = torch.Generator().manual_seed(1)
    features_ND = torch.randn(len(rows.target_N), D, generator=generator, dtype=torch.float64)
    weight_VD = torch.randn(V, D, generator=generator, dtype=torch.float64)
    ids_NK, log_probs_NK, log_tail_N = dense.stored(rows, temperature)
    narrow = torch.float64 if dtype == torch.float64 else torch.float32
    soft = SoftTargets(ids_NK, log_probs_NK.to(narrow), None if log_tail_N is None else log_tail_N.to(narrow))
    weights = rows.kd_weight_N.to(narrow), rows.weight_N.to(narrow)
    return Batch(features_ND, weight_VD, rows.target_N, soft, *weights).leaves(dtype)


def run_fused(given: Batch, objective: Objective) -> tuple[Tensor, TokenLosses]:
    inputs = given.features_ND, given.weight_VD, given.target_N
    return fused_word_kd(*inputs, objective, given.soft, given.kd_weight_N, given.weight_N)


def run_plain(given: Batch, objective: Objective) -> tuple[Tensor, TokenLosses]:
    logits_NV = given.features_ND @ given.weight_VD.t()
    losses = word_kd(logits_NV, given.target_N, objective, given.soft, given.kd_weight_N, given.weight_N)
    return losses.loss_N.sum(), losses


def gradients(loss: Tensor, given: Batch) -> tuple[Tensor, Tensor]:
    by_features_ND, by_weight_VD = torch.autograd.grad(loss, [given.features_ND, given.weight_VD])
    return by_features_ND, by_weight_VD


def by_logits(logits_NV: Tensor, given: Batch, objective: Objective) -> Tensor:
    """The fused loss's gradient by the logits: with features of the identity the weight is the logits, transposed."""
    eye_NN = torch.eye(len(logits_NV), dtype=logits_NV.dtype)
    posed = given._replace(features_ND=eye_NN, weight_VD=logits_NV.t()).leaves(logits_NV.dtype)
    return gradients(run_fused(posed, objective)[0], posed)[1].t()


def distance(ours: Tensor, expected: Tensor) -> float:
    """Relative, in the Euclidean norm."""
    return float((ours.double() - expected.double()).norm() / expected.double().norm())
