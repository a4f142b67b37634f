"""The criterion `word_kd`: (1 - lambda) * label-smoothed NLL + lambda * T^2 * KL, see `mtkd.distill.losses`.

What it owns: from fairseq's batch to rows of tokens and back to fairseq's (loss, sample_size, logging output).
In evaluation it is the label-smoothed NLL whatever lambda is, so that checkpoints of every lambda are chosen alike.
No `from __future__ import annotations` here: fairseq reads the dataclass's types at run time.
Shapes: B batch, T target length, N non-padding tokens, K kept entries, V vocabulary, D width of the decoder.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics
from omegaconf import II
from torch import Tensor

from mtkd.distill.fused import SoftSource, fused_word_kd
from mtkd.distill.losses import KD_LOSSES, Objective, SoftTargets, TokenLosses, word_kd
from mtkd.errors import UsageError
from mtkd.fairseq_plugin.projection import output_projection


@dataclass
class WordKDCriterionConfig(FairseqDataclass):  # type: ignore[misc]
    """Arguments of the criterion."""

    label_smoothing: float = field(default=0.0, metadata={"help": "epsilon of the NLL term; never touches the KL"})
    kd_weight: float = field(default=0.0, metadata={"help": "lambda in [0, 1]; 0 is ordinary training"})
    kd_loss: ChoiceEnum(list(KD_LOSSES)) = field(  # type: ignore[valid-type]
        default="forward_kl", metadata={"help": "divergence between teacher and student"}
    )
    plain_loss: bool = field(
        default=False, metadata={"help": "compute the loss on whole logits instead of fused with the projection"}
    )
    sentence_avg: bool = II("optimization.sentence_avg")


@register_criterion("word_kd", dataclass=WordKDCriterionConfig)
class WordKDCriterion(FairseqCriterion):  # type: ignore[misc]
    """Word-level distillation from soft targets."""

    def __init__(
        self,
        task: Any,
        sentence_avg: bool,
        label_smoothing: float,
        kd_weight: float,
        kd_loss: str,
        plain_loss: bool = False,
    ) -> None:
        super().__init__(task)
        if not 0.0 <= kd_weight <= 1.0:
            raise UsageError(f"--kd-weight {kd_weight}: lambda lies between 0 and 1")
        self.sentence_avg = sentence_avg
        self.kd_weight = kd_weight
        # The task needs these two for the stores; under another task there are none.
        tail, temperature = getattr(task.cfg, "kd_tail", "bucket"), getattr(task.cfg, "kd_temperature", 1.0)
        self.objective = Objective(kd_loss, tail, temperature, label_smoothing)
        self.plain_loss = plain_loss
        self.corpora: list[str] = getattr(task, "corpora", [])
        self.transfer = bool(getattr(task, "transfer", {}))

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, Any, dict[str, Any]]:
        """Loss summed over the batch's tokens, its denominator, and sums for the log (every rank logs every key)."""
        target_BT = sample["target"]
        mask_BT = target_BT.ne(self.padding_idx)
        soft, kd_weight_N = self._soft_targets(sample, mask_BT) if model.training else (None, None)
        weight_B = sample.get("loss_weight") if model.training else None
        weight_N = None if weight_B is None else _by_token(weight_B, mask_BT)
        projection_VD = None if self.plain_loss else output_projection(model)
        outputs_BTX = model(**sample["net_input"], features_only=projection_VD is not None)[0]
        # index_select, not a boolean mask: the mask's backward sorts and costs a tenth of a small model's step.
        outputs_NX = outputs_BTX.flatten(0, 1).index_select(0, mask_BT.flatten().nonzero().squeeze(1))
        target_N = target_BT[mask_BT]
        if projection_VD is None:
            whole = None if soft is None else soft.rows(slice(0, len(target_N)))
            losses = word_kd(outputs_NX, target_N, self.objective, whole, kd_weight_N, weight_N)
            loss = losses.loss_N.sum()
        else:
            loss, losses = fused_word_kd(
                outputs_NX, projection_VD, target_N, self.objective, soft, kd_weight_N, weight_N
            )
        sample_size = target_BT.size(0) if self.sentence_avg else sample["ntokens"]
        log = {
            "loss": loss.detach(),
            "nll_loss": losses.nll_N.detach().sum(),
            "kd_loss": loss.new_zeros(()) if losses.kd_N is None else losses.kd_N.detach().sum(),
            "soft_tokens": 0 if kd_weight_N is None else (kd_weight_N > 0).sum(),
            "ntokens": sample["ntokens"],
            "nsentences": target_BT.size(0),
            "sample_size": sample_size,
            **self._per_corpus(sample, mask_BT, losses),
        }
        return loss, sample_size, log

    def _soft_targets(self, sample: dict[str, Any], mask_BT: Tensor) -> tuple[SoftSource | None, Tensor | None]:
        """The tokens' soft targets, and lambda by token: 0 where a row has none, 1 where it has no reference."""
        if self.kd_weight == 0.0 and not self.transfer:
            return None, None
        if (online := getattr(self.task, "online", None)) is not None:
            soft, known_B = online.soft_targets(sample, mask_BT)
        else:
            soft, known_B = self._stored(sample, mask_BT)
        if soft is None:
            return None, None
        weight_B = torch.where(sample["has_reference"], self.kd_weight, 1.0) * known_B
        return soft, _by_token(weight_B, mask_BT)

    def _stored(self, sample: dict[str, Any], mask_BT: Tensor) -> tuple[SoftTargets | None, Tensor | None]:
        """The rows that the dataset fetched for the tokens, and which rows of the batch have any."""
        stored = sample.get("soft_targets")
        if stored is None:
            return None, None
        whole = stored["ids"].size(-1) == len(self.task.target_dictionary)
        soft = SoftTargets(
            ids_NK=stored["ids"][mask_BT],
            log_probs_NK=stored["log_probs"][mask_BT],
            log_tail_N=None if whole else stored["log_tail"][mask_BT],
        )
        return soft, stored["known"]

    def _per_corpus(self, sample: dict[str, Any], mask_BT: Tensor, losses: TokenLosses) -> dict[str, Tensor]:
        """NLL and token count of each corpus, zeros included."""
        if "corpus" not in sample:
            return {}
        corpus_N = _by_token(sample["corpus"], mask_BT)
        count = len(self.corpora)
        nll = torch.zeros(count, dtype=losses.nll_N.dtype, device=corpus_N.device)
        nll.index_add_(0, corpus_N, losses.nll_N.detach())
        tokens = torch.bincount(corpus_N, minlength=count)
        return {
            f"{kind}.{name}": values[i]
            for kind, values in (("nll", nll), ("tokens", tokens))
            for i, name in enumerate(self.corpora)
        }

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Losses in bits a token, as fairseq logs them; `kd_loss` over the tokens that have soft targets."""

        def total(key: str) -> float:
            return float(sum(utils.item(log.get(key, 0)) for log in logging_outputs))

        def log_bits(name: str, value: str, weight: str) -> None:
            if total(weight) > 0:
                metrics.log_scalar(name, total(value) / total(weight) / math.log(2), total(weight), round=4)

        log_bits("loss", "loss", "sample_size")
        log_bits("nll_loss", "nll_loss", "ntokens")
        metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["nll_loss"].avg))
        log_bits("kd_loss", "kd_loss", "soft_tokens")
        for key in sorted({key for log in logging_outputs for key in log if key.startswith("nll.")}):
            name = key.removeprefix("nll.")
            log_bits(f"{name}_nll_loss", key, f"tokens.{name}")

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """All values are sums, so fairseq may add them up across workers."""
        return True


def _by_token(values_B: Tensor, mask_BT: Tensor) -> Tensor:
    """A value of each row as one of each of its tokens [N]."""
    return values_B[:, None].expand_as(mask_BT)[mask_BT]
