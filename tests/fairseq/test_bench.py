"""What the benchmarks measure, and each of them end to end with the smallest sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from mtkd import cli, cli_bench
from mtkd.bench import benchmarks
from mtkd.bench.benchmarks import Session
from mtkd.bench.loss import EPSILON, KD_WEIGHT, VARIANTS, Inputs, Sizes
from mtkd.distill.losses import Objective, word_kd

SIZES = Sizes(tokens=50, vocab=300, width=16, top_k=4)
TIMES = {"seconds", "median_s", "ratio", "ratio_min", "ratio_max", "tokens_per_second"}
MEMORY = {"peak_bytes", "peak_ratio", "baseline_bytes"}


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Session.start("mtkd bench", device="cpu", rounds=1)


def differentiated(variant: str) -> tuple[torch.Tensor, Inputs]:
    inputs = Inputs(SIZES, "cpu")
    loss = VARIANTS[variant](inputs)()
    assert loss is not None
    loss.backward()
    return loss.detach(), inputs


def test_plain_and_fused_compute_the_same() -> None:
    (plain, by_plain), (fused, by_fused) = differentiated("plain"), differentiated("fused")
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(by_fused.features_ND.grad, by_plain.features_ND.grad)
    torch.testing.assert_close(by_fused.weight_VD.grad, by_plain.weight_VD.grad)


def test_stock_is_our_loss_without_soft_targets() -> None:
    loss, inputs = differentiated("stock")
    logits_NV = inputs.features_ND @ inputs.weight_VD.t()
    torch.testing.assert_close(loss, word_kd(logits_NV, inputs.target_N, Objective(epsilon=EPSILON)).loss_N.sum())


def test_dense_is_our_loss_with_every_entry_kept() -> None:
    from mtkd.distill.losses import SoftTargets

    loss, inputs = differentiated("dense")
    again = Inputs(SIZES, "cpu")
    teacher_ND, teacher_VD = again.teacher()
    soft = SoftTargets(None, (teacher_ND @ teacher_VD.t()).log_softmax(-1), None)
    logits_NV = inputs.features_ND @ inputs.weight_VD.t()
    kd_weight_N = torch.full((SIZES.tokens,), KD_WEIGHT)
    ours = word_kd(logits_NV, inputs.target_N, Objective(epsilon=EPSILON), soft, kd_weight_N)
    torch.testing.assert_close(loss, ours.loss_N.sum())


def test_floor_is_three_matrix_products() -> None:
    step = VARIANTS["floor"](Inputs(SIZES, "cpu"))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True) as profile:
        assert step() is None
    assert sum(event.flops for event in profile.events()) == 6 * SIZES.tokens * SIZES.width * SIZES.vocab


def test_bench_loss_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(benchmarks, "LOSSES", ("stock", "fused", "floor"))
    sizes = ["--vocab", "2000", "--tokens", "256", "--width", "32", "--device", "cpu"]
    output = tmp_path / "loss.json"
    result = CliRunner().invoke(cli.app, ["bench", "loss", *sizes, "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "of fused" in result.output
    found = json.loads(output.read_text(encoding="utf-8"))
    (comparison,) = found["results"]
    assert comparison["settings"] == {"vocab": 2000, "tokens": 256, "width": 32, "top_k": 8}
    assert comparison["floor"]["operations"] == 6 * 256 * 32 * 2000
    assert {"device", "cores", "threads", "torch", "cpu_capability"} <= set(found)
    for variant in ("stock", "fused"):
        figures = comparison["variants"][variant]
        assert set(figures) == TIMES | MEMORY | {"loss"}
        assert len(figures["seconds"]) == found["settings"]["rounds"] == 5
        assert figures["peak_bytes"] >= figures["baseline_bytes"]


@pytest.mark.proof
def test_bench_train_end_to_end(session: Session) -> None:
    found = benchmarks.train(session, preset="nano", vocab=2000, updates=4, max_tokens=300, tokens=1200, top_k=8)
    (result,) = found["results"]
    variants = result["variants"]
    assert list(variants) == ["stock", "student_lambda_0", "student"]
    assert result["dev_nll_difference"] < 0.01
    tokens = {name: figures["tokens_per_second"] * figures["median_s"] for name, figures in variants.items()}
    assert tokens["student_lambda_0"] == pytest.approx(tokens["stock"]), "the same batches"
    assert tokens["student"] != tokens["stock"], "sorted by the longer side"
    assert 2 * 100 < tokens["stock"] < 2 * 300
    assert variants["student"]["kd_loss"] > 0
    assert variants["student_lambda_0"]["kd_loss"] is None
    assert variants["student"]["dev_nll"] != variants["stock"]["dev_nll"]
    cli_bench._print_result(result)


@pytest.mark.proof
def test_bench_capture_end_to_end(session: Session) -> None:
    found = benchmarks.capture(session, preset="nano", vocab=2000, tokens=600, top_k=8)
    variants = found["results"][0]["variants"]
    assert list(variants) == ["forward", "capture"]
    tokens = [figures["tokens_per_second"] * figures["median_s"] for figures in variants.values()]
    assert tokens[0] == pytest.approx(tokens[1]), "the same rows"
    assert 600 <= tokens[0] < 750
