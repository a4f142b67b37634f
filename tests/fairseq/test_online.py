"""Teachers that run beside the student: the numbers of a store with k = V, and no trace of them in checkpoints.

Shapes: B batch, T target length, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fairseq import utils
from fairseq.data import Dictionary
from torch import Tensor

from mtkd import fairseq_model
from mtkd.distill import fused
from tests.fairseq.live_teachers import MIXED, captured, online
from tests.fairseq.micro_task import (
    DOMAINS,
    batch_of,
    criterion,
    distance,
    largest_tensor,
    loss_and_gradients,
    make_task,
)


@pytest.fixture(scope="module")
def student(micro, trained):
    """A student that is neither of the teachers."""
    model = fairseq_model.load_model(trained.checkpoint, Dictionary.load(str(micro.dictionary)), "en", "de")
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_online_teachers_equal_a_store_with_every_symbol(
    micro, teachers, student, tmp_path: Path, temperature: float
) -> None:
    """One teacher, a mix of two and none, in one batch; the store holds float16."""
    stores = captured(micro, teachers, MIXED, tmp_path, top_k=10**6, temperature=temperature)
    found = []
    for source in ({"soft_targets": stores}, {"online_teachers": online(MIXED, teachers)}):
        task = make_task(micro, kd_temperature=temperature, **source)
        sample = batch_of(task)
        assert set(sample["corpus"].tolist()) == {0, 1, 2}
        assert ("soft_targets" in sample) == ("soft_targets" in source)
        found.append(loss_and_gradients(criterion(task, 0.7), student, sample))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4)
    assert distance(found[1][1], found[0][1]) < 3e-4


def dense_kd(micro, teachers: dict[str, Path], sample, logits_BTV: Tensor, temperature: float) -> float:
    """sum of T^2 KL(sum_j w_j p_j^T || q^T) over the tokens that have teachers, in float64, from separate models."""
    dictionary = Dictionary.load(str(micro.dictionary))
    models = {name: fairseq_model.load_model(path, dictionary, "en", "de").double() for name, path in teachers.items()}
    with torch.no_grad():
        p = {
            name: (model(**sample["net_input"])[0].double() / temperature).softmax(-1) for name, model in models.items()
        }
    log_q_BTV = (logits_BTV.double() / temperature).log_softmax(-1)
    total = 0.0
    for row, corpus in enumerate(sample["corpus"].tolist()):
        if (of := MIXED.get(DOMAINS[corpus])) is not None:
            real = sample["target"][row].ne(dictionary.pad())
            mixed_TV = sum(share * p[name][row][real] for name, share in of.items())
            kl_T = (mixed_TV * (mixed_TV.log() - log_q_BTV[row][real])).sum(-1)
            total += temperature**2 * float(kl_T.sum())
    return total


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_online_loss_is_the_divergence_from_the_dense_mixture(
    micro, teachers, student, temperature: float, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(micro, kd_temperature=temperature, online_teachers=online(MIXED, teachers))
    # Several chunks, with tokens of several corpora in each.
    monkeypatch.setitem(fused.CHUNK_ENTRIES, "cpu", 50 * len(task.tgt_dict))
    sample = batch_of(task)
    student.train()
    torch.manual_seed(0)
    _, _, log = criterion(task, 0.7, plain=plain)(student, sample)
    torch.manual_seed(0)
    with torch.no_grad():
        logits_BTV = student(**sample["net_input"])[0]
    taught = sample["corpus"].ne(DOMAINS.index("river"))
    assert log["kd_loss"].item() == pytest.approx(dense_kd(micro, teachers, sample, logits_BTV, temperature), rel=1e-5)
    assert log["soft_tokens"] == sample["target"][taught].ne(task.tgt_dict.pad()).sum()


def test_plain_and_fused_have_the_same_gradient(micro, teachers, student) -> None:
    task = make_task(micro, online_teachers=online(MIXED, teachers))
    sample = batch_of(task)
    one, other = (loss_and_gradients(criterion(task, 0.7, plain=plain), student, sample) for plain in (True, False))
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    assert distance(one[1], other[1]) < 1e-4


def test_only_teachers_of_corpora_in_the_batch_run_and_each_once(micro, teachers, student) -> None:
    """Once, though `first` is believed on two corpora; on its own rows alone."""
    task = make_task(micro, online_teachers=online(MIXED, teachers))
    task.load_dataset("train")
    rows_read: dict[str, list[int]] = {}
    for name, path in teachers.items():

        def note(module, args, kwargs, name=name) -> None:
            rows_read.setdefault(name, []).append(len(kwargs["src_tokens"]))

        task.online.models[path].register_forward_pre_hook(note, with_kwargs=True)
    dataset = task.dataset("train")
    first_of = dict(zip(DOMAINS, dataset._starts.tolist(), strict=False))

    def run(*domains: str) -> dict[str, list[int]]:
        rows_read.clear()
        loss_and_gradients(criterion(task, 0.7), student, dataset.collater([dataset[first_of[d]] for d in domains]))
        return dict(rows_read)

    assert run("river") == {}
    assert run("bank", "river") == {"first": [1]}
    assert run("bank", "river", "court", "court") == {"first": [3], "second": [2]}
    rows_read.clear()
    student.eval()
    criterion(task, 0.7)(student, batch_of(task))
    assert rows_read == {}


def test_rows_without_teachers_learn_from_references_alone(micro, teachers, student) -> None:
    task = make_task(micro, online_teachers=online(MIXED, teachers))
    task.load_dataset("train")
    dataset = task.dataset("train")
    river = dataset.collater([dataset[int(dataset._starts[1]) + row] for row in range(3)])
    taught, untaught = (loss_and_gradients(criterion(task, weight), student, river) for weight in (0.7, 0.0))
    assert taught[0] == untaught[0]
    assert distance(taught[1], untaught[1]) == 0.0


def mapped_files(tensor: Tensor) -> str:
    """What the memory of a tensor is a mapping of, in Linux's words."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5) if len(line.split()) > 5 else [*line.split(), ""]
        begin, end = (int(part, 16) for part in span.split("-"))
        if begin <= tensor.data_ptr() < end:
            return name
    return ""


def test_teachers_are_in_eval_mode_and_stay_in_the_pages_of_their_files(micro, teachers, student) -> None:
    """All of several teachers need no more memory than is in use: the system can drop pages and read them again."""
    task = make_task(micro, online_teachers=online(MIXED, teachers))
    loss_and_gradients(criterion(task, 0.7), student, batch_of(task))
    for path, model in task.online.models.items():
        assert {mapped_files(parameter) for parameter in model.parameters()} == {str(path)}
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())


def test_teachers_make_no_tensor_of_all_tokens_and_symbols(
    micro, teachers, student, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(micro, online_teachers=online(MIXED, teachers))
    monkeypatch.setitem(fused.CHUNK_ENTRIES, "cpu", 20 * len(task.tgt_dict))
    sample = batch_of(task, every=2)
    assert largest_tensor(criterion(task, 0.7), student, sample) < 0.6 * sample["ntokens"] * len(task.tgt_dict)


def test_bf16_teachers_say_nearly_the_same(micro, teachers, student) -> None:
    found = []
    for switch in ("off", "on"):
        task = make_task(micro, online_teachers=online(MIXED, teachers), bf16_autocast=switch)
        sample = batch_of(task)
        heads = [
            head for _, live in task.online.soft_targets(sample, sample["target"].ne(1))[0].parts for head in live.heads
        ]
        found.append((heads[0].weight_VD.dtype, loss_and_gradients(criterion(task, 1.0), student, sample)))
    assert [number_format for number_format, _ in found] == [torch.float32, torch.bfloat16]
    exact, narrow = (outcome for _, outcome in found)
    assert narrow[0] != exact[0]
    assert narrow[0] == pytest.approx(exact[0], rel=0.01)
    assert distance(narrow[1], exact[1]) < 0.05


@pytest.mark.skipif(not torch.cuda.is_available(), reason="2026-11-21: needs a GPU, and CI has none")
def test_on_a_gpu_teachers_say_the_same_and_leave_nothing_behind(micro, teachers) -> None:
    task = make_task(micro, online_teachers=online(MIXED, teachers), bf16_autocast="auto")
    sample = batch_of(task)
    said = []
    for batch in (sample, utils.move_to_cuda(sample)):
        mask_BT = batch["target"].ne(task.tgt_dict.pad())
        before = torch.cuda.memory_allocated()
        soft, _ = task.online.soft_targets(batch, mask_BT)
        said.append(soft.rows(slice(0, sample["ntokens"])).log_probs_NK.log_softmax(-1).cpu())
        del soft
        assert torch.cuda.memory_allocated() == before
    assert (said[0].exp() * (said[0] - said[1])).sum(-1).mean() < 1e-3
