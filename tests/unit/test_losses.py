"""The loss against plain float64 formulas over the dense distributions, values and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mtkd.distill.losses import (
    KD_LOSSES,
    LOG_TAIL_FLOOR,
    TAILS,
    Atoms,
    Objective,
    SoftTargets,
    js,
    student_logs,
    word_kd,
)
from mtkd.errors import UsageError
from tests.unit import dense_reference as dense
from tests.unit.loss_rows import (
    ROWS,
    V,
    assert_close,
    every_loss,
    every_row,
    every_temperature,
    gradient,
    losses_and_gradient,
    soft_targets,
    taught,
)


def test_the_dense_reference_knows_every_row_of_the_tables() -> None:
    assert dense.DIVERGENCES.keys() == KD_LOSSES.keys()
    assert dense.TAIL_ATOMS.keys() == TAILS.keys()


def test_only_forward_kl_may_forget_or_spread_the_tail() -> None:
    refused = {(kd_loss, tail) for kd_loss in KD_LOSSES for tail in TAILS} - set(ROWS)
    assert refused == {(kd_loss, tail) for kd_loss in ("reverse_kl", "js") for tail in ("renormalise", "uniform")}
    with pytest.raises(UsageError, match="'bucket'"):
        Objective("reverse_kl", "renormalise")


@every_row
@every_temperature
@pytest.mark.parametrize("k", [1, 8, V])
@pytest.mark.parametrize(
    ("dtype", "tolerance", "gradient_rtol"),
    [(torch.float64, 1e-12, 1e-11), (torch.float32, 1e-5, 1e-5), (torch.bfloat16, 1e-5, 2.0**-8)],
    ids=["float64", "float32", "bfloat16"],
)
def test_every_loss_equals_its_dense_formula_in_value_and_gradient(
    kd_loss: str, tail: str, k: int, temperature: float, dtype: torch.dtype, tolerance: float, gradient_rtol: float
) -> None:
    """The row loss with a lambda and a w for each row, its parts, and its gradient by the logits."""
    rows = dense.example(k)
    ours_NV = rows.logits_NV.to(dtype).requires_grad_()
    plain_NV = ours_NV.detach().double().requires_grad_()
    objective, soft = Objective(kd_loss, tail, temperature, epsilon=0.1), soft_targets(rows, temperature)
    losses = word_kd(ours_NV, rows.target_N, objective, soft, rows.kd_weight_N, rows.weight_N)
    expected = dense.row_losses(rows._replace(logits_NV=plain_NV), kd_loss, tail, temperature, epsilon=0.1)
    for name, part_N in losses._asdict().items():
        assert_close(part_N, getattr(expected, name), tolerance)
    by_logits_NV = gradient(losses.loss_N, ours_NV)
    assert by_logits_NV.dtype == dtype
    assert_close(by_logits_NV, gradient(expected.loss_N, plain_NV), gradient_rtol, atol=5 * tolerance)


@every_row
@every_temperature
@pytest.mark.parametrize("k", [1, 8])
def test_rows_stored_as_float16_are_finite_and_mean_what_they_say(
    kd_loss: str, tail: str, temperature: float, k: int
) -> None:
    """-65504, the least that float16 holds, is a tail of no mass."""
    rows = taught(dense.example(k))._replace(logits_NV=dense.example(k).logits_NV.float())
    ids_NK, log_probs_NK, log_tail_N = halves = soft_targets(rows, temperature, torch.float16)
    assert ids_NK is not None
    assert log_tail_N is not None
    assert log_tail_N.min() < -32000
    loss_N, by_logits_NV = losses_and_gradient(rows, Objective(kd_loss, tail, temperature), halves)
    plain_NV = rows.logits_NV.double().requires_grad_()
    said_NV = dense.dense_reading(ids_NK, log_probs_NK, log_tail_N, V, temperature)
    said = rows._replace(logits_NV=plain_NV, log_p_NV=said_NV)
    expected_N = dense.row_losses(said, kd_loss, tail, temperature, epsilon=0.0).loss_N
    assert_close(loss_N, expected_N, 1e-5)
    assert_close(by_logits_NV, gradient(expected_N, plain_NV), 1e-5, atol=5e-5)


@every_temperature
@pytest.mark.parametrize("with_ids", [True, False])
@pytest.mark.parametrize("tail", TAILS)
def test_full_top_k_equals_torchs_dense_kl(temperature: float, with_ids: bool, tail: str) -> None:
    """Whatever the tail is called, and in whatever order the vocabulary is kept."""
    rows = taught(dense.example(V))
    soft = soft_targets(rows) if with_ids else SoftTargets(None, rows.log_p_NV, None)
    ours = losses_and_gradient(rows, Objective("forward_kl", tail, temperature), soft)
    leaf_NV = rows.logits_NV.clone().requires_grad_()
    log_q_NV, log_p_NV = ((values / temperature).log_softmax(-1) for values in (leaf_NV, rows.log_p_NV))
    dense_NV = torch.nn.functional.kl_div(log_q_NV, log_p_NV, log_target=True, reduction="none")
    expected_N = temperature**2 * dense_NV.sum(-1)
    assert_close(ours[0], expected_N, 1e-12)
    assert_close(ours[1], gradient(expected_N, leaf_NV), 1e-12)


@every_row
def test_full_top_k_needs_neither_order_nor_ids_nor_a_tail(kd_loss: str, tail: str) -> None:
    rows, objective = dense.example(V), Objective(kd_loss, tail)
    shuffled = soft_targets(rows)
    expected = losses_and_gradient(rows, objective, shuffled)
    in_order = SoftTargets(None, rows.log_p_NV, None)
    no_mass = shuffled._replace(log_tail_N=torch.full((len(rows.target_N),), -torch.inf))
    for soft in (in_order, shuffled.in_vocabulary_order(), no_mass):
        for ours, right in zip(losses_and_gradient(rows, objective, soft), expected, strict=True):
            assert_close(ours, right, 1e-13)


@every_temperature
@pytest.mark.parametrize("k", [1, 4])
def test_gradient_of_the_bucket_kl_is_the_one_the_design_derives(temperature: float, k: int) -> None:
    """(q_v - p_v)/T inside K and (q_v/T)(1 - m/q_m) outside, times T^2."""
    rows, objective = taught(dense.example(k)), Objective("forward_kl", "bucket", temperature)
    _, ours_NV = losses_and_gradient(rows, objective, soft_targets(rows, temperature))
    p_NV, q_NV = ((values / temperature).softmax(-1) for values in (rows.log_p_NV, rows.logits_NV))
    inside_NV = torch.zeros_like(p_NV, dtype=torch.bool).scatter(1, rows.kept_NK, True)
    m_N1, q_m_N1 = ((values_NV * ~inside_NV).sum(-1, keepdim=True) for values_NV in (p_NV, q_NV))
    expected_NV = temperature * torch.where(inside_NV, q_NV - p_NV, q_NV * (1 - m_N1 / q_m_N1))
    assert_close(ours_NV, expected_NV, 1e-11, atol=1e-12)


def test_reverse_kl_counts_no_tail_below_the_floor() -> None:
    """A student with all its mass where the teacher has none pays 16 nats and not 10,000."""
    student, certain = Atoms(torch.full((1, 1), -30.0), torch.zeros(1)), Atoms(torch.zeros(1, 1), torch.tensor([-1e4]))
    assert LOG_TAIL_FLOOR == -16.0
    assert_close(KD_LOSSES["reverse_kl"](certain, student), torch.tensor([16.0]), 1e-6)


def test_js_of_distributions_that_share_nothing_is_log_2() -> None:
    left = Atoms(torch.tensor([[0.0, -700.0]]), torch.tensor([-700.0]))
    right = Atoms(torch.tensor([[-700.0, math.log(0.5)]]), torch.tensor([math.log(0.5)]))
    assert_close(js(left, right), torch.tensor([math.log(2.0)]), 1e-6)


def test_renormalising_needs_no_tail_and_so_no_captured_temperature() -> None:
    rows, objective = dense.example(8), Objective("forward_kl", "renormalise", temperature=2.0)
    soft = soft_targets(rows, 2.0)
    assert soft.log_tail_N is not None
    expected = losses_and_gradient(rows, objective, soft)
    for other in (soft._replace(log_tail_N=soft.log_tail_N / 3 + 1), soft._replace(log_tail_N=None)):
        for ours, right in zip(losses_and_gradient(rows, objective, other), expected, strict=True):
            assert_close(ours, right, 1e-12)


@every_loss
def test_loss_and_gradient_are_zero_where_student_equals_teacher_in_spite_of_float16(kd_loss: str) -> None:
    """In the rows whose tail is not below the floor of reverse KL."""
    ids_NK, log_probs_NK, log_tail_N = halves = soft_targets(dense.example(6), dtype=torch.float16).rows(slice(4))
    assert ids_NK is not None
    assert log_tail_N is not None
    same_NV = dense.dense_reading(ids_NK, log_probs_NK, log_tail_N, V, 1.0).float()
    rows = taught(dense.Example(*(part[:4] for part in dense.example(6)))._replace(logits_NV=same_NV))
    for zero in losses_and_gradient(rows, Objective(kd_loss), halves):
        assert zero.abs().max() < 1e-6


def test_tail_of_a_sure_student_is_not_lost_in_float32() -> None:
    """1 - sum(q) would be 0 here; the right log tail mass is about log 6e-9."""
    logits_NV = torch.zeros(1, V)
    logits_NV[0, 3] = 22.0
    student = student_logs(logits_NV, torch.tensor([[3]]), 1.0)
    q_V = logits_NV.double().softmax(-1)[0]
    assert student.log_tail_N is not None
    assert_close(student.log_tail_N[0], (q_V.sum() - q_V[3]).log(), 1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_without_soft_targets_the_loss_is_fairseqs_label_smoothed_nll(epsilon: float) -> None:
    rows = dense.example(1)
    losses = word_kd(rows.logits_NV, rows.target_N, Objective(temperature=2.0, epsilon=epsilon))
    nll_N = torch.nn.functional.cross_entropy(rows.logits_NV, rows.target_N, reduction="none")
    share = epsilon / (V - 1)
    expected_N = (1 - epsilon - share) * nll_N - share * rows.logits_NV.softmax(-1).log().sum(-1)
    assert_close(losses.nll_N, nll_N, 1e-12)
    assert_close(losses.smoothed_nll_N, expected_N, 1e-12)
    assert torch.equal(losses.loss_N, losses.smoothed_nll_N)
    assert losses.kd_N is None


def test_lambda_mixes_the_two_terms_row_by_row() -> None:
    rows, objective = dense.example(4), Objective(epsilon=0.1)
    turns_N = torch.tensor([0.0, 1.0]).repeat(len(rows.target_N) // 2)
    nothing_N, half_N, whole_N, turned_N = (
        word_kd(rows.logits_NV, rows.target_N, objective, soft_targets(rows), kd_weight_N).loss_N
        for kd_weight_N in (0 * turns_N, 0 * turns_N + 0.5, 0 * turns_N + 1, turns_N)
    )
    assert torch.equal(nothing_N, word_kd(rows.logits_NV, rows.target_N, objective).loss_N)
    assert_close(half_N, (nothing_N + whole_N) / 2, 1e-12)
    assert torch.equal(turned_N, torch.where(turns_N > 0, whole_N, nothing_N))


@every_row
def test_at_lambda_one_neither_labels_nor_smoothing_change_one_bit_of_loss_or_gradient(kd_loss: str, tail: str) -> None:
    rows = taught(dense.example(4))
    other_N, soft = (rows.target_N + 5) % V, soft_targets(rows, 2.0)
    results = [
        losses_and_gradient(rows._replace(target_N=labels_N), Objective(kd_loss, tail, 2.0, epsilon), soft)
        for labels_N, epsilon in ((rows.target_N, 0.1), (other_N, 0.1), (rows.target_N, 0.0))
    ]
    for loss_N, by_logits_NV in results[1:]:
        assert torch.equal(loss_N, results[0][0])
        assert torch.equal(by_logits_NV, results[0][1])


@every_row
def test_at_lambda_zero_neither_soft_targets_nor_temperature_change_one_bit(kd_loss: str, tail: str) -> None:
    rows = dense.example(4)._replace(kd_weight_N=torch.zeros(10))
    filler = soft_targets(dense.example(4, seed=1), dtype=torch.float16)
    filler = filler._replace(log_probs_NK=torch.full_like(filler.log_probs_NK, -65504.0))
    said = ((soft_targets(rows), 1.0), (filler, 1.0), (soft_targets(rows, 2.0), 2.0))
    results = [losses_and_gradient(rows, Objective(kd_loss, tail, t, epsilon=0.1), soft) for soft, t in said]
    for loss_N, by_logits_NV in results[1:]:
        assert torch.equal(loss_N, results[0][0])
        assert torch.equal(by_logits_NV, results[0][1])


def test_rows_without_soft_targets_report_no_divergence() -> None:
    rows = dense.example(4)
    kd_N = word_kd(rows.logits_NV, rows.target_N, Objective(), soft_targets(rows), rows.kd_weight_N).kd_N
    assert kd_N is not None
    assert rows.kd_weight_N[0] == 0
    assert kd_N[0] == 0
    assert kd_N[1:].min() > 0


def test_bfloat16_logits_are_computed_in_float32() -> None:
    rows = dense.example(4)
    narrow_NV, soft = rows.logits_NV.bfloat16(), soft_targets(rows, dtype=torch.float32)
    ours_N, wide_N = (
        word_kd(logits_NV, rows.target_N, Objective(), soft, rows.kd_weight_N.float()).loss_N
        for logits_NV in (narrow_NV, narrow_NV.float())
    )
    assert ours_N.dtype == torch.float32
    assert torch.equal(ours_N, wide_N)


@every_temperature
@pytest.mark.parametrize("k", [8, V])
@pytest.mark.parametrize("tail", ["bucket", "uniform"])
def test_gradient_of_mixed_teachers_is_the_mean_of_the_single_ones(temperature: float, k: int, tail: str) -> None:
    """p = sum_j w_j p_j^T as one row: KL(p || q) is sum_j w_j KL(p_j || q) and a constant (Hinton et al. 2015)."""
    weights_J11 = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)[:, None, None]
    rows, objective = taught(dense.example(k)), Objective("forward_kl", tail, temperature)
    teachers_JNV = torch.stack([dense.example(k, seed=seed).log_p_NV for seed in (1, 2, 3)])
    mixed_NV = temperature * (weights_J11 * (teachers_JNV / temperature).softmax(-1)).sum(0).log()

    def learnt_from(log_p_NV: Tensor) -> Tensor:
        soft = soft_targets(rows._replace(log_p_NV=log_p_NV), temperature)
        return losses_and_gradient(rows, objective, soft)[1]

    single_JNV = torch.stack([learnt_from(log_p_NV) for log_p_NV in teachers_JNV])
    assert_close(learnt_from(mixed_NV), (weights_J11 * single_JNV).sum(0), 1e-11, atol=1e-12)
