"""Task, stores, criterion and training on the micro text inside this process: importing fairseq costs seconds."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import checkpoint_utils, options
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli.train import main
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mtkd.corpus.subword import fingerprint
from mtkd.distill.store_writer import StoreWriter
from mtkd.distill.topk import StoreHeader, TeacherRows, TopKStore, targets_checksum
from mtkd.fairseq_plugin.criterion import WordKDCriterion
from mtkd.fairseq_plugin.task import MultiDomainTranslationConfig, MultiDomainTranslationTask
from mtkd.train import parse_log_line

DOMAINS = ["bank", "river", "court"]
K = 4


def make_task(micro, **changes: Any) -> MultiDomainTranslationTask:
    settings = {
        "data": str(micro.data),
        "source_lang": "en",
        "target_lang": "de",
        "domains": ",".join(DOMAINS),
        "train_subset": "train",
        "dataset_impl": None,
        "seed": 1,
        "fp16": False,
        "bf16_autocast": "off",
    }
    return MultiDomainTranslationTask.setup_task(MultiDomainTranslationConfig(**(settings | changes)))


def write_store(
    micro, corpus: str, path: Path, *, rows_of: str | None = None, change: Callable[[StoreHeader], dict] | None = None
) -> TopKStore:
    """A store whose likeliest id is the reference itself, so that a misplaced row shows.

    `rows_of` is the domain whose text the corpus is, if that is not its name.
    """
    dictionary = Dictionary.load(str(micro.dictionary))
    domain = rows_of or corpus
    loaded = make_task(micro, domains=domain)._load(micro.data / domain, "train")
    rows = [loaded.tgt[i].numpy() for i in range(len(loaded))]
    lengths = [len(row) for row in rows]
    header = {
        "corpus": corpus,
        "vocabulary": fingerprint(dictionary.symbols[dictionary.nspecial :]),
        "vocab_size": len(dictionary),
        "targets": targets_checksum(rows),
        "teachers": {domain: "d" * 64},
        "rule": "in_domain",
        "rows": len(rows),
        "tokens": sum(lengths),
        "top_k": K,
        "temperatures": [1.0],
    }
    header |= change(header) if change else {}
    writer = StoreWriter(path, StoreHeader(**header), lengths)
    tokens = np.concatenate(rows)
    ids = np.stack([tokens, *((tokens + n) % len(dictionary) for n in range(1, K))], axis=1).astype(np.uint16)
    log_probs = np.log(np.tile([0.5, 0.2, 0.1, 0.1], (len(tokens), 1))).astype(np.float16)
    tails = np.full((len(tokens), len(header["temperatures"])), np.log(0.1), dtype=np.float16)
    writer.append(len(rows), TeacherRows(ids, log_probs, tails, log_probs[:, 0]))
    return writer.finish()


def as_json(paths: Mapping[str, Path]) -> str:
    return json.dumps({name: str(path) for name, path in paths.items()})


def criterion(
    task: MultiDomainTranslationTask, kd_weight: float, *, kd_loss: str = "forward_kl", plain: bool = False
) -> WordKDCriterion:
    return WordKDCriterion(task, False, 0.1, kd_weight, kd_loss, plain)


def batch_of(task: MultiDomainTranslationTask, every: int = 17) -> dict[str, Any]:
    """Some rows of every corpus of the train split."""
    if "train" not in task.datasets:
        task.load_dataset("train")
    dataset = task.dataset("train")
    return dataset.collater([dataset[i] for i in range(0, len(dataset), every)])


def loss_and_gradients(
    criterion: WordKDCriterion, model: Any, sample: dict[str, Any]
) -> tuple[float, dict[str, Tensor]]:
    """The criterion's loss in training and its gradients by all parameters; dropout draws the same each time."""
    model.train()
    model.zero_grad()
    torch.manual_seed(0)
    loss, _, _ = criterion(model, sample)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def distance(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Relative distance of two sets of gradients or weights, all of a set together."""
    assert ours.keys() == theirs.keys()
    squares = [(((ours[name] - theirs[name]).double() ** 2).sum(), (theirs[name].double() ** 2).sum()) for name in ours]
    return float(torch.stack([part for part, _ in squares]).sum() / torch.stack([w for _, w in squares]).sum()) ** 0.5


class LargestTensor(TorchDispatchMode):
    """The most elements that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def largest_tensor(criterion: WordKDCriterion, model: Any, sample: dict[str, Any]) -> int:
    """Elements of the largest tensor that a training step makes."""
    with LargestTensor() as seen:
        loss_and_gradients(criterion, model, sample)
    return seen.elements


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"| {record.levelname} | {record.name} | {record.getMessage()}")


def train_here(argv: list[str]) -> list[dict[str, Any]]:
    """`fairseq-train`, less the process; the rows of its log."""
    handler = _Lines()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    # fairseq keeps the best score of a process on the function itself.
    vars(checkpoint_utils.save_checkpoint).clear()
    try:
        main(convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), argv)))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    rows = [parse_log_line(line) for line in handler.lines]
    return [row for row in rows if row is not None]
