"""Dropout in training on a CPU: its rate and scale everywhere, its gradient, its seed; fairseq's where it is off."""

from __future__ import annotations

import pytest
import torch
from fairseq.modules import FairseqDropout
from torch import nn

from mtkd.fairseq_plugin.dropout import LaneDropout, keep_mask, use_lane_dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_every_lane_drops_at_the_rate_and_the_mean_stays(rate: float) -> None:
    torch.manual_seed(1)
    mask = keep_mask(torch.empty(1000, 4000), rate)
    dropped = (mask == 0).double().view(-1, 4).mean(0)
    # A million draws a lane: five standard deviations are at most 0.0025.
    assert torch.allclose(dropped, torch.full((4,), rate, dtype=torch.float64), atol=0.0025)
    assert mask.unique().numel() == 2
    assert mask.max().item() == pytest.approx(1 / (1 - rate), rel=1e-4)
    assert mask.double().mean().item() == pytest.approx(1.0, abs=0.01)


def test_neighbours_are_independent() -> None:
    torch.manual_seed(1)
    kept = (keep_mask(torch.empty(1_000_000), 0.5) > 0).double()
    for distance in range(1, 9):
        together = (kept[:-distance] * kept[distance:]).mean().item()
        assert together == pytest.approx(0.25, abs=0.0025), distance


@pytest.mark.parametrize("shape", [(7,), (3, 5, 2), (0,)])
def test_any_shape_and_the_gradient_is_the_mask(shape: tuple[int, ...]) -> None:
    dropout = LaneDropout(0.5)
    x = torch.ones(shape, requires_grad=True)
    out = dropout(x)
    out.sum().backward()
    assert out.shape == x.shape
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


def test_the_same_seed_drops_the_same() -> None:
    dropout, x = LaneDropout(0.3), torch.ones(50, 50)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(dropout(x))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_type_is_kept_under_autocast() -> None:
    assert LaneDropout(0.1)(torch.ones(8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_nothing_is_dropped_outside_of_training_unless_it_is_asked_for() -> None:
    dropout, x = LaneDropout(0.5), torch.ones(1000)
    dropout.eval()
    assert dropout(x) is x
    dropout.apply_during_inference = True
    assert (dropout(x) == 0).any()


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_none_and_all_are_fairseqs(rate: float, expected: float) -> None:
    assert torch.equal(LaneDropout(rate)(torch.ones(9)), torch.full((9,), expected))


def test_every_dropout_of_a_model_is_replaced_with_its_rate() -> None:
    model = nn.Sequential(nn.Linear(2, 2), FairseqDropout(0.1, "first"), nn.Sequential(FairseqDropout(0.2)))
    before = model.state_dict().keys()
    use_lane_dropout(model)
    found = [module for module in model.modules() if isinstance(module, FairseqDropout)]
    assert [(type(module), module.p, module.module_name) for module in found] == [
        (LaneDropout, 0.1, "first"),
        (LaneDropout, 0.2, None),
    ]
    assert model.state_dict().keys() == before
