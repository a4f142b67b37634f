"""`fused_adam` is fairseq's Adam: same weights after the same gradients, scaled, clipped, resumed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fairseq.optim.adam import FairseqAdam

from mtkd.fairseq_plugin.optimizer import FusedAdam

SHAPES = ((40, 6), (7,), (3, 5))


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def build(kind: type, params: list[torch.nn.Parameter], weight_decay: float = 0.01, eps: float = 1e-8):
    cfg = SimpleNamespace(adam_betas="(0.9, 0.98)", adam_eps=eps, weight_decay=weight_decay, lr=[0.01])
    cfg.use_old_adam, cfg.tpu, cfg.fp16_adam_stats = True, False, False
    return kind(cfg, params)


def updates(optimizer, params: list[torch.nn.Parameter], numbers: range, clip: float = 0.5, idle: int = 3):
    """As fairseq's trainer does them; the norms it logs."""
    norms = []
    for number in numbers:
        generator = torch.Generator().manual_seed(number)
        optimizer.zero_grad()
        for param in params[: 2 if number % idle == 0 else 3]:  # now and then a parameter takes no part
            param.grad = 10.0 ** (number % 4 - 2) * torch.randn(param.shape, generator=generator)
        optimizer.multiply_grads(1.0 / 7.0)
        norms.append(float(optimizer.clip_grad_norm(clip)))
        optimizer.set_lr(0.01 / (number + 1))
        optimizer.step()
    return norms


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize(("eps", "idle"), [(1e-8, 3), (1e-2, 99)])
def test_same_updates_as_fairseqs_adam(clip: float, eps: float, idle: int) -> None:
    ours, theirs = parameters(), parameters()
    mine = updates(build(FusedAdam, ours, eps=eps), ours, range(1, 30), clip, idle)
    stock = updates(build(FairseqAdam, theirs, eps=eps), theirs, range(1, 30), clip, idle)
    assert mine == pytest.approx(stock, rel=1e-5)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_resumed_optimiser_continues_bit_by_bit() -> None:
    whole, halves = parameters(), parameters()
    updates(build(FusedAdam, whole), whole, range(1, 21))
    first = build(FusedAdam, halves)
    updates(first, halves, range(1, 11))
    second = build(FusedAdam, halves)
    second.load_state_dict(first.state_dict(), {"lr": 0.01})
    updates(second, halves, range(11, 21))
    assert all(torch.equal(a, b) for a, b in zip(whole, halves, strict=True))


def test_a_loss_scale_given_to_the_step_is_taken_out() -> None:
    """What fairseq's float16 wrapper does: gradients 1024 times too large, and scale = 1024."""
    plain, scaled = parameters(), parameters()
    optimizers = [build(FusedAdam, params) for params in (plain, scaled)]
    for optimizer, params, scale in zip(optimizers, (plain, scaled), (1.0, 1024.0), strict=True):
        for param in params:
            param.grad = scale * torch.ones_like(param)
        optimizer.step(scale=scale)
    assert all(torch.allclose(a, b, rtol=1e-6) for a, b in zip(plain, scaled, strict=True))
