"""What holds of every divergence whatever the rows are: sign, bounds, symmetry, finiteness."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from mtkd.distill.losses import (
    KD_LOSSES,
    Objective,
    SoftTargets,
    js,
    teacher_atoms,
)
from tests.unit import dense_reference as dense
from tests.unit.loss_rows import (
    V,
    assert_close,
    atoms_of,
    every_loss,
    every_row,
    losses_and_gradient,
    property_test,
    seeds,
    soft_targets,
    taught,
)


@every_row
@property_test
@given(
    seed=seeds,
    vocab_size=st.integers(2, 40),
    share=st.floats(0.0, 1.0),
    temperature=st.floats(0.5, 8.0),
    sharpness=st.floats(0.0, 12.0),
)
def test_no_divergence_is_negative_and_all_is_finite(
    kd_loss: str, tail: str, seed: int, vocab_size: int, share: float, temperature: float, sharpness: float
) -> None:
    """Rows as they come from a float16 store, the student in float32."""
    rows = taught(dense.example(max(1, round(share * vocab_size)), vocab_size, seed))
    rows = rows._replace(logits_NV=sharpness * rows.logits_NV.float())
    soft = soft_targets(rows, temperature, torch.float16)
    loss_N, by_logits_NV = losses_and_gradient(rows, Objective(kd_loss, tail, temperature), soft)
    assert torch.isfinite(loss_N).all()
    assert torch.isfinite(by_logits_NV).all()
    assert loss_N.min() >= -1e-6 * temperature**2
    if kd_loss == "js":
        assert loss_N.max() <= (math.log(2.0) + 1e-6) * temperature**2


@property_test
@given(seed=seeds, k=st.integers(1, V))
def test_js_is_symmetric_and_at_most_log_2(seed: int, k: int) -> None:
    rows, other = dense.example(k, seed=seed), dense.example(k, seed=seed + 1)
    left, right = atoms_of(rows.logits_NV, rows), atoms_of(other.log_p_NV, rows)
    assert_close(js(left, right), js(right, left), 1e-12)
    assert js(left, right).max() <= math.log(2.0) + 1e-12


@every_loss
@property_test
@given(seed=seeds, k=st.integers(1, V))
def test_every_divergence_is_zero_at_equality_alone(kd_loss: str, seed: int, k: int) -> None:
    """Where no tail is below the floor of reverse KL, that is."""
    rows = dense.example(k, seed=seed)
    mild_NV = rows.logits_NV.clamp(-3, 3)
    same, other = atoms_of(mild_NV, rows), atoms_of(mild_NV.flip(0), rows)
    normalised = teacher_atoms(SoftTargets(rows.kept_NK, *same), 1.0)
    assert KD_LOSSES[kd_loss](normalised, same).abs().max() < 1e-12
    assert KD_LOSSES[kd_loss](other, same).min() > 1e-12
