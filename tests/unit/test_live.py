"""Teachers beside the student: their mixture against the formula, each token with the teachers of its own corpus."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mtkd.distill.beliefs import Head
from mtkd.distill.fused import fused_word_kd
from mtkd.distill.live import Interleaved, LiveTeachers
from mtkd.distill.losses import Objective, SoftTargets

N, V, D = 12, 17, 5


def head(seed: int, share: float, *, tokens: int = N, scale: float = 1.0) -> Head:
    generator = torch.Generator().manual_seed(seed)
    features_ND, weight_VD = torch.randn(tokens, D, generator=generator), torch.randn(V, D, generator=generator)
    return Head(scale * features_ND, weight_VD, torch.randn(V, generator=generator), share)


def mixture(heads: list[Head], temperature: float) -> Tensor:
    """sum_j w_j p_j^T [N, V], in float64."""
    parts = [
        h.share * ((h.features_ND.double() @ h.weight_VD.double().T + h.bias_V) / temperature).softmax(-1)
        for h in heads
    ]
    return torch.stack(parts).sum(0)


def tempered(soft: SoftTargets, temperature: float) -> Tensor:
    assert soft.ids_NK is None
    assert soft.log_tail_N is None
    return (soft.log_probs_NK.double() / temperature).softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("shares", [[1.0], [0.25, 0.75], [0.5, 0.3, 0.2]])
def test_teachers_are_tempered_then_mixed(shares: list[float], temperature: float) -> None:
    heads = [head(seed, share) for seed, share in enumerate(shares)]
    soft = LiveTeachers(heads, temperature).rows(slice(3, 9))
    assert torch.allclose(tempered(soft, temperature), mixture(heads, temperature)[3:9], rtol=1e-5, atol=1e-9)


def test_mixture_of_very_sure_teachers_stays_finite() -> None:
    """Probabilities below anything that float32 can hold, whose logs are ordinary numbers."""
    heads = [head(seed, 0.5, scale=300.0) for seed in (0, 1)]
    log_probs_NK = LiveTeachers(heads, 1.0).rows(slice(0, N)).log_probs_NK
    assert log_probs_NK.isfinite().all()
    assert log_probs_NK.min() < -200
    one, other = (
        (h.features_ND.double() @ h.weight_VD.double().T + h.bias_V).log_softmax(-1) + math.log(0.5) for h in heads
    )
    assert torch.allclose(log_probs_NK.double(), torch.logaddexp(one, other), rtol=1e-5, atol=1e-4)


def interleaved(temperature: float) -> tuple[Interleaved, Tensor]:
    """Three tokens in four have teachers, of two corpora by turns; the dense mixtures, uniform where there is none."""
    places = [torch.arange(0, N, 4), torch.tensor([1, 2, 5, 6, 9, 10])]
    corpora = [[head(1, 1.0, tokens=3)], [head(2, 0.4, tokens=6), head(3, 0.6, tokens=6)]]
    dense_NV = torch.full((N, V), 1 / V, dtype=torch.float64)
    for place, heads in zip(places, corpora, strict=True):
        dense_NV[place] = mixture(heads, temperature)
    parts = [(place, LiveTeachers(heads, temperature)) for place, heads in zip(places, corpora, strict=True)]
    return Interleaved(V, parts), dense_NV


@pytest.mark.parametrize("span", [slice(0, N), slice(0, 1), slice(3, 4), slice(2, 11), slice(5, 5)])
def test_each_token_has_its_own_corpus_teachers(span: slice) -> None:
    soft, dense_NV = interleaved(2.0)
    assert torch.allclose(tempered(soft.rows(span), 2.0), dense_NV[span], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_loss_in_chunks_equals_the_loss_from_dense_targets(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtkd.distill import fused

    monkeypatch.setitem(fused.CHUNK_ENTRIES, "cpu", 5 * V)
    soft, dense_NV = interleaved(temperature)
    dense = SoftTargets(None, (temperature * dense_NV.log()).float(), None)
    student = head(9, 1.0)
    features_ND = student.features_ND.requires_grad_()
    target_N, kd_weight_N = torch.arange(N) % V, torch.full((N,), 0.5)
    found = []
    for source in (soft, dense):
        loss, _ = fused_word_kd(
            features_ND, student.weight_VD, target_N, Objective(temperature=temperature), source, kd_weight_N
        )
        found.append((loss.item(), *torch.autograd.grad(loss, features_ND)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
