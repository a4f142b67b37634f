"""Arguments of the task `multi_domain_translation`, as fairseq's dataclass: names, defaults, help.

What it owns: the flags. What it must not know: what is done with them. No `from __future__ import annotations` here:
fairseq reads the dataclass's types at run time.
"""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum
from fairseq.tasks.translation import TranslationConfig
from omegaconf import II

from mtkd.distill.losses import TAILS
from mtkd.fairseq_plugin.dataset import ORDERS


@dataclass
class MultiDomainTranslationConfig(TranslationConfig):  # type: ignore[misc]
    """Arguments of the task, beside those of fairseq's `translation`."""

    domains: str = field(
        default="", metadata={"help": "comma-separated names of the domains, each a folder of DATA; required"}
    )
    sampling_weights: str = field(
        default="{}", metadata={"help": "JSON object domain -> weight; a domain not named has weight 1"}
    )
    sampling_temperature: float = field(
        default=1.0, metadata={"help": "p_d ~ (weight_d * rows_d)^(1/temperature); 1 = as the data is, large = equal"}
    )
    soft_targets: str = field(
        default="{}",
        metadata={
            "help": "JSON object domain -> top-k store (DOMAIN_transfer for its --transfer text); others: NLL alone"
        },
    )
    online_teachers: str = field(
        default="{}",
        metadata={
            "help": "JSON object domain -> {checkpoint: share}, shares summing to 1: teachers that are run beside the "
            "student, in place of --soft-targets"
        },
    )
    transfer: str = field(
        default="{}",
        metadata={"help": "JSON object domain -> folder of a train set without references; its rows have lambda = 1"},
    )
    translations: str = field(
        default="{}",
        metadata={
            "help": "JSON object domain -> folder of a train set with its teacher's translations, in place of its own"
        },
    )
    tag_domains: bool = field(
        default=False, metadata={"help": "begin every source with its domain's symbol, <dom:DOMAIN>"}
    )
    loss_weights: str = field(
        default="{}", metadata={"help": "JSON object domain -> weight of its tokens in the loss, scaled to mean 1"}
    )
    soft_targets_top_k: int = field(
        default=0, metadata={"help": "entries a token to use of the store; a smaller k folds the rest; 0 = all stored"}
    )
    kd_temperature: float = field(default=1.0, metadata={"help": "T of T^2 * KL; must have been captured"})
    kd_tail: ChoiceEnum(list(TAILS)) = field(  # type: ignore[valid-type]
        default="bucket", metadata={"help": "what is done with the teacher's mass outside the kept entries"}
    )
    batch_order: ChoiceEnum(list(ORDERS)) = field(  # type: ignore[valid-type]
        default="longer_side",
        metadata={"help": "sort rows by their longer side, for less padding, or by source, as fairseq does"},
    )
    bf16_autocast: ChoiceEnum(["auto", "on", "off"]) = field(  # type: ignore[valid-type]
        default="auto",
        metadata={"help": "bfloat16 autocast in forward; auto = where CPU (avx512_bf16, amx) or GPU is fast at it"},
    )
    seed: int = II("common.seed")
    fp16: bool = II("common.fp16")
