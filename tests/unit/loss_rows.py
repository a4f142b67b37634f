"""Every row of the loss tables, soft targets as a store says them, and what is measured of a loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from mtkd.distill.losses import (
    KD_LOSSES,
    TAILS,
    Atoms,
    Objective,
    SoftTargets,
    student_logs,
    word_kd,
)
from mtkd.errors import UsageError
from tests.unit import dense_reference as dense

V = 23


def is_valid(kd_loss: str, tail: str) -> bool:
    try:
        Objective(kd_loss, tail)
    except UsageError:
        return False
    return True


ROWS = [(kd_loss, tail) for kd_loss in KD_LOSSES for tail in TAILS if is_valid(kd_loss, tail)]
every_row = pytest.mark.parametrize(("kd_loss", "tail"), ROWS)
every_loss = pytest.mark.parametrize("kd_loss", KD_LOSSES)
every_temperature = pytest.mark.parametrize("temperature", [1.0, 2.0])
property_test = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def soft_targets(rows: dense.Example, temperature: float = 1.0, dtype: torch.dtype = torch.float64) -> SoftTargets:
    """The rows as a store says them; float16 has a floor."""
    ids_NK, log_probs_NK, log_tail_N = dense.stored(rows, temperature)
    floor = torch.finfo(dtype).min
    log_tail_N = None if log_tail_N is None else log_tail_N.clamp_min(floor).to(dtype)
    return SoftTargets(ids_NK, log_probs_NK.clamp_min(floor).to(dtype), log_tail_N)


def taught(rows: dense.Example) -> dense.Example:
    """The divergence alone: lambda and w are 1."""
    ones_N = torch.ones_like(rows.weight_N)
    return rows._replace(kd_weight_N=ones_N, weight_N=ones_N)


def losses_and_gradient(rows: dense.Example, objective: Objective, soft: SoftTargets) -> tuple[Tensor, Tensor]:
    """Per token, and the gradient of their sum by the logits."""
    leaf_NV = rows.logits_NV.detach().clone().requires_grad_()
    loss_N = word_kd(leaf_NV, rows.target_N, objective, soft, rows.kd_weight_N, rows.weight_N).loss_N
    return loss_N.detach(), gradient(loss_N, leaf_NV)


def gradient(loss_N: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(loss_N.sum(), leaf)[0]


def atoms_of(log_p_NV: Tensor, rows: dense.Example) -> Atoms:
    """A dense distribution on the atoms of the example's kept ids."""
    reduced = student_logs(log_p_NV, rows.kept_NK, 1.0)
    return Atoms(reduced.log_kept_NK, reduced.log_tail_N)


def assert_close(ours: Tensor, expected: Tensor, tolerance: float, atol: float | None = None) -> None:
    atol = tolerance if atol is None else atol
    torch.testing.assert_close(ours.double(), expected.double(), rtol=tolerance, atol=atol)
