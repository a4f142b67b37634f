"""Several binarised corpora as one fairseq dataset, with soft targets joined to each batch.

What it owns: which row of which corpus a sample is, how often each corpus is seen, and fetching stored teacher rows by
`batch["id"]` *after* collation, because collation re-sorts the batch. What it must not know: losses.
Shapes: B batch, T target length, K kept entries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fairseq.data import FairseqDataset, LanguagePairDataset, PrependTokenDataset, data_utils

from mtkd.distill.topk import TopKStore
from mtkd.errors import UsageError

Ints = npt.NDArray[np.int64]
ORDERS = ("longer_side", "source")
"""What rows are sorted by. `source` is LanguagePairDataset's order, in which one corpus trains exactly as stock fairseq
trains it. But --max-tokens counts a batch's longest side: by `longer_side` batches hold more rows and less padding."""


@dataclass(frozen=True)
class DomainSampling:
    """How often each domain is seen: p_d ~ (weight_d * rows_d)^(1/temperature), over as many rows as there are."""

    weights: Mapping[str, float]
    temperature: float
    seed: int

    @property
    def natural(self) -> bool:
        """Whether an epoch is simply every row once."""
        return self.temperature == 1.0 and all(weight == 1.0 for weight in self.weights.values())

    def counts(self, rows: Mapping[str, int]) -> dict[str, int]:
        """Rows drawn from each domain in one epoch; they sum to about the number of rows there are."""
        sizes = np.array([self.weights.get(name, 1.0) * count for name, count in rows.items()])
        shares = sizes ** (1.0 / self.temperature)
        drawn = np.maximum(1, np.rint(shares / shares.sum() * sum(rows.values())).astype(int))
        return dict(zip(rows, drawn.tolist(), strict=True))

    def epoch_rows(self, rows: Mapping[str, int], epoch: int) -> Ints:
        """Global row numbers of one epoch: a function of (seed, epoch), so that a resumed run repeats it.

        Each domain is an endless sequence of permutations of its rows, read on from epoch to epoch: no row is seen a
        second time before every other one was seen once.
        """
        chosen = []
        first_row = 0
        for number, (name, drawn) in enumerate(self.counts(rows).items()):
            size = rows[name]
            begin = (epoch - 1) * drawn
            passes = range(begin // size, (begin + drawn - 1) // size + 1)
            stream = np.concatenate(
                [np.random.default_rng([self.seed, number, turn]).permutation(size) for turn in passes]
            )
            offset = begin - passes.start * size
            chosen.append(first_row + np.sort(stream[offset : offset + drawn]))
            first_row += size
        return np.concatenate(chosen)


def with_tag(corpus: LanguagePairDataset, symbol: str) -> LanguagePairDataset:
    """The corpus, every source of which begins with this symbol of its vocabulary (Kobus et al. 2017).

    Raises:
        UsageError: the vocabulary lacks the symbol.
    """
    index = corpus.src_dict.index(symbol)
    if index == corpus.src_dict.unk():
        raise UsageError(f"--tag-domains: the vocabulary has no {symbol}: let the run train one, or bring one with it")
    corpus.src = PrependTokenDataset(corpus.src, index)
    corpus.src_sizes = corpus.src.sizes
    corpus.sizes = np.stack([corpus.src_sizes, corpus.tgt_sizes], axis=1)
    return corpus


class MultiDomainDataset(FairseqDataset):  # type: ignore[misc]
    """The corpora one after another; sample ids are global row numbers, mapped back by `locate`."""

    def __init__(
        self,
        corpora: Mapping[str, LanguagePairDataset],
        *,
        stores: Mapping[str, TopKStore] | None = None,
        top_k: int = 0,
        temperature: float = 1.0,
        needs_tail: bool = True,
        sampling: DomainSampling | None = None,
        shuffle: bool = True,
        without_references: Collection[str] = (),
        loss_weights: Mapping[str, float] | None = None,
        order: str = "longer_side",
    ) -> None:
        """`corpora`, `stores` and the weights are by name; a name that is not in `stores` has no soft targets.

        `order` is one of `ORDERS`.
        """
        self.corpora = dict(corpora)
        self.names = list(corpora)
        self.stores = dict(stores or {})
        self.top_k = top_k or min((store.header.top_k for store in self.stores.values()), default=0)
        self.temperature = temperature
        self.needs_tail = needs_tail
        self.sampling = sampling
        self.shuffle = shuffle
        self.order = order
        self._rows_of = {name: len(corpus) for name, corpus in corpora.items()}
        self._starts = np.concatenate([[0], np.cumsum(list(self._rows_of.values()))]).astype(np.int64)
        self._source_sizes = np.concatenate([np.asarray(corpus.src_sizes) for corpus in corpora.values()])
        self._target_sizes = np.concatenate([np.asarray(corpus.tgt_sizes) for corpus in corpora.values()])
        self._rows: Ints = np.arange(self._starts[-1])
        self._has_reference = torch.tensor([name not in without_references for name in self.names])
        self._loss_weights = self._mean_one(loss_weights) if loss_weights else None

    def set_epoch(self, epoch: int) -> None:
        """Draw the rows of this epoch."""
        if self.sampling is not None and not self.sampling.natural:
            self._rows = self.sampling.epoch_rows(self._rows_of, epoch)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """Batches are built once when every epoch is every row, and anew for each epoch where rows are drawn."""
        return self.sampling is None or self.sampling.natural

    def locate(self, ids: npt.ArrayLike) -> tuple[Ints, Ints]:
        """(corpus number, row in that corpus) of global row numbers."""
        rows = np.asarray(ids, dtype=np.int64)
        corpus = np.searchsorted(self._starts, rows, side="right") - 1
        return corpus, rows - self._starts[corpus]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = int(self._rows[index])
        corpus, place = self.locate(row)
        sample: dict[str, Any] = self.corpora[self.names[int(corpus)]][int(place)]
        sample["id"] = row
        return sample

    def collater(self, samples: Sequence[dict[str, Any]], pad_to_length: Any = None) -> dict[str, Any]:
        """fairseq's batch with `corpus`, `has_reference`, perhaps `loss_weight` [B], and perhaps `soft_targets`."""
        batch: dict[str, Any] = self.corpora[self.names[0]].collater(list(samples), pad_to_length=pad_to_length)
        if not batch:
            return batch
        corpus_B, place_B = self.locate(batch["id"].numpy())
        batch["corpus"] = torch.from_numpy(corpus_B)
        batch["has_reference"] = self._has_reference[batch["corpus"]]
        if self._loss_weights is not None:
            batch["loss_weight"] = self._loss_weights[batch["corpus"]]
        if self.stores:
            batch["soft_targets"] = self._soft_targets(corpus_B, place_B, batch["target"].shape[1])
        return batch

    def _mean_one(self, weights: Mapping[str, float]) -> torch.Tensor:
        """Loss weights by corpus [C], scaled so that the mean over the tokens of an epoch is 1."""
        rows = np.array(list((self.sampling.counts(self._rows_of) if self.sampling else self._rows_of).values()))
        lengths = [np.asarray(corpus.tgt_sizes).mean() for corpus in self.corpora.values()]
        tokens = rows * np.array(lengths)
        wanted = np.array([weights.get(name, 1.0) for name in self.names])
        return torch.from_numpy(wanted * tokens.sum() / (wanted * tokens).sum()).float()

    def _soft_targets(self, corpus_B: Ints, place_B: Ints, length: int) -> dict[str, torch.Tensor]:
        """Stored rows [B, T, K] and [B, T]; `known` [B] is False for rows whose domain has no store.

        Log-probabilities stay float16 here: fairseq casts every float32 tensor of a batch under --fp16.
        """
        uniform = -float(np.log(self.top_k + 1.0))
        shape = (len(corpus_B), length)
        ids = torch.arange(self.top_k).expand(*shape, self.top_k).clone()
        log_probs = torch.full((*shape, self.top_k), uniform, dtype=torch.float16)
        log_tail = torch.full(shape, uniform, dtype=torch.float16)
        known = torch.zeros(shape[0], dtype=torch.bool)
        for number, name in enumerate(self.names):
            places = np.flatnonzero(corpus_B == number)
            if name not in self.stores or len(places) == 0:
                continue
            fetched = self.stores[name].fetch(
                place_B[places].tolist(),
                length=length,
                top_k=self.top_k,
                temperature=self.temperature,
                needs_tail=self.needs_tail,
            )
            ids[places] = torch.from_numpy(fetched.ids_BTK)
            log_probs[places] = torch.from_numpy(fetched.log_probs_BTK)
            log_tail[places] = torch.from_numpy(fetched.log_tail_BT)
            known[places] = True
        return {"ids": ids, "log_probs": log_probs, "log_tail": log_tail, "known": known}

    @property
    def sizes(self) -> npt.NDArray[np.integer[Any]]:
        """Source and target lengths [rows, 2] of this epoch's rows."""
        return np.stack([self._source_sizes[self._rows], self._target_sizes[self._rows]], axis=1)

    def size(self, index: int) -> tuple[int, int]:
        """Source and target length of one sample, for fairseq's length filter."""
        row = self._rows[index]
        return int(self._source_sizes[row]), int(self._target_sizes[row])

    def num_tokens(self, index: int) -> int:
        """The longer side of one sample, as LanguagePairDataset counts it for --max-tokens."""
        return max(self.size(index))

    def num_tokens_vec(self, indices: Ints) -> Ints:
        """`num_tokens` of many samples."""
        rows = self._rows[indices]
        longer: Ints = np.maximum(self._source_sizes[rows], self._target_sizes[rows])
        return longer

    def ordered_indices(self) -> Ints:
        """Samples by length, as `order` says; equal lengths in random order."""
        indices = np.random.permutation(len(self)).astype(np.int64) if self.shuffle else np.arange(len(self))
        source, target = self.sizes[indices].T
        if self.order == "source":
            return indices[np.lexsort((target, source))]
        longer = np.maximum(source, target)
        # Among equals from the longest target to the longest source, and at the next length back again: neighbours are
        # alike on both sides.
        lean = np.where(longer % 2 == 0, source - target, target - source)
        return indices[np.lexsort((lean, longer))]

    def filter_indices_by_size(self, indices: Ints, max_sizes: Any) -> tuple[Ints, list[int]]:
        """Drop samples longer than `max_sizes`; their stored rows keep their places."""
        kept: tuple[Ints, list[int]] = data_utils.filter_paired_dataset_indices_by_size(
            self._source_sizes[self._rows], self._target_sizes[self._rows], indices, max_sizes
        )
        return kept
