"""The fused loss against its plain twin: values, gradients, number formats.

`test_losses.py` holds the plain loss against the dense formulas; here is one token for each hard case there.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.distributed
from hypothesis import given, settings
from hypothesis import strategies as st

from mtkd.distill.losses import Objective, SoftTargets
from tests.unit import dense_reference as dense
from tests.unit.fused_batch import (
    LOSS_SCALE,
    Batch,
    V,
    batch,
    by_logits,
    distance,
    gradients,
    run_fused,
    run_plain,
)
from tests.unit.loss_rows import assert_close, every_row, every_temperature


@every_row
@every_temperature
@pytest.mark.parametrize("k", [1, 8, V - 1, V])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["f64", "f32"])
def test_fused_equals_plain_in_value_and_gradient(
    kd_loss: str,
    tail: str,
    temperature: float,
    k: int,
    dtype: torch.dtype,
    tolerance: float,
    chunk_rows: Callable[[int], None],
) -> None:
    """Float32 is held against float64, at the same inputs."""
    chunk_rows(4)
    objective = Objective(kd_loss, tail, temperature, epsilon=0.1)
    ours = batch(k, temperature, dtype)
    plain = ours.leaves(torch.float64)
    loss, losses = run_fused(ours, objective)
    expected, expected_losses = run_plain(plain, objective)
    assert loss.dtype == dtype
    assert_close(loss, expected, tolerance)
    for part_N, expected_N in zip(losses, expected_losses, strict=True):
        assert part_N is not None
        assert expected_N is not None
        assert not part_N.requires_grad
        assert_close(part_N, expected_N, tolerance)
    for by_ours, by_plain in zip(gradients(loss, ours), gradients(expected, plain), strict=True):
        assert by_ours.dtype == dtype
        assert_close(by_ours, by_plain, tolerance)


@every_row
@every_temperature
def test_sure_students_of_a_float16_store_are_no_trouble_in_float32(
    kd_loss: str, tail: str, temperature: float
) -> None:
    """Logits with a standard deviation of 20, tails of no mass (-65504); with 7,000 still finite."""
    given, objective = batch(8, temperature, torch.float32), Objective(kd_loss, tail, temperature, epsilon=0.1)
    assert given.soft is not None
    assert given.soft.log_tail_N is not None
    soft = given.soft._replace(
        log_probs_NK=given.soft.log_probs_NK.half(), log_tail_N=given.soft.log_tail_N.clamp_min(-65504.0).half()
    )
    sure, surest = (
        given._replace(soft=soft, weight_VD=size * given.weight_VD).leaves(torch.float32) for size in (8, 3000)
    )
    plain = sure.leaves(torch.float64)
    pairs = gradients(run_fused(sure, objective)[0], sure), gradients(run_plain(plain, objective)[0], plain)
    for ours, exact in zip(*pairs, strict=True):
        assert distance(ours, exact) < 1e-4
    for values in gradients(run_fused(surest, objective)[0], surest):
        assert torch.isfinite(values).all()


@every_row
@pytest.mark.parametrize("k", [8, V])
def test_the_number_of_chunks_changes_nothing(
    kd_loss: str, tail: str, k: int, chunk_rows: Callable[[int], None]
) -> None:
    given, objective, results = batch(k, 2.0), Objective(kd_loss, tail, 2.0, epsilon=0.1), []
    for rows in (0, 1, 3, 10, 1000):
        chunk_rows(rows)
        loss, losses = run_fused(given, objective)
        results.append((loss, losses.loss_N, *gradients(loss, given)))
    for result in results[1:]:
        for ours, first in zip(result, results[0], strict=True):
            assert_close(ours, first, 1e-12)


def test_without_soft_targets_fused_is_the_label_smoothed_nll(chunk_rows: Callable[[int], None]) -> None:
    chunk_rows(4)
    given, objective = batch(8)._replace(soft=None, kd_weight_N=None), Objective(temperature=2.0, epsilon=0.1)
    loss, losses = run_fused(given, objective)
    expected, _ = run_plain(given, objective)
    assert losses.kd_N is None
    assert_close(loss, expected, 1e-12)
    for ours, plain in zip(gradients(loss, given), gradients(expected, given), strict=True):
        assert_close(ours, plain, 1e-12)


@every_row
@every_temperature
@pytest.mark.parametrize("k", [8, V])
def test_at_lambda_one_labels_change_not_one_bit_of_loss_or_gradient(
    kd_loss: str, tail: str, temperature: float, k: int
) -> None:
    given = batch(k, temperature, torch.float32)
    given = given._replace(kd_weight_N=torch.ones(10))
    results = []
    for labels_N in (given.target_N, (given.target_N + 5) % V):
        relabelled = given._replace(target_N=labels_N)
        loss, losses = run_fused(relabelled, Objective(kd_loss, tail, temperature, epsilon=0.1))
        results.append((loss, losses.loss_N, *gradients(loss, relabelled)))
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)


@every_row
@every_temperature
@pytest.mark.parametrize("k", [8, V])
def test_rows_of_lambda_zero_ignore_what_their_soft_targets_hold(
    kd_loss: str, tail: str, temperature: float, k: int
) -> None:
    """Not a bit depends on their log-probabilities, and all is the label-smoothed NLL."""
    given, objective = batch(k, temperature, torch.float32), Objective(kd_loss, tail, temperature, epsilon=0.1)
    assert given.soft is not None
    filler = SoftTargets(given.soft.ids_NK, torch.full((10, k), -65504.0).half(), torch.zeros(10).half())
    filler = filler if k < V else filler._replace(log_tail_N=None)
    results = []
    for soft in (given.soft, filler, filler._replace(ids_NK=torch.arange(k).repeat(10, 1)), None):
        nothing = given._replace(soft=soft, kd_weight_N=torch.zeros(10))
        loss, losses = run_fused(nothing, objective)
        assert losses.kd_N is None or not losses.kd_N.any()
        results.append((loss, *gradients(loss, nothing)))
    for ours, filled, other, hard in zip(*results, strict=True):
        assert torch.equal(ours, filled)
        assert_close(ours, hard, 1e-6)
        assert_close(other, hard, 1e-6)


@every_row
@pytest.mark.parametrize("k", [8, V])
def test_tokens_of_weight_zero_add_nothing(kd_loss: str, tail: str, k: int) -> None:
    given, objective = batch(k), Objective(kd_loss, tail, epsilon=0.1)
    assert given.weight_N is not None
    given.weight_N[4:] = 0
    few = given.part(slice(4))
    loss, few_loss = run_fused(given, objective)[0], run_fused(few, objective)[0]
    assert_close(loss, few_loss, 1e-12)
    by_features_ND, by_weight_VD = gradients(loss, given)
    assert not by_features_ND[4:].any()
    assert_close(by_weight_VD, torch.autograd.grad(few_loss, given.weight_VD)[0], 1e-12)


@every_row
@every_temperature
@pytest.mark.parametrize(("mode", "tolerance"), [("autocast", 2.5e-2), ("bfloat16", 1e-2), ("float16", 2e-3)], ids=str)
@pytest.mark.parametrize("k", [1, 8, V])
def test_narrow_formats_come_as_near_to_float64_as_the_plain_loss(
    kd_loss: str, tail: str, temperature: float, mode: str, tolerance: float, k: int, chunk_rows: Callable[[int], None]
) -> None:
    """Relative distance of the gradients at the same, narrow inputs, with a loss scale of 2**10."""
    chunk_rows(4)
    objective = Objective(kd_loss, tail, temperature, epsilon=0.1)
    ours = batch(k, temperature, torch.float32 if mode == "autocast" else getattr(torch, mode))
    exact = ours.leaves(torch.float64)
    expected, _ = run_plain(exact, objective)
    exact_gradients = gradients(expected, exact)
    errors = []
    for run in (run_fused, run_plain):
        with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
            loss, _ = run(ours, objective)
        assert loss.dtype == torch.float32
        assert_close(loss, expected, 2e-3)
        scaled = gradients(LOSS_SCALE * loss, ours)
        assert [values.dtype for values in scaled] == [ours.features_ND.dtype, ours.weight_VD.dtype]
        pairs = zip(scaled, exact_gradients, strict=True)
        errors.append([distance(values.double() / LOSS_SCALE, right) for values, right in pairs])
    for fused_error, plain_error in zip(*errors, strict=True):
        assert fused_error < tolerance
        assert fused_error < 2 * plain_error


@pytest.mark.parametrize(("size", "which"), [(64.0, 0), (0.25, 1)], ids=["by_features", "by_weight"])
def test_a_loss_scale_saves_the_gradients_that_float16_has_no_numbers_for(size: float, which: int) -> None:
    """Logits of 16 on the diagonal and 0 elsewhere: off the diagonal gradients are 3e-8, half of float16's least."""
    tokens = 8
    weight_VD = torch.zeros(64, tokens)
    weight_VD[:tokens] = 16 / size * torch.eye(tokens)
    given = Batch(size * torch.eye(tokens), weight_VD, torch.arange(tokens))
    exact, half = given.leaves(torch.float64), given.leaves(torch.float16)
    beside = ~torch.eye(tokens, dtype=torch.bool)
    expected = gradients(run_plain(exact, Objective())[0], exact)[which][:tokens][beside]
    unscaled = gradients(run_plain(half, Objective())[0], half)[which][:tokens][beside]
    assert not unscaled.any()
    scaled = gradients(LOSS_SCALE * run_fused(half, Objective())[0], half)[which][:tokens][beside]
    assert distance(scaled.double() / LOSS_SCALE, expected) < 2e-3


def test_float16_gradients_of_a_frequent_word_do_not_overflow() -> None:
    """A reference that is everywhere and never expected: its row sums to 4,096 * 4, within float16 by a factor of 4."""
    features_ND = torch.full((4096, 4), 4.0)
    weight_VD = torch.zeros(V, 4)
    weight_VD[0] = 1.0
    given = Batch(features_ND, weight_VD, torch.ones(4096, dtype=torch.long))
    half, exact = given.leaves(torch.float16), given.leaves(torch.float64)
    ours = gradients(run_fused(half, Objective())[0], half)
    expected = gradients(run_plain(exact, Objective())[0], exact)
    for values, right in zip(ours, expected, strict=True):
        assert distance(values, right) < 2e-3


@every_row
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, V),
    temperature=st.sampled_from([1.0, 2.0]),
    weight=st.floats(0.0, 1.0),
)
def test_gradients_by_the_logits_sum_to_zero_over_the_vocabulary(
    kd_loss: str, tail: str, seed: int, k: int, temperature: float, weight: float
) -> None:
    """Adding a constant to a token's logits is no change."""
    logits_NV = dense.example(k, V, seed).logits_NV
    given = batch(k, temperature)._replace(kd_weight_N=torch.full((10,), weight))
    by_logits_NV = by_logits(logits_NV, given, Objective(kd_loss, tail, temperature, epsilon=0.1))
    assert by_logits_NV.abs().max() > 1e-3
    assert by_logits_NV.sum(-1).abs().max() < 1e-11


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_fused_gradient_of_the_bucket_kl_is_the_one_the_design_derives(temperature: float) -> None:
    """T^2 times (q_v - p_v)/T inside K and (q_v/T)(1 - m/q_m) outside."""
    rows, given = dense.example(4, V), batch(4, temperature)
    given = given._replace(kd_weight_N=torch.ones(10), weight_N=None)
    ours_NV = by_logits(rows.logits_NV, given, Objective(temperature=temperature))
    p_NV, q_NV = ((values / temperature).softmax(-1) for values in (rows.log_p_NV, rows.logits_NV))
    inside_NV = torch.zeros_like(p_NV, dtype=torch.bool).scatter(1, rows.kept_NK, True)
    m_N1, q_m_N1 = ((values_NV * ~inside_NV).sum(-1, keepdim=True) for values_NV in (p_NV, q_NV))
    expected_NV = temperature * torch.where(inside_NV, q_NV - p_NV, q_NV * (1 - m_N1 / q_m_N1))
    assert_close(ours_NV, expected_NV, 1e-12)
