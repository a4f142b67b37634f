"""A checkpoint as a fairseq model, and as a stock fairseq checkpoint.

What it owns: building the model of a checkpoint, and rewriting a checkpoint so that it needs nothing of mtkd.
What it must not know: recipes, stores, CTranslate2.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterionConfig
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from omegaconf import OmegaConf

import mtkd.fairseq_plugin  # noqa: F401  registers task and criterion, and allows argparse.Namespace
from mtkd.checkpoint import read, vocabulary_rows, write, wrong_vocabulary
from mtkd.errors import CheckpointError
from mtkd.fairseq_plugin.config import MultiDomainTranslationConfig
from mtkd.fairseq_plugin.criterion import WordKDCriterionConfig


def load_model(path: Path, dictionary: Dictionary, source_lang: str, target_lang: str) -> Any:
    """The checkpoint's fairseq model in eval mode, built with this dictionary for both sides.

    Raises:
        CheckpointError: as `read`, or a model of another vocabulary.
    """
    rows = vocabulary_rows(path)
    if rows != len(dictionary):
        raise CheckpointError(wrong_vocabulary(path, rows, len(dictionary)))
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    config = state["cfg"] if state.get("cfg") is not None else convert_namespace_to_omegaconf(state["args"])
    task = TranslationTask(TranslationConfig(source_lang=source_lang, target_lang=target_lang), dictionary, dictionary)
    model = task.build_model(config.model, from_checkpoint=True)
    model.load_state_dict(state["model"], strict=True, model_cfg=config.model)
    return model.eval()


def to_stock(source: Path, target: Path, *, source_lang: str, target_lang: str) -> int:
    """Rewrite a checkpoint so that it names only fairseq's own task and criterion, in `cfg` and in `args`.

    The result loads where mtkd cannot be imported; it holds no optimiser state and no path of this machine.
    Returns the number of parameters.
    """
    state = read(source)
    shape = state["args"] if state.get("args") is not None else state["cfg"]["model"]
    arguments = dict(vars(shape) if isinstance(shape, argparse.Namespace) else shape)
    own = _names(MultiDomainTranslationConfig) - _names(TranslationConfig)
    own |= _names(WordKDCriterionConfig) - _names(LabelSmoothedCrossEntropyCriterionConfig)
    paths = {"data", "save_dir", "restore_file", "finetune_from_model", "user_dir", "tensorboard_logdir", "log_file"}
    kept = {name: value for name, value in arguments.items() if name not in own | paths}
    kept |= {"task": "translation", "criterion": "label_smoothed_cross_entropy", "optimizer": "adam"}
    kept |= {
        "source_lang": source_lang,
        "target_lang": target_lang,
        "data": "",
        "user_dir": None,
        "_name": arguments["arch"],
    }
    namespace = argparse.Namespace(**kept)
    config = OmegaConf.to_container(convert_namespace_to_omegaconf(namespace), resolve=False, enum_to_str=True)
    assert isinstance(config, dict)
    config["model"] = namespace
    config["task"] = _defaults(TranslationConfig, "translation", kept)
    config["criterion"] = _defaults(LabelSmoothedCrossEntropyCriterionConfig, "label_smoothed_cross_entropy", kept)
    write(
        {
            "args": namespace,
            "cfg": config,
            "model": state["model"],
            "optimizer_history": [
                {
                    "criterion_name": "LabelSmoothedCrossEntropyCriterion",
                    "optimizer_name": "FairseqAdam",
                    "lr_scheduler_state": {},
                    "num_updates": 0,
                }
            ],
            "extra_state": {"epoch": 0, "train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
            "task_state": {},
        },
        target,
    )
    tied = {tensor.data_ptr(): tensor.numel() for tensor in state["model"].values() if tensor.numel() > 1}
    return sum(tied.values())


def _names(config: type) -> set[str]:
    return {item.name for item in fields(config)}


def _defaults(config: type, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A component's plain configuration: its fields with this model's values, interpolations left to fairseq."""
    values: dict[str, Any] = {"_name": name}
    for item in fields(config):
        if item.name != "_name":
            value = arguments.get(item.name, item.default)
            values[item.name] = getattr(value, "value", value)
    return values
