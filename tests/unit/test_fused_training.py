"""The fused loss as training uses it: tied, accumulated, in two processes, differentiated once, in little memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from mtkd.distill import fused
from mtkd.distill.fused import fused_word_kd
from mtkd.distill.losses import Objective, SoftTargets, TokenLosses
from tests.unit.fused_batch import (
    Batch,
    D,
    V,
    batch,
    gradients,
    run_fused,
    run_plain,
)
from tests.unit.loss_rows import assert_close, every_row, every_temperature


class TiedStudent(nn.Module):
    """As small as a decoder can be that shares its embedding with a projection outside of `forward`."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.embedding = nn.Embedding(V, D, _weight=torch.randn(V, D, generator=generator, dtype=torch.float64))
        self.mix = nn.Parameter(torch.randn(D, D, generator=generator, dtype=torch.float64))

    def forward(self, tokens_N: Tensor) -> Tensor:
        embedded_ND: Tensor = self.embedding(tokens_N)
        return torch.tanh(embedded_ND @ self.mix)

    def posed(self, features_ND: Tensor, span: slice) -> Batch:
        part = batch(8, 2.0).part(span)
        return part._replace(features_ND=features_ND, weight_VD=self.embedding.weight)


TOKENS_N = torch.arange(10) * 7 % 12
STUDENTS_OBJECTIVE = Objective(temperature=2.0, epsilon=0.1)


def student_gradients(*spans: slice, run: Callable[[Batch, Objective], tuple[Tensor, TokenLosses]]) -> list[Tensor]:
    """Of all parameters, after a backward pass for each span of the batch."""
    student = TiedStudent()
    for span in spans:
        torch.autograd.backward(run(student.posed(student(TOKENS_N[span]), span), STUDENTS_OBJECTIVE)[0])
    return [parameter.grad for parameter in student.parameters() if parameter.grad is not None]


def test_a_tied_projection_gets_the_gradients_of_both_its_uses() -> None:
    ours, plain = (student_gradients(slice(10), run=run) for run in (run_fused, run_plain))
    for by_ours, by_plain in zip(ours, plain, strict=True):
        assert_close(by_ours, by_plain, 1e-12)


def test_two_micro_batches_accumulate_to_one_batch() -> None:
    accumulated = student_gradients(slice(4), slice(4, 10), run=run_fused)
    for ours, whole in zip(accumulated, student_gradients(slice(10), run=run_fused), strict=True):
        assert_close(ours, whole, 1e-12)


def one_of_two_processes(rank: int, folder: Path) -> None:
    """Takes its share of the tokens; the mean of the gradients over processes, twice, is their sum."""
    store = f"file://{folder / 'rendezvous'}"
    torch.distributed.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    try:
        student, span = TiedStudent(), (slice(4), slice(4, 10))[rank]
        parallel = DistributedDataParallel(student)
        loss, _ = run_fused(student.posed(parallel(TOKENS_N[span]), span), STUDENTS_OBJECTIVE)
        torch.autograd.backward(2 * loss)
        for parameter, whole in zip(student.parameters(), student_gradients(slice(10), run=run_fused), strict=True):
            assert parameter.grad is not None
            assert_close(parameter.grad, whole, 1e-12)
    finally:
        torch.distributed.destroy_process_group()


def test_two_processes_have_the_gradients_of_one_with_both_batches(tmp_path: Path) -> None:
    other = torch.multiprocessing.get_context("spawn").Process(target=one_of_two_processes, args=(1, tmp_path))
    other.start()
    one_of_two_processes(0, tmp_path)
    other.join()
    assert other.exitcode == 0


@pytest.mark.parametrize("scale", [0.0, -0.37, 2.0**16])
def test_an_incoming_gradient_scales_the_gradients(scale: float) -> None:
    given = batch(8)
    once = gradients(run_fused(given, Objective())[0], given)
    scaled = gradients(scale * run_fused(given, Objective())[0], given)
    for ours, unscaled in zip(scaled, once, strict=True):
        torch.testing.assert_close(ours, scale * unscaled, rtol=1e-12, atol=0)


def test_a_second_backward_pass_is_refused() -> None:
    given = batch(8)
    loss, _ = run_fused(given, Objective())
    torch.autograd.grad(loss, given.features_ND, retain_graph=True)
    with pytest.raises((AssertionError, RuntimeError), match=r"once|second time"):
        torch.autograd.grad(loss, given.features_ND)


@pytest.mark.parametrize("power", [1, 2])
def test_second_derivatives_are_refused_and_not_silently_wrong(power: int) -> None:
    given = batch(8)
    loss, _ = run_fused(given, Objective())
    (by_features_ND,) = torch.autograd.grad(loss**power, given.features_ND, create_graph=True)
    with pytest.raises((AssertionError, RuntimeError), match=r"once|does not require grad"):
        torch.autograd.grad(by_features_ND.sum(), given.features_ND)


def test_a_frozen_projection_leaves_the_features_gradient_as_it_is() -> None:
    given = batch(8)
    expected, _ = gradients(run_fused(given, Objective())[0], given)
    frozen = given._replace(weight_VD=given.weight_VD.detach())
    (ours,) = torch.autograd.grad(run_fused(frozen, Objective())[0], frozen.features_ND)
    assert torch.equal(ours, expected)


def test_strides_of_features_and_weight_do_not_matter() -> None:
    given, results = batch(8), []
    for turned in (given, given._replace(features_ND=_turned(given.features_ND), weight_VD=_turned(given.weight_VD))):
        loss, _ = run_fused(turned, Objective())
        results.append((loss, *gradients(loss, given)))
    for ours, expected in zip(*results, strict=True):
        assert_close(ours, expected, 1e-12)


def _turned(values: Tensor) -> Tensor:
    return values.t().contiguous().t()


@pytest.mark.parametrize("k", [8, V])
@pytest.mark.parametrize("autocast", [False, True])
def test_no_tokens_have_no_loss_and_no_gradient(k: int, autocast: bool) -> None:
    empty = batch(k).part(slice(0, 0)).leaves(torch.float32)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss, losses = run_fused(empty, Objective(epsilon=0.1))
    by_features_ND, by_weight_VD = gradients(loss, empty)
    assert loss.item() == 0
    assert losses.loss_N.shape == (0,)
    assert by_features_ND.shape == (0, D)
    assert by_weight_VD.shape == (V, D)
    assert not by_weight_VD.any()


class Asked(NamedTuple):
    """Teachers that are asked chunk by chunk; it remembers for what."""

    soft: SoftTargets
    spans: list[slice]

    def rows(self, span: slice) -> SoftTargets:
        self.spans.append(span)
        return self.soft.rows(span)


@every_row
@pytest.mark.parametrize("with_ids", [True, False])
def test_teachers_that_are_asked_as_we_go_are_asked_once_a_chunk(
    kd_loss: str, tail: str, with_ids: bool, chunk_rows: Callable[[int], None]
) -> None:
    """Whole rows, as such teachers give them, are the same with ids, in any order, as without."""
    chunk_rows(4)
    given, objective = batch(V), Objective(kd_loss, tail)
    assert given.soft is not None
    expected = gradients(run_fused(given, objective)[0], given)
    asked = Asked(given.soft if with_ids else given.soft.in_vocabulary_order(), [])
    features_ND, weight_VD, target_N, _, *weights = given
    loss, _ = fused_word_kd(features_ND, weight_VD, target_N, objective, asked, *weights)
    assert asked.spans == [slice(0, 4), slice(4, 8), slice(8, 10)]
    for ours, right in zip(gradients(loss, given), expected, strict=True):
        assert_close(ours, right, 1e-12)


def peak_bytes(run: Callable[[], object]) -> int:
    """The most that torch held at once, over what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    results: Any = recorded.profiler
    held = peak = 0
    for event in results.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


class Wide(NamedTuple):
    """N x V is 512 kB of float32; V x D is 16 kB and a chunk of 8 tokens 16 kB."""

    batch: Batch
    logits_bytes: int
    weight_bytes: int


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> Wide:
    tokens, vocab_size, width = 256, 512, 8
    monkeypatch.setitem(fused.CHUNK_ENTRIES, "cpu", 8 * vocab_size)
    generator = torch.Generator().manual_seed(3)
    ids_NK = torch.arange(8).repeat(tokens, 1) + torch.arange(tokens)[:, None]
    soft = SoftTargets(ids_NK, torch.full((tokens, 8), -2.5), torch.full((tokens,), -1.0))
    features_ND = torch.randn(tokens, width, generator=generator)
    weight_VD = torch.randn(vocab_size, width, generator=generator)
    given = Batch(features_ND, weight_VD, torch.arange(tokens), soft, torch.full((tokens,), 0.5))
    return Wide(given.leaves(torch.float32), 4 * tokens * vocab_size, 4 * vocab_size * width)


@every_row
@every_temperature
@pytest.mark.parametrize("autocast", [False, True])
def test_the_fused_loss_never_holds_the_logits(
    kd_loss: str, tail: str, temperature: float, autocast: bool, wide: Wide
) -> None:
    """All that is held at once, forwards and backwards, is less than half of them."""

    def step(run: Callable[[Batch, Objective], tuple[Tensor, TokenLosses]]) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss, _ = run(wide.batch, Objective(kd_loss, tail, temperature, epsilon=0.1))
        gradients(loss, wide.batch)

    assert peak_bytes(lambda: step(run_fused)) < wide.logits_bytes / 2
    assert peak_bytes(lambda: step(run_plain)) > wide.logits_bytes


def test_teachers_asked_as_we_go_never_give_all_rows_at_once(wide: Wide) -> None:
    """Online teachers, k = V: theirs is a chunk of the vocabulary's size, too."""

    class Flat:
        def rows(self, span: slice) -> SoftTargets:
            return SoftTargets(None, torch.zeros(span.stop - span.start, 512), None)

    features_ND, weight_VD, target_N, _, *weights = wide.batch

    def step() -> None:
        loss, _ = fused_word_kd(features_ND, weight_VD, target_N, Objective("js"), Flat(), *weights)
        gradients(loss, wide.batch)

    assert peak_bytes(step) < wide.logits_bytes


def test_no_gradients_are_made_where_none_are_wanted(wide: Wide) -> None:
    """In validation: the same losses, at a chunk's memory and without the two products of the gradients."""
    wanted, wanted_losses = run_fused(wide.batch, Objective())
    kept: list[tuple[Tensor, TokenLosses]] = []
    with torch.no_grad():
        peak = peak_bytes(lambda: kept.append(run_fused(wide.batch, Objective())))
    assert not kept[0][0].requires_grad
    assert torch.equal(kept[0][0], wanted)
    assert torch.equal(kept[0][1].loss_N, wanted_losses.loss_N)
    with_gradients = peak_bytes(lambda: run_fused(wide.batch, Objective()))
    assert peak < with_gradients - wide.weight_bytes
