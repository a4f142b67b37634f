"""Stores of one and of several teachers over the micro text, against dense recomputation, and the step that makes them.

The dense way: float64, one sentence at a time, without a batch and without padding.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel

from mtkd import checkpoint, train
from mtkd.capture import capture, capture_report
from mtkd.context import StepContext
from mtkd.distill.topk import TopKStore
from mtkd.distill.weighting import WEIGHTING_RULES
from mtkd.errors import CheckpointError, UsageError
from mtkd.plan import build_plan
from mtkd.progress import Progress
from mtkd.recipe_file import load_recipe
from mtkd.recipe_text import GENERALIST
from mtkd.steps import captures
from mtkd.steps.files import CAPTURED, DATA, STORE
from mtkd.systems import teacher_node
from mtkd.teacher import TeacherPass
from mtkd.workspace import Workspace
from tests.toy import write_micro

HALVES = {GENERALIST: 0.5, "bank": 0.5}
SMALL_K = 4


@pytest.fixture(scope="module")
def models(trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two teachers that disagree, and a third that must never be opened."""
    folder = tmp_path_factory.mktemp("teachers")
    state = checkpoint.read(trained.checkpoint)
    generator = torch.Generator().manual_seed(1)
    for value in state["model"].values():
        if value.is_floating_point() and value.dim() > 1:
            value.add_(0.2 * value.std() * torch.randn(value.shape, generator=generator))
    checkpoint.write(state, folder / "generic.pt")
    return {"bank": trained.checkpoint, GENERALIST: folder / "generic.pt", "river": folder / "missing.pt"}


@dataclass(frozen=True)
class Case:
    """Which teachers are believed, and how their store is made."""

    weights: dict[str, float]
    temperatures: list[float]
    top_k: int = 8


CASES = [
    Case({"bank": 1.0}, [1.0]),
    Case({"bank": 1.0}, [1.0, 2.0]),
    Case({"bank": 1.0}, [1.0], 10_000),
    Case(HALVES, [1.0]),
    Case(HALVES, [2.0]),
    Case(HALVES, [2.0], 10_000),
]


def teacher_pass(micro, models: dict[str, Path], weights: dict[str, float]) -> TeacherPass:
    return TeacherPass(models, weights, micro.data / "bank", micro.dictionary, "en", "de")


def make(teacher: TeacherPass, path: Path, case: Case, progress: Progress | None = None) -> TopKStore:
    return capture(
        teacher,
        path,
        corpus="bank",
        rule="a_rule",
        top_k=case.top_k,
        temperatures=case.temperatures,
        progress=progress or Progress("capture"),
    )


def dense(teacher: TeacherPass, row: int, temperature: float) -> npt.NDArray[np.float64]:
    """Log of the (mixed) tempered softmax of each target token of a row."""
    sample = teacher.rows.collater([teacher.rows[row]])
    mixed = []
    for name, model in teacher.models.items():
        with torch.no_grad():
            logits = model(**sample["net_input"])[0][0].double() / temperature
        mixed.append(logits.log_softmax(-1).numpy() + np.log(teacher.weights[name]))
    return np.logaddexp.reduce(mixed, axis=0)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_store_holds_what_the_teachers_believe(micro, models, tmp_path: Path, case: Case) -> None:
    teacher = teacher_pass(micro, models, case.weights)
    store = make(teacher, tmp_path / "store", case)
    k = store.header.top_k
    assert k == min(case.top_k, len(teacher.vocabulary))
    # One teacher's log-probabilities are at T = 1; a mixture's are T times those at its own.
    of_row = 1.0 if len(case.weights) == 1 else case.temperatures[0]
    for row in (0, 7, len(teacher.rows) - 1):
        stored, log_p = store.row(row), dense(teacher, row, of_row)
        ids = stored.ids.astype(int)
        assert np.allclose(of_row * np.take_along_axis(log_p, ids, -1), stored.log_probs, rtol=2e-3, atol=2e-3)
        assert np.allclose(of_row * np.sort(log_p, -1)[:, : -k - 1 : -1], stored.log_probs, rtol=2e-3, atol=2e-3)
        reference = np.take_along_axis(log_p, teacher.rows.tgt[row].numpy()[:, None], -1)[:, 0]
        assert np.allclose(of_row * reference, stored.reference_log_probs, rtol=2e-3, atol=2e-3)
        outside = np.ones(log_p.shape, dtype=bool)
        np.put_along_axis(outside, ids, values=False, axis=-1)
        for column, temperature in enumerate(case.temperatures):
            tempered = log_p if len(case.weights) > 1 else log_p / temperature
            tail = np.logaddexp.reduce(np.where(outside, tempered, -np.inf), axis=-1)
            assert np.allclose(tail, stored.log_tails[:, column], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("case", [CASES[0], CASES[4], CASES[5]], ids=str)
def test_report_equals_dense_figures(micro, models, tmp_path: Path, monkeypatch, case: Case) -> None:
    monkeypatch.setattr("mtkd.capture.SAMPLED_ROWS", 10_000)
    monkeypatch.setattr("mtkd.capture.ROWS_PER_COMMIT", 37)
    teacher = teacher_pass(micro, models, case.weights)
    store = make(teacher, tmp_path / "store", case)
    report = capture_report(teacher, store)
    k, vocab_size = store.header.top_k, store.header.vocab_size
    rows = range(len(teacher.rows))
    p = np.exp(np.concatenate([dense(teacher, row, case.temperatures[0]) for row in rows]))
    order = np.argsort(-p, -1)
    sorted_p = np.take_along_axis(p, order, -1)
    targets = np.concatenate([teacher.rows.tgt[row].numpy() for row in rows])
    even = sorted_p[:, k:].mean(-1, keepdims=True) if k < vocab_size else 1.0
    expected = {
        "tokens": len(p),
        "coverage": sorted_p[:, :k].sum(-1).mean(),
        "tail_mass": sorted_p[:, k:].sum(-1).mean(),
        "top1_is_reference": (order[:, 0] == targets).mean(),
        "reference_in_top_k": (order[:, :k] == targets[:, None]).any(-1).mean(),
        "fidelity": (sorted_p[:, k:] * np.log(sorted_p[:, k:] / even)).sum(-1).mean(),
    }
    assert {figure: report[figure] for figure in expected} == pytest.approx(expected, abs=2e-3)
    covered = {str(2**n): sorted_p[:, : 2**n].sum(-1).mean() for n in range(9)}
    assert report["coverage_by_k"] == pytest.approx(covered, abs=1e-4)
    assert report["temperature"] == case.temperatures
    assert report["references"] == "given"
    assert report["teacher"] == ("bank" if len(case.weights) == 1 else "0.5 generic + 0.5 bank")


def test_bytes_a_token_are_those_on_disk(micro, models, tmp_path: Path) -> None:
    teacher = teacher_pass(micro, models, {"bank": 1.0})
    store = make(teacher, tmp_path / "store", CASES[0])
    report = capture_report(teacher, store)
    assert 36 < report["bytes_per_token"] <= 37
    on_disk = sum(file.stat().st_size - 128 for file in (tmp_path / "store").glob("*.npy"))
    assert report["bytes_per_token"] * report["tokens"] == pytest.approx(on_disk, rel=1e-6)


def test_a_mixture_of_one_teacher_is_that_teacher(micro, models, tmp_path: Path) -> None:
    twice = {"bank": models["bank"], "again": models["bank"]}
    alone = make(teacher_pass(micro, models, {"bank": 1.0}), tmp_path / "alone", CASES[0])
    mixed = make(teacher_pass(micro, twice, {"bank": 0.3, "again": 0.7}), tmp_path / "mixed", CASES[0])
    for row in (0, 5):
        for one, other in zip(alone.row(row)[1:], mixed.row(row)[1:], strict=True):
            assert np.allclose(one, other, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("case", [CASES[1], CASES[4]], ids=["one", "several"])
def test_killed_capture_continues_and_equals_an_uninterrupted_one(
    micro, models, tmp_path: Path, monkeypatch, case: Case
) -> None:
    monkeypatch.setattr("mtkd.capture.ROWS_PER_COMMIT", 30)
    teacher = teacher_pass(micro, models, case.weights)

    class Killed(Progress):
        def update(self, done: int, total: int, note: str = "") -> None:
            if done >= 60:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(teacher, tmp_path / "killed", case, Killed("killed"))
    assert not (tmp_path / "killed").exists()
    whole, resumed = make(teacher, tmp_path / "whole", case), make(teacher, tmp_path / "killed", case)
    assert whole.header == resumed.header
    assert len(whole.header.shards) > 2


def test_a_teacher_that_diverged_is_refused_by_name(micro, models, tmp_path: Path) -> None:
    state = checkpoint.read(models["bank"])
    state["model"]["decoder.layers.0.fc2.weight"] *= float("nan")
    checkpoint.write(state, tmp_path / "diverged.pt")
    teacher = teacher_pass(micro, {"bank": tmp_path / "diverged.pt"}, {"bank": 1.0})
    with pytest.raises(CheckpointError, match=r"teacher bank \(sha256 .*not a number"):
        make(teacher, tmp_path / "store", CASES[0])


def test_a_teacher_without_a_plain_softmax_is_refused(micro, models, tmp_path: Path) -> None:
    state, words = checkpoint.read(models["bank"]), Dictionary.load(str(micro.dictionary))
    shape = state["cfg"]["model"]
    shape.adaptive_softmax_cutoff = "100,200"
    shape.share_all_embeddings = shape.share_decoder_input_output_embed = False
    task = SimpleNamespace(source_dictionary=words, target_dictionary=words)
    state["model"] = TransformerModel.build_model(shape, task).state_dict()
    checkpoint.write(state, tmp_path / "adaptive.pt")
    with pytest.raises(CheckpointError, match=r"adaptive\.pt.*adaptive softmax"):
        teacher_pass(micro, {"bank": tmp_path / "adaptive.pt"}, {"bank": 1.0})


class Heard(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__("capture")
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def run_step(micro, models, root: Path, corpus: str, **distill: Any) -> tuple[TopKStore, dict[str, Any], list[str]]:
    """The step capture.<corpus>; of its parents only those that the plan names are there."""
    recipe = load_recipe(write_micro(root / "recipe", transfer_sentences=5))
    recipe = recipe.model_copy(update={"distill": recipe.distill.model_copy(update=distill)})
    plan = build_plan(recipe)
    workspace, node = Workspace(root / "run", plan), plan.nodes[f"capture.{corpus}"]
    for parent in node.parents:
        workspace.dir(parent).mkdir(parents=True)
    (workspace.dir("binarize") / DATA).symlink_to(micro.data)
    if "transfer.bank" in node.parents:
        (workspace.dir("transfer.bank") / DATA).mkdir()
        (workspace.dir("transfer.bank") / DATA / "bank_transfer").symlink_to(micro.data / "bank")
    for name in (GENERALIST, *recipe.domains):
        if teacher_node(recipe, name) in node.parents:
            trained = models["bank" if name != GENERALIST else name]
            shutil.copy(trained, workspace.dir(teacher_node(recipe, name)) / train.MODEL)
    context = StepContext(recipe, plan, workspace, node, 1, Heard())
    context.dir.mkdir(parents=True)
    captures.capture(context)
    report = json.loads((context.dir / CAPTURED).read_text(encoding="utf-8"))
    return TopKStore.open(context.dir / STORE), report, context.progress.warnings


@pytest.mark.parametrize("rule", WEIGHTING_RULES)
@pytest.mark.parametrize("corpus", ["bank", "bank_transfer"])
def test_step_runs_the_teachers_that_the_rule_names_and_no_other(
    micro, models, tmp_path: Path, rule: str, corpus: str
) -> None:
    store, report, _ = run_step(micro, models, tmp_path, corpus, weighting=rule, temperature=2.0, top_k=SMALL_K)
    named = WEIGHTING_RULES[rule]("bank", ["bank", "river", "court"])
    assert store.header.teachers.keys() == named.keys()
    assert store.header.corpus == report["corpus"] == corpus
    assert store.header.rule.startswith(rule)
    assert store.header.temperatures == ([1.0, 2.0] if len(named) == 1 else [2.0])
    assert report["references"] == ("given" if corpus == "bank" else "teacher")
    assert report["coverage"] + report["tail_mass"] == pytest.approx(1.0)


def test_step_warns_of_gates_that_will_stop_the_student(micro, models, tmp_path: Path) -> None:
    _, report, warnings = run_step(micro, models, tmp_path, "bank", top_k=1)
    assert report["top_k"] == 1
    assert warnings
    assert all(warning.startswith("bank: ") for warning in warnings)


def test_several_teachers_are_captured_at_one_temperature_at_a_time(micro, models, tmp_path: Path) -> None:
    captured = {"captured": load_recipe(write_micro(tmp_path / "recipe")).distill.captured}
    captured["captured"] = captured["captured"].model_copy(update={"temperatures": [2.0, 4.0]})
    with pytest.raises(UsageError, match="capture one temperature at a time"):
        run_step(micro, models, tmp_path, "bank", weighting="uniform", **captured)
