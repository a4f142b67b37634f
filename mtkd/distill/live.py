"""Soft targets of teachers that run beside the student: made for a chunk of tokens when the loss asks for it.

What it owns: from the teachers' features of a batch to dense soft targets of some of its tokens. What it must not know:
fairseq, how teachers are run. Why chunks: all tokens' softmaxes would be the N x V tensor that `fused.py` avoids.

Shapes: N tokens of a batch, M tokens of one corpus, C tokens of a chunk, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from mtkd.distill.beliefs import Head
from mtkd.distill.losses import SoftTargets


class LiveTeachers(NamedTuple):
    """What one or several teachers believe about the same M tokens; a `SoftSource`."""

    heads: Sequence[Head]
    temperature: float
    """T of the loss that asks."""

    def rows(self, span: slice) -> SoftTargets:
        """The dense mixture sum_j w_j softmax(z_j / T) of some of the tokens, as logits at T = 1.

        Each teacher is tempered before they are mixed, in probability space; T times the mixture's log, tempered by the
        loss, is the mixture again. One teacher's own logits serve as they are.
        """
        if len(self.heads) == 1:
            return SoftTargets(None, _logits(self.heads[0], span), None)
        log_parts = [
            _logits(head, span, self.temperature).log_softmax(-1).add_(math.log(head.share)) for head in self.heads
        ]
        return SoftTargets(None, reduce(torch.logaddexp, log_parts).mul_(self.temperature), None)


class Interleaved(NamedTuple):
    """The tokens of a batch of several corpora, each with the teachers of its own; a `SoftSource`."""

    vocab_size: int
    parts: Sequence[tuple[Tensor, LiveTeachers]]
    """The places [M] of a corpus' tokens in the batch, rising, and what is believed about them."""

    def rows(self, span: slice) -> SoftTargets:
        """Dense soft targets of some of the batch's tokens; a uniform filler for those of which nothing is believed."""
        first = self.parts[0][0]
        logits_CV = torch.zeros(span.stop - span.start, self.vocab_size, device=first.device)
        for place_M, teachers in self.parts:
            begin, end = torch.searchsorted(place_M, place_M.new_tensor([span.start, span.stop])).tolist()
            if begin < end:
                logits_CV[place_M[begin:end] - span.start] = teachers.rows(slice(begin, end)).log_probs_NK
        return SoftTargets(None, logits_CV, None)


def _logits(head: Head, span: slice, temperature: float = 1.0) -> Tensor:
    """A teacher's logits divided by T, in float32; the product is in the number format of its weight."""
    features_CD, bias_V = head.features_ND[span], head.bias_V
    if temperature != 1.0:
        features_CD, bias_V = features_CD / temperature, None if bias_V is None else bias_V / temperature
    return torch.nn.functional.linear(features_CD, head.weight_VD, bias_V).float()
