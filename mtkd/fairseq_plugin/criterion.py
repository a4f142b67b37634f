"""The criterion `word_kd`: (1 - lambda) * label-smoothed NLL + lambda * T^2 * KL, see `mtkd.distill.losses`.

What it owns: from fairseq's batch to rows of tokens and back to fairseq's (loss, sample_size, logging output).
In evaluation it is the label-smoothed NLL whatever lambda is, so that checkpoints of every lambda are chosen alike.
No `from __future__ import annotations` here: fairseq reads the dataclass's types at run time.
Shapes: B batch, T target length, N non-padding tokens, K kept entries, V vocabulary.
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

from mtkd.distill.losses import KD_LOSSES, SoftTargets, TokenLosses, word_kd
from mtkd.errors import UsageError


@dataclass
class WordKDCriterionConfig(FairseqDataclass):  # type: ignore[misc]
    """Arguments of the criterion."""

    label_smoothing: float = field(default=0.0, metadata={"help": "epsilon of the NLL term; never touches the KL"})
    kd_weight: float = field(default=0.0, metadata={"help": "lambda in [0, 1]; 0 is ordinary training"})
    kd_loss: ChoiceEnum(list(KD_LOSSES)) = field(  # type: ignore[valid-type]
        default="forward_kl", metadata={"help": "divergence between teacher and student"}
    )
    sentence_avg: bool = II("optimization.sentence_avg")


@register_criterion("word_kd", dataclass=WordKDCriterionConfig)
class WordKDCriterion(FairseqCriterion):  # type: ignore[misc]
    """Word-level distillation from stored soft targets."""

    def __init__(self, task: Any, sentence_avg: bool, label_smoothing: float, kd_weight: float, kd_loss: str) -> None:
        super().__init__(task)
        if not 0.0 <= kd_weight <= 1.0:
            raise UsageError(f"--kd-weight {kd_weight}: lambda lies between 0 and 1")
        self.sentence_avg = sentence_avg
        self.epsilon = label_smoothing
        self.kd_weight = kd_weight
        self.divergence = KD_LOSSES[kd_loss]
        self.temperature = getattr(task.cfg, "kd_temperature", 1.0)
        self.domains: list[str] = getattr(task, "domains", [])

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, Any, dict[str, Any]]:
        """Loss summed over the batch's tokens, its denominator, and sums for the log (every rank logs every key)."""
        logits_BTV = model(**sample["net_input"])[0]
        target_BT = sample["target"]
        mask_BT = target_BT.ne(self.padding_idx)
        soft = self._soft_targets(sample, mask_BT, logits_BTV.size(-1)) if model.training else None
        losses = word_kd(
            # index_select, not a boolean mask: the mask's backward sorts and costs a tenth of a small model's step.
            logits_BTV.flatten(0, 1).index_select(0, mask_BT.flatten().nonzero().squeeze(1)),
            target_BT[mask_BT],
            soft,
            kd_weight=self.kd_weight,
            temperature=self.temperature,
            epsilon=self.epsilon,
            divergence=self.divergence,
        )
        sample_size = target_BT.size(0) if self.sentence_avg else sample["ntokens"]
        loss = losses.loss_N.sum()
        log = {
            "loss": loss.detach(),
            "nll_loss": losses.nll_N.detach().sum(),
            "kd_loss": loss.new_zeros(()) if losses.kd_N is None else losses.kd_N.detach().sum(),
            "soft_tokens": 0 if soft is None else soft.known_N.sum(),
            "ntokens": sample["ntokens"],
            "nsentences": target_BT.size(0),
            "sample_size": sample_size,
            **self._per_domain(sample, mask_BT, losses),
        }
        return loss, sample_size, log

    def _soft_targets(self, sample: dict[str, Any], mask_BT: Tensor, vocab_size: int) -> SoftTargets | None:
        stored = sample.get("soft_targets")
        if stored is None or self.kd_weight == 0.0:
            return None
        whole = stored["ids"].size(-1) == vocab_size
        return SoftTargets(
            ids_NK=stored["ids"][mask_BT],
            log_probs_NK=stored["log_probs"][mask_BT],
            log_tail_N=None if whole else stored["log_tail"][mask_BT],
            known_N=stored["known"][:, None].expand_as(mask_BT)[mask_BT],
        )

    def _per_domain(self, sample: dict[str, Any], mask_BT: Tensor, losses: TokenLosses) -> dict[str, Tensor]:
        """NLL and token count of each domain, zeros included."""
        if "domain" not in sample:
            return {}
        domain_N = sample["domain"][:, None].expand_as(mask_BT)[mask_BT]
        count = len(self.domains)
        nll = torch.zeros(count, dtype=losses.nll_N.dtype, device=domain_N.device)
        nll.index_add_(0, domain_N, losses.nll_N.detach())
        tokens = torch.bincount(domain_N, minlength=count)
        return {
            f"{kind}.{name}": values[i]
            for kind, values in (("nll", nll), ("tokens", tokens))
            for i, name in enumerate(self.domains)
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
