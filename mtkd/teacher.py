"""Teacher-forced passes over a binarised split: what one or several teachers believe about every target token.

What it owns: running fairseq models over rows, in batches of their own order, and giving back rows as they were asked
for. What it must not know: recipes, the student, which rule chose the teachers. Why eval mode and float32: the beliefs
are data, made once, and must not depend on dropout or on how a batch was composed.
Shapes: B batch, T target length, N tokens, D width, K kept entries, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.tasks.translation import load_langpair_dataset
from torch import Tensor

from mtkd import fairseq_model
from mtkd.bundle import sha256_of
from mtkd.distill import beliefs
from mtkd.distill.beliefs import Beliefs, Head
from mtkd.distill.topk import TeacherRows
from mtkd.errors import CheckpointError
from mtkd.fairseq_plugin.projection import teachers_projection

TOKENS_PER_BATCH = 4096
"""Padded tokens of the longer side."""
FLOAT16_MIN = float(np.finfo(np.float16).min)
LARGEST_TOP_K = 1024
"""The largest `distill.top_k` of a recipe: further than that no coverage is measured."""


class DenseFigures(NamedTuple):
    """What only the dense softmax can tell; means over tokens."""

    fidelity: float
    """KL(dense || stored) in nats."""
    coverage_by_k: dict[int, float]
    """Probability that the k likeliest entries hold, k = 1, 2, 4 ... LARGEST_TOP_K, as far as V goes."""


class Batch(NamedTuple):
    """Some rows, side by side, as every teacher sees them before its output projection."""

    rows: list[int]
    lengths: list[int]
    """Target tokens of each row, end-of-sentence included."""
    heads: list[Head]
    target_N: Tensor


class TeacherPass:
    """One or several teachers over the train split of one binarised corpus."""

    def __init__(
        self,
        models: Mapping[str, Path],
        weights: Mapping[str, float],
        data: Path,
        dictionary: Path,
        source_lang: str,
        target_lang: str,
    ) -> None:
        """Load the models that `weights` names, and the rows; `data` is a corpus' fairseq-preprocess folder.

        Raises:
            CheckpointError: as `fairseq_model.load_model`, or a model whose logits are not one matrix product.
        """
        assert abs(sum(weights.values()) - 1.0) < 1e-6, f"weights {dict(weights)} do not sum to 1"
        self.vocabulary = Dictionary.load(str(dictionary))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.weights = dict(weights)
        self.digests = {name: sha256_of(models[name]) for name in weights}
        self.models = {name: self._load(models[name], source_lang, target_lang) for name in weights}
        self.rows = load_rows(data, "train", self.vocabulary, source_lang, target_lang)

    def _load(self, path: Path, source_lang: str, target_lang: str) -> Any:
        model = fairseq_model.load_model(path, self.vocabulary, source_lang, target_lang).to(self.device)
        teachers_projection(model, path)
        return model

    @torch.no_grad()
    def forward(self, rows: Sequence[int]) -> Iterator[Batch]:
        """These rows in batches, longest first, run through every teacher up to its output projection."""
        for batch in batches(self.rows, rows):
            net_input = {name: value.to(self.device) for name, value in batch["net_input"].items()}
            target = batch["target"].to(self.device).flatten()
            wanted = target.ne(self.vocabulary.pad()).nonzero().squeeze(1)
            heads = []
            for name, model in self.models.items():
                features_BTD = model(**net_input, features_only=True, return_all_hiddens=False)[0]
                projection = model.decoder.output_projection
                features_ND = features_BTD.flatten(0, 1).index_select(0, wanted)
                heads.append(Head(features_ND, projection.weight, projection.bias, self.weights[name]))
            lengths = batch["target"].ne(self.vocabulary.pad()).sum(1).tolist()
            yield Batch(batch["id"].tolist(), lengths, heads, target.index_select(0, wanted))

    @torch.no_grad()
    def believe(self, rows: Sequence[int], top_k: int, temperatures: Sequence[float]) -> TeacherRows:
        """What a store keeps of all target tokens of these rows, one after the other as asked for.

        Several teachers are mixed at the one temperature there must be, see `beliefs.reduce_mixture`.

        Raises:
            CheckpointError: a teacher whose output is not a number.
        """
        lengths = self.rows.tgt_sizes[list(rows)].astype(np.int64)
        starts = dict(zip(rows, np.cumsum(lengths) - lengths, strict=True))
        tokens = int(lengths.sum())
        kept = TeacherRows(
            np.empty((tokens, top_k), np.uint32),
            np.empty((tokens, top_k), np.float16),
            np.empty((tokens, len(temperatures)), np.float16),
            np.empty(tokens, np.float16),
        )
        for batch in self.forward(rows):
            found = beliefs.believe(batch.heads, batch.target_N, top_k, temperatures)
            if found.log_probs_NK.isnan().any():
                named = ", ".join(f"{name} (sha256 {digest[:8]})" for name, digest in self.digests.items())
                raise CheckpointError(f"teacher {named}: its output is not a number; it diverged, train it anew")
            spans = [np.arange(starts[row], starts[row] + n) for row, n in zip(batch.rows, batch.lengths, strict=True)]
            places = np.concatenate(spans)
            for array, values in zip(kept, _rounded(found, has_tail=top_k < len(self.vocabulary)), strict=True):
                array[places] = values
        return kept

    @torch.no_grad()
    def dense_figures(self, rows: Sequence[int], top_k: int, temperature: float) -> DenseFigures:
        """Fidelity and coverage of the teachers' (mixed) softmax at this temperature over the tokens of these rows."""
        vocab_size = len(self.vocabulary)
        counts = [2**power for power in range(LARGEST_TOP_K.bit_length()) if 2**power <= vocab_size]
        nats, tokens, covered = 0.0, 0, torch.zeros(len(counts), dtype=torch.float64)
        for batch in self.forward(rows):
            for _, probs_CV in beliefs.mixture(batch.heads, temperature):
                cumulated = probs_CV.topk(counts[-1]).values.cumsum(1).sum(0, dtype=torch.float64).cpu()
                covered += cumulated[[count - 1 for count in counts]]
                nats += float(beliefs.fidelity(probs_CV, top_k).sum(dtype=torch.float64))
                tokens += len(probs_CV)
        return DenseFigures(nats / tokens, dict(zip(counts, (covered / tokens).tolist(), strict=True)))


def load_rows(
    data: Path, split: str, vocabulary: Dictionary, source_lang: str, target_lang: str
) -> LanguagePairDataset:
    """One split of a fairseq-preprocess folder, rows in the order of its text."""
    return load_langpair_dataset(
        str(data),
        split,
        source_lang,
        vocabulary,
        target_lang,
        vocabulary,
        combine=False,
        dataset_impl=None,
        upsample_primary=1,
        left_pad_source=True,
        left_pad_target=False,
        max_source_positions=1024,
        max_target_positions=1024,
        shuffle=False,
    )


def batches(rows: LanguagePairDataset, wanted: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Collated batches of these rows, longest first, each of at most TOKENS_PER_BATCH padded tokens."""
    order = sorted(wanted, key=rows.num_tokens, reverse=True)
    while order:
        size = max(1, TOKENS_PER_BATCH // int(rows.num_tokens(order[0])))
        yield rows.collater([rows[row] for row in order[:size]])
        order = order[size:]


def _rounded(found: Beliefs, *, has_tail: bool) -> TeacherRows:
    """float16 as stored; a finite floor keeps 0 * log 0 out of the loss (the tail is a true -inf where k = V)."""
    ids, log_probs, log_tails, reference = (values.cpu().numpy() for values in found)
    return TeacherRows(
        ids,
        np.maximum(log_probs, FLOAT16_MIN).astype(np.float16),
        (np.maximum(log_tails, FLOAT16_MIN) if has_tail else log_tails).astype(np.float16),
        np.maximum(reference, FLOAT16_MIN).astype(np.float16),
    )
