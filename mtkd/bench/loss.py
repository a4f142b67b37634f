"""`python -m mtkd.bench.loss SETTINGS`: forward and backward of one loss, from the decoder's features to the gradients.

What it owns: the variants that `mtkd bench loss` compares. Every one takes features and the output projection and
leaves gradients in both. On a GPU the matrix products are in bfloat16, by autocast, for all of them.
Shapes: N tokens, C tokens of a chunk, K kept entries, V vocabulary, D width.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss
from fairseq.utils import log_softmax
from torch import Tensor
from torch.nn import functional

from mtkd.bench.answer import Conversation, answer_rounds
from mtkd.distill.fused import chunk_rows, fused_word_kd
from mtkd.distill.losses import Objective, SoftTargets, word_kd

EPSILON = 0.1
KD_WEIGHT = 0.5
PAD = 1
"""fairseq's padding index; no token here is one."""
SEED = 1


@dataclass(frozen=True)
class Sizes:
    """Tokens of a batch, vocabulary, width of the features, entries kept of a teacher."""

    tokens: int
    vocab: int
    width: int
    top_k: int


class Inputs:
    """Random features, projection and references; a teacher's rows only for who asks for them."""

    def __init__(self, sizes: Sizes, device: str) -> None:
        self.sizes = sizes
        self.device = device
        self._random = torch.Generator(device).manual_seed(SEED)
        self.features_ND = self._normal(sizes.tokens, sizes.width).requires_grad_()
        self.weight_VD = (self._normal(sizes.vocab, sizes.width) / math.sqrt(sizes.width)).requires_grad_()
        self.target_N = torch.randint(PAD + 1, sizes.vocab, (sizes.tokens,), generator=self._random, device=device)
        self.kd_weight_N = torch.full((sizes.tokens,), KD_WEIGHT, device=device)

    def teacher(self) -> tuple[Tensor, Tensor]:
        """Another model's features and projection."""
        sizes = self.sizes
        return self._normal(sizes.tokens, sizes.width), self._normal(sizes.vocab, sizes.width) / sizes.width**0.5

    def soft_targets(self) -> SoftTargets:
        """The k likeliest entries of a teacher, and a tail that holds what a weak one leaves in it."""
        sizes = self.sizes
        first_N1 = torch.randint(sizes.vocab, (sizes.tokens, 1), generator=self._random, device=self.device)
        step = sizes.vocab // sizes.top_k
        ids_NK = (first_N1 + step * torch.arange(sizes.top_k, device=self.device)) % sizes.vocab
        scores_NK = self._normal(sizes.tokens, sizes.top_k).sort(descending=True).values
        log_tail_N = torch.full((sizes.tokens,), math.log(0.3), device=self.device)
        return SoftTargets(ids_NK, scores_NK.log_softmax(-1) + math.log(0.7), log_tail_N)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._random, device=self.device)


Step = Callable[[], Tensor | None]
"""Forward, returning the summed loss to be differentiated; or all the work, returning nothing."""


def stock(inputs: Inputs) -> Step:
    """fairseq's label_smoothed_cross_entropy, in the words of its criterion and decoder."""

    def step() -> Tensor:
        logits_NV = functional.linear(inputs.features_ND, inputs.weight_VD)
        log_q_NV = log_softmax(logits_NV, dim=-1)
        loss: Tensor = label_smoothed_nll_loss(log_q_NV, inputs.target_N, EPSILON, ignore_index=PAD)[0]
        return loss

    return step


def plain(inputs: Inputs) -> Step:
    """Our loss on whole logits."""
    soft, objective = inputs.soft_targets(), Objective(epsilon=EPSILON)

    def step() -> Tensor:
        logits_NV = functional.linear(inputs.features_ND, inputs.weight_VD)
        return word_kd(logits_NV, inputs.target_N, objective, soft, inputs.kd_weight_N).loss_N.sum()

    return step


def dense(inputs: Inputs) -> Step:
    """Distillation from a teacher's whole distribution, its output projection computed on the way."""
    teacher_ND, teacher_VD = inputs.teacher()

    def step() -> Tensor:
        log_q_NV = log_softmax(functional.linear(inputs.features_ND, inputs.weight_VD), dim=-1)
        with torch.no_grad():
            log_p_NV = log_softmax(functional.linear(teacher_ND, teacher_VD), dim=-1)
        nll: Tensor = label_smoothed_nll_loss(log_q_NV, inputs.target_N, EPSILON, ignore_index=PAD)[0]
        kl = functional.kl_div(log_q_NV, log_p_NV, reduction="sum", log_target=True)
        return (1.0 - KD_WEIGHT) * nll + KD_WEIGHT * kl

    return step


def fused(inputs: Inputs) -> Step:
    """Our loss fused with the projection, in chunks."""
    soft, objective = inputs.soft_targets(), Objective(epsilon=EPSILON)

    def step() -> Tensor:
        loss, _ = fused_word_kd(
            inputs.features_ND, inputs.weight_VD, inputs.target_N, objective, soft, inputs.kd_weight_N
        )
        return loss

    return step


def floor(inputs: Inputs) -> Step:
    """Only the three matrix products that nothing can do without, 6 N D V operations, in chunks as the fused loss."""
    products = torch.bfloat16 if inputs.device == "cuda" else torch.float32
    features_ND = inputs.features_ND.detach().to(products)
    weight_VD = inputs.weight_VD.detach().to(products)
    rows = chunk_rows(len(weight_VD), inputs.device)
    logits_CV = torch.empty(min(rows, len(features_ND)), len(weight_VD), dtype=products, device=inputs.device)
    by_features_ND, by_weight_VD = torch.empty_like(features_ND), torch.empty_like(weight_VD)

    def step() -> None:
        by_weight_VD.zero_()
        for start in range(0, len(features_ND), rows):
            features_CD = features_ND[start : start + rows]
            chunk_CV = logits_CV[: len(features_CD)]
            torch.mm(features_CD, weight_VD.t(), out=chunk_CV)
            torch.mm(chunk_CV, weight_VD, out=by_features_ND[start : start + rows])
            torch.addmm(by_weight_VD, chunk_CV.t(), features_CD, out=by_weight_VD)

    return step


VARIANTS: dict[str, Callable[[Inputs], Step]] = {
    "stock": stock,
    "plain": plain,
    "dense": dense,
    "fused": fused,
    "floor": floor,
}
"""What can be measured, by name; `stock` is what the others are compared with."""


def main() -> None:
    """Measure the variant that the settings name."""
    settings = json.loads(sys.argv[1])
    conversation = Conversation()
    device = conversation.device
    inputs = Inputs(Sizes(**settings["sizes"]), device)
    step = VARIANTS[settings["variant"]](inputs)
    losses: list[Tensor] = []

    def work() -> int:
        inputs.features_ND.grad = inputs.weight_VD.grad = None
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            loss = step()
        if loss is not None:
            loss.backward()  # type: ignore[no-untyped-call]
            losses[:] = [loss.detach()]
        return inputs.sizes.tokens

    answer_rounds(conversation, work)
    conversation.finish(loss=losses[0].item() / inputs.sizes.tokens if losses else None)


if __name__ == "__main__":
    main()
