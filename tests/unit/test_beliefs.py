"""What a store keeps of a softmax, against plain float64 formulas over the dense distribution."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mtkd.distill import beliefs
from mtkd.distill.beliefs import BLOCK, FEW, Beliefs, Head, believe, fidelity, largest, mixture, reduce_softmax
from mtkd.distill.losses import SoftTargets, teacher_atoms

SMALL = 23
WIDE = BLOCK * FEW * 9 + 7
"""Wide enough for a search by blocks at k = 9, and not a multiple of a block."""
WIDTH = 6

Floats = npt.NDArray[np.float64]


class Dense(NamedTuple):
    """A row's store entry the long way round, from its log-probabilities at T = 1."""

    kept: Floats
    tail: float
    reference: float


def log_softmax(logits: Floats) -> Floats:
    return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())


def log_sum(logs: Floats) -> float:
    return -np.inf if len(logs) == 0 else float(logs.max() + np.log(np.exp(logs - logs.max()).sum()))


def dense_rows(log_p: Floats, ids: npt.NDArray[np.int64], target: npt.NDArray[np.int64], temperature: float) -> Dense:
    outside = np.setdiff1d(np.arange(len(log_p)), ids)
    return Dense(np.sort(log_p)[::-1][: len(ids)], log_sum(log_p[outside] / temperature), float(log_p[target]))


def examples(vocab_size: int, tokens: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Float32 logits, from almost even to so sharp that the tail is e^-200, and references."""
    generator = torch.Generator().manual_seed(seed)
    logits_NV = torch.randn(tokens, vocab_size, generator=generator)
    logits_NV[tokens // 3 :] *= 12.0
    target_N = torch.randint(0, vocab_size, (tokens,), generator=generator)
    logits_NV[torch.arange(tokens * 2 // 3, tokens), target_N[tokens * 2 // 3 :]] += 200.0
    return logits_NV, target_N


def heads(vocab_size: int, tokens: int, shares: list[float], *, bias: bool = False, seed: int = 0) -> list[Head]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for share in shares:
        features_ND = 2.0 * torch.randn(tokens, WIDTH, generator=generator)
        weight_VD = torch.randn(vocab_size, WIDTH, generator=generator)
        made.append(Head(features_ND, weight_VD, torch.randn(vocab_size, generator=generator) if bias else None, share))
    return made


def dense_logits(head: Head) -> Floats:
    logits = head.features_ND.double() @ head.weight_VD.double().t()
    return (logits if head.bias_V is None else logits + head.bias_V.double()).numpy()


def dense_mixture(made: list[Head], temperature: float) -> Floats:
    """Log of sum_j w_j p_j^T [N, V]."""
    logs = [np.stack([log_softmax(row / temperature) for row in dense_logits(head)]) for head in made]
    weighted = [log_p + np.log(head.share) for log_p, head in zip(logs, made, strict=True)]
    return np.logaddexp.reduce(weighted, axis=0)


@pytest.mark.parametrize("temperatures", [[1.0], [2.0], [1.0, 2.0], [1.0, 0.5, 3.0], [16.0, 1.0]])
@pytest.mark.parametrize(
    ("vocab_size", "k"), [(SMALL, 1), (SMALL, 8), (SMALL, SMALL - 1), (SMALL, SMALL), (WIDE, 1), (WIDE, 8), (WIDE, 64)]
)
def test_reduction_equals_the_dense_formula(vocab_size: int, k: int, temperatures: list[float]) -> None:
    logits_NV, target_N = examples(vocab_size)
    found = reduce_softmax(logits_NV.clone(), target_N, k, temperatures)
    for n, logits in enumerate(logits_NV.double().numpy()):
        log_p, ids = log_softmax(logits), found.ids_NK[n].numpy()
        assert np.allclose(log_p[ids], found.log_probs_NK[n], rtol=1e-5, atol=1e-5)
        for column, temperature in enumerate(temperatures):
            dense = dense_rows(log_p, ids, target_N[n].numpy(), temperature)
            assert np.allclose(dense.kept, found.log_probs_NK[n], rtol=1e-5, atol=1e-5)
            assert found.log_tails_NS[n, column].item() == pytest.approx(dense.tail, rel=1e-5, abs=1e-5)
            assert found.reference_N[n].item() == pytest.approx(dense.reference, rel=1e-5, abs=1e-5)


def test_a_tail_that_is_nothing_in_float32_is_still_exact() -> None:
    logits_NV = torch.zeros(1, 30)
    logits_NV[0, 5] = 500.0
    found = reduce_softmax(logits_NV, torch.tensor([5]), 1, [1.0, 2.0])
    assert found.log_tails_NS[0].tolist() == pytest.approx([np.log(29) - 500.0, np.log(29) - 250.0], rel=1e-6)


@pytest.mark.parametrize("vocab_size", [SMALL, WIDE, BLOCK * FEW * 9])
def test_the_largest_are_those_of_topk_wherever_they_lie(vocab_size: int) -> None:
    values_NV = torch.randn(64, vocab_size, generator=torch.Generator().manual_seed(1))
    values_NV[0, -9:] += 50.0
    values_NV[1, :9] += 50.0
    values_NV[2, :: vocab_size // 9] += 50.0
    values, columns = largest(values_NV, 9)
    assert torch.equal(values, values_NV.topk(9).values)
    assert torch.equal(values, values_NV.gather(1, columns))


@pytest.mark.parametrize("k", [1, 8, 9])
def test_equal_entries_are_kept_once_each(k: int) -> None:
    """Logits of a narrow number format have many ties."""
    values_NV = torch.randn(32, WIDE, generator=torch.Generator().manual_seed(2)).round()
    values_NV[0] = 0.0
    values, columns = largest(values_NV, k)
    assert torch.equal(values, values_NV.topk(k).values)
    assert all(len(set(row)) == k for row in columns.tolist())
    found = reduce_softmax(values_NV.clone(), torch.zeros(32, dtype=torch.int64), k, [1.0])
    total = found.log_probs_NK.double().exp().sum(1) + found.log_tails_NS[:, 0].double().exp()
    assert total.tolist() == pytest.approx([1.0] * 32, rel=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, bias: bool) -> None:
    (head,) = heads(WIDE, 20, [1.0], bias=bias)
    target_N = torch.randint(0, WIDE, (20,), generator=torch.Generator().manual_seed(3))
    logits_NV = torch.from_numpy(dense_logits(head))
    whole = reduce_softmax(logits_NV, target_N, 8, [1.0, 2.0])
    monkeypatch.setitem(beliefs.CHUNK_ENTRIES, "cpu", 7 * WIDE)
    chunked = believe([head], target_N, 8, [1.0, 2.0])
    assert torch.equal(whole.ids_NK, chunked.ids_NK)
    for one, other in zip(whole[1:], chunked[1:], strict=True):
        assert torch.allclose(one, other.double(), atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.2, 0.7, 0.1]])
@pytest.mark.parametrize("k", [1, 8, SMALL])
def test_mixture_equals_the_dense_formula(k: int, shares: list[float], temperature: float, bias: bool) -> None:
    made = heads(SMALL, 15, shares, bias=bias)
    target_N = torch.randint(0, SMALL, (15,), generator=torch.Generator().manual_seed(4))
    found = believe(made, target_N, k, [temperature])
    for n, log_p in enumerate(dense_mixture(made, temperature)):
        dense = dense_rows(log_p, found.ids_NK[n].numpy(), target_N[n].numpy(), 1.0)
        assert np.allclose(log_p[found.ids_NK[n].numpy()], found.log_probs_NK[n] / temperature, rtol=1e-4, atol=1e-4)
        assert np.allclose(dense.kept, found.log_probs_NK[n] / temperature, rtol=1e-4, atol=1e-4)
        assert found.log_tails_NS[n, 0].item() == pytest.approx(dense.tail, rel=1e-4, abs=1e-4)
        assert found.reference_N[n].item() / temperature == pytest.approx(dense.reference, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_a_reader_finds_the_mixture_itself(temperature: float) -> None:
    """Whatever reads the store tempers its rows: what comes out must be the mixture, not a sharper or flatter one."""
    made = heads(SMALL, 15, [0.3, 0.7])
    found = believe(made, torch.zeros(15, dtype=torch.int64), 8, [temperature])
    atoms = teacher_atoms(SoftTargets(found.ids_NK, found.log_probs_NK, found.log_tails_NS[:, 0]), temperature)
    expected = torch.from_numpy(dense_mixture(made, temperature)).gather(1, found.ids_NK)
    assert torch.allclose(atoms.log_kept_NK.double(), expected, atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_mixture_of_one_teacher_with_itself_is_that_teacher(temperature: float) -> None:
    (head,) = heads(SMALL, 15, [1.0])
    target_N = torch.arange(15)
    alone = believe([head], target_N, 8, [temperature])
    mixed = believe([head._replace(share=0.25), head._replace(share=0.75)], target_N, 8, [temperature])
    assert torch.equal(alone.ids_NK, mixed.ids_NK)
    for one, other in ((alone, mixed), (mixed, alone)):
        soft = [SoftTargets(rows.ids_NK, rows.log_probs_NK, rows.log_tails_NS[:, 0]) for rows in (one, other)]
        for ours, theirs in zip(*(teacher_atoms(rows, temperature) for rows in soft), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4)


def test_mixtures_of_sharp_teachers_are_never_not_a_number() -> None:
    made = [head._replace(features_ND=300.0 * head.features_ND) for head in heads(SMALL, 9, [0.5, 0.5])]
    found = believe(made, torch.zeros(9, dtype=torch.int64), 8, [1.0])
    assert not any(values.isnan().any() for values in found)
    assert found.log_probs_NK.double().exp().sum(1).tolist() == pytest.approx([1.0] * 9)


@pytest.mark.parametrize("k", [1, 8, SMALL])
@pytest.mark.parametrize("shares", [[1.0], [0.5, 0.5]])
def test_fidelity_is_the_divergence_of_what_is_stored_from_what_was_dense(k: int, shares: list[float]) -> None:
    made = heads(SMALL, 15, shares)
    log_p = dense_mixture(made, 2.0)
    stored = log_p.copy()
    for row in stored:
        outside = np.argsort(row)[: SMALL - k]
        row[outside] = log_sum(row[outside]) - np.log(max(1, SMALL - k))
    expected = (np.exp(log_p) * (log_p - stored)).sum(1)
    found = [fidelity(probs_CV, k).clone() for _, probs_CV in mixture(made, 2.0)]
    assert np.allclose(expected, torch.cat(found), rtol=1e-4, atol=1e-5)


def test_fidelity_of_a_softmax_without_a_tail_is_nothing() -> None:
    probs_NV = torch.zeros(1, 30)
    probs_NV[0, 5] = 1.0
    assert fidelity(probs_NV, 1).item() == pytest.approx(0.0, abs=1e-30)


class LargestTensor(TorchDispatchMode):
    """Keeps the number of entries of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in made if isinstance(made, tuple | list) else [made]:
            if isinstance(value, Tensor):
                self.entries = max(self.entries, value.numel())
        return made


@pytest.mark.parametrize("shares", [[1.0], [0.5, 0.5]])
def test_no_tensor_is_larger_than_a_chunk(monkeypatch: pytest.MonkeyPatch, shares: list[float]) -> None:
    tokens, chunk = 300, 16 * WIDE
    monkeypatch.setitem(beliefs.CHUNK_ENTRIES, "cpu", chunk)
    made, target_N = heads(WIDE, tokens, shares), torch.zeros(tokens, dtype=torch.int64)
    with LargestTensor() as largest_tensor:
        found: Beliefs = believe(made, target_N, 8, [2.0] if len(shares) > 1 else [1.0, 2.0])
    assert len(found.reference_N) == tokens
    assert 0 < largest_tensor.entries <= chunk < tokens * WIDE
