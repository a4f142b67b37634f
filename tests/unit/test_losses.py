"""The loss against plain float64 formulas over the dense distribution, values and gradients."""

from __future__ import annotations

import pytest
import torch

from mtkd.distill.losses import KD_LOSSES, SoftTargets, label_smoothed_nll, student_atoms, word_kd

V = 23


def rows(tokens: int, k: int, *, sharp: float = 2.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Student logits, dense teacher log-probabilities and reference ids of some tokens, float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(tokens, V, generator=generator, dtype=torch.float64)
    teacher = (sharp * torch.randn(tokens, V, generator=generator, dtype=torch.float64)).log_softmax(-1)
    return logits, teacher, torch.randint(0, V, (tokens,), generator=generator)


def store_rows(teacher: torch.Tensor, k: int, temperature: float) -> SoftTargets:
    kept = teacher.topk(k, -1)
    rest = teacher.scatter(1, kept.indices, -torch.inf)
    tail = None if k == V else (rest / temperature).logsumexp(-1)
    return SoftTargets(kept.indices, kept.values, tail, torch.ones(len(teacher), dtype=torch.bool))


def dense_bucket_kl(logits: torch.Tensor, teacher: torch.Tensor, k: int, temperature: float) -> torch.Tensor:
    """The formula of the design page, one token at a time, from dense distributions."""
    total = []
    for z, log_p in zip(logits, teacher, strict=True):
        p = (log_p / temperature).softmax(-1)
        q = (z / temperature).softmax(-1)
        inside = torch.zeros(V, dtype=torch.bool)
        inside[log_p.topk(k).indices] = True
        value = (p[inside] * (p[inside] / q[inside]).log()).sum()
        if k < V:
            value = value + p[~inside].sum() * (p[~inside].sum() / q[~inside].sum()).log()
        total.append(value)
    return torch.stack(total)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("k", [1, 8, V])
@pytest.mark.parametrize("sharp", [0.1, 2.0, 12.0])
def test_forward_kl_equals_the_dense_formula_in_value_and_gradient(k: int, temperature: float, sharp: float) -> None:
    logits, teacher, target = rows(11, k, sharp=sharp)
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    soft = store_rows(teacher, k, temperature)
    losses = word_kd(ours, target, soft, kd_weight=1.0, temperature=temperature)
    expected = temperature**2 * dense_bucket_kl(plain, teacher, k, temperature)
    # float64 student, teacher widened to float32 as it comes from a float16 store
    assert torch.allclose(losses.loss_N, expected, rtol=1e-5, atol=1e-6)
    losses.loss_N.sum().backward()
    expected.sum().backward()
    assert torch.allclose(ours.grad, plain.grad, rtol=1e-4, atol=1e-6)


def test_full_top_k_equals_dense_kl() -> None:
    logits, teacher, target = rows(9, V)
    losses = word_kd(logits, target, store_rows(teacher, V, 1.0), kd_weight=1.0)
    dense = torch.nn.functional.kl_div(logits.log_softmax(-1), teacher, log_target=True, reduction="none").sum(-1)
    assert torch.allclose(losses.loss_N, dense, rtol=1e-5)


def test_gradient_is_the_one_the_design_derives() -> None:
    """(q_v - p_v)/T inside K and (q_v/T)(1 - m/q_m) outside, times T^2."""
    logits, teacher, target = rows(5, 4)
    temperature = 2.0
    leaf = logits.clone().requires_grad_()
    word_kd(
        leaf, target, store_rows(teacher, 4, temperature), kd_weight=1.0, temperature=temperature
    ).loss_N.sum().backward()
    p, q = (teacher / temperature).softmax(-1), (logits / temperature).softmax(-1)
    inside = torch.zeros_like(p, dtype=torch.bool).scatter(1, teacher.topk(4, -1).indices, True)
    m, q_m = (p * ~inside).sum(-1, keepdim=True), (q * ~inside).sum(-1, keepdim=True)
    expected = temperature * torch.where(inside, q - p, q * (1 - m / q_m))
    assert torch.allclose(leaf.grad, expected, rtol=1e-4, atol=1e-6)


def test_loss_is_zero_where_student_equals_teacher() -> None:
    _, teacher, target = rows(7, 6)
    stored = store_rows(teacher, 6, 1.0)
    halved = stored._replace(log_probs_NK=stored.log_probs_NK.half(), log_tail_N=stored.log_tail_N.half())
    losses = word_kd(teacher, target, halved, kd_weight=1.0)
    assert losses.loss_N.abs().max() < 1e-5


def test_tail_of_a_sure_student_is_not_lost_in_float32() -> None:
    """1 - sum(q) would be 0 here; the right log tail mass is about log 6e-9."""
    logits = torch.zeros(1, V)
    logits[0, 3] = 22.0
    atoms = student_atoms(logits, torch.tensor([[3]]), 1.0)
    expected = (logits.double().softmax(-1).sum() - logits.double().softmax(-1)[0, 3]).log()
    assert torch.allclose(atoms.log_tail_N.double(), expected, rtol=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_label_smoothing_equals_fairseqs_formula(epsilon: float) -> None:
    logits, _, target = rows(6, 1)
    smoothed, nll = label_smoothed_nll(logits, target, epsilon)
    log_q = torch.log(logits.softmax(-1))
    share = epsilon / (V - 1)
    plain = -log_q[torch.arange(6), target]
    assert torch.allclose(nll, plain)
    assert torch.allclose(smoothed, (1 - epsilon - share) * plain + share * -log_q.sum(-1))


def test_kd_weight_mixes_and_zero_is_the_nll() -> None:
    logits, teacher, target = rows(6, 4)
    soft = store_rows(teacher, 4, 1.0)
    full = word_kd(logits, target, soft, kd_weight=1.0, epsilon=0.1)
    half = word_kd(logits, target, soft, kd_weight=0.5, epsilon=0.1)
    none = word_kd(logits, target, soft, kd_weight=0.0, epsilon=0.1)
    assert torch.allclose(half.loss_N, 0.5 * full.loss_N + 0.5 * none.loss_N)
    assert torch.equal(none.loss_N, none.smoothed_nll_N)
    assert none.kd_N is None


def test_at_weight_one_labels_change_neither_loss_nor_gradient() -> None:
    logits, teacher, target = rows(8, 4)
    soft = store_rows(teacher, 4, 1.0)
    results = []
    for labels in (target, (target + 5) % V):
        leaf = logits.clone().requires_grad_()
        loss = word_kd(leaf, labels, soft, kd_weight=1.0, epsilon=0.1).loss_N
        loss.sum().backward()
        results.append((loss.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_rows_without_soft_targets_learn_from_references_alone() -> None:
    logits, teacher, target = rows(6, 4)
    known = torch.tensor([True, False, True, False, True, False])
    soft = store_rows(teacher, 4, 1.0)._replace(known_N=known)
    losses = word_kd(logits, target, soft, kd_weight=0.7)
    assert torch.equal(losses.loss_N[~known], losses.smoothed_nll_N[~known])
    assert not torch.allclose(losses.loss_N[known], losses.smoothed_nll_N[known])
    assert torch.equal(losses.kd_N[~known], torch.zeros(3, dtype=torch.float64))


def test_bfloat16_logits_are_computed_in_float32() -> None:
    logits, teacher, target = rows(6, 4)
    soft = store_rows(teacher, 4, 1.0)
    narrow = logits.bfloat16()
    assert torch.equal(
        word_kd(narrow, target, soft, kd_weight=0.5).loss_N, word_kd(narrow.float(), target, soft, kd_weight=0.5).loss_N
    )


@pytest.mark.parametrize("name", KD_LOSSES)
def test_every_divergence_is_finite_where_the_tail_mass_underflows(name: str) -> None:
    logits, teacher, target = rows(4, 2)
    soft = store_rows(teacher, 2, 1.0)._replace(log_tail_N=torch.full((4,), -65504.0))
    leaf = logits.float().requires_grad_()
    loss = word_kd(leaf, target, soft, kd_weight=1.0, divergence=KD_LOSSES[name]).loss_N
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(leaf.grad).all()
