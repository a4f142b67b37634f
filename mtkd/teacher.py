"""Teacher-forced passes over a binarised split: what a teacher believes about every target token, into a top-k store.

What it owns: running a fairseq model over rows in dataset order and reducing its softmax to a store's rows.
What it must not know: recipes, the student. Why eval mode and float32: the beliefs are data, made once, and must not
depend on dropout or on how a batch was composed.
Shapes: B batch, T target length, N tokens, K kept entries, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.tasks.translation import load_langpair_dataset
from torch import Tensor

from mtkd import fairseq_model
from mtkd.bundle import sha256_of
from mtkd.corpus.subword import fingerprint
from mtkd.distill.topk import StoreHeader, StoreWriter, TeacherRows, TopKStore, targets_checksum
from mtkd.progress import Progress

ROWS_PER_COMMIT = 2000
"""Rows between two commits of a store: what a kill can cost."""
TOKENS_PER_BATCH = 4096
SAMPLED_ROWS = 200
"""Rows on which the fidelity, which needs the dense softmax, is measured."""
FLOAT16_MIN = float(np.finfo(np.float16).min)


class Beliefs(NamedTuple):
    """What is kept of the teacher's softmax for N tokens, still in float32; S temperatures."""

    ids_NK: Tensor
    log_probs_NK: Tensor
    log_tails_NS: Tensor
    reference_N: Tensor


def reduce_softmax(logits_NV: Tensor, target_N: Tensor, top_k: int, temperatures: Sequence[float]) -> Beliefs:
    """The k largest log-probabilities, and for each temperature the log of what all others sum to.

    The tail is summed over the excluded entries, never taken as 1 - sum(p).
    """
    logits_NV = logits_NV.float()
    log_total_N = logits_NV.logsumexp(-1)
    kept = logits_NV.topk(top_k, dim=-1)
    reference_N = logits_NV.gather(1, target_N[:, None]).squeeze(1) - log_total_N
    log_probs_NK = kept.values - log_total_N[:, None]
    if top_k == logits_NV.size(1):
        return Beliefs(
            kept.indices,
            log_probs_NK,
            log_probs_NK.new_full((len(target_N), len(temperatures)), -torch.inf),
            reference_N,
        )
    rest_NV = logits_NV.scatter(1, kept.indices, -torch.inf)
    tails = [(rest_NV / t if t != 1.0 else rest_NV).logsumexp(-1) - log_total_N / t for t in temperatures]
    return Beliefs(kept.indices, log_probs_NK, torch.stack(tails, dim=-1), reference_N)


def fidelity(logits_NV: Tensor, top_k: int) -> Tensor:
    """KL(dense || stored) in nats [N], the stored tail being spread evenly over what is not kept.

    sum_{j not in K} p_j log(p_j (V - k) / m): zero when nothing was lost by keeping only k entries.
    """
    log_p_NV = logits_NV.float().log_softmax(-1)
    excluded = log_p_NV.size(1) - top_k
    if excluded == 0:
        return log_p_NV.new_zeros(len(log_p_NV))
    rest_NV = log_p_NV.scatter(1, log_p_NV.topk(top_k, dim=-1).indices, -torch.inf)
    log_m_N = rest_NV.logsumexp(-1)
    spread_N: Tensor = log_m_N.exp() * (math.log(excluded) - log_m_N)
    entropy_N: Tensor = torch.special.entr(rest_NV.exp()).sum(-1)
    return spread_N - entropy_N


class TeacherPass:
    """One teacher over one binarised domain's train split."""

    def __init__(self, model: Path, data: Path, dictionary: Path, source_lang: str, target_lang: str) -> None:
        """Load model and rows; `data` is the fairseq-preprocess folder of one domain."""
        self.vocabulary = Dictionary.load(str(dictionary))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = fairseq_model.load_model(model, self.vocabulary, source_lang, target_lang).to(self.device)
        self.rows = load_rows(data, "train", self.vocabulary, source_lang, target_lang)
        self.digest = sha256_of(model)

    @torch.no_grad()
    def logits(self, rows: Sequence[int]) -> Iterator[tuple[list[int], list[int], Tensor, Tensor]]:
        """Batches of (row numbers, their lengths, logits [N, V], targets [N]), longest rows first."""
        for batch in batches(self.rows, rows):
            net_input = {name: value.to(self.device) for name, value in batch["net_input"].items()}
            logits_BTV = self.model(**net_input)[0]
            target_BT = batch["target"].to(self.device)
            mask_BT = target_BT.ne(self.vocabulary.pad())
            yield batch["id"].tolist(), mask_BT.sum(1).tolist(), logits_BTV[mask_BT], target_BT[mask_BT]

    def believe(self, rows: Sequence[int], top_k: int, temperatures: Sequence[float]) -> list[Beliefs]:
        """Beliefs of these rows, one entry a row, in the order asked for."""
        found: dict[int, Beliefs] = {}
        for numbers, lengths, logits_NV, target_N in self.logits(rows):
            beliefs = reduce_softmax(logits_NV, target_N, top_k, temperatures)
            parts = [torch.split(values.cpu(), lengths) for values in beliefs]
            found |= {row: Beliefs(*(part[place] for part in parts)) for place, row in enumerate(numbers)}
        return [found[row] for row in rows]

    def fidelity(self, rows: Sequence[int], top_k: int) -> float:
        """Mean `fidelity` over the tokens of these rows, in nats."""
        values = torch.cat([fidelity(logits_NV, top_k) for _, _, logits_NV, _ in self.logits(rows)])
        return float(values.mean())


def capture(
    teacher: TeacherPass,
    store: Path,
    *,
    domain: str,
    rule: str,
    top_k: int,
    temperatures: list[float],
    progress: Progress,
) -> TopKStore:
    """Write the teacher's beliefs about every train row of its domain, continuing a killed capture."""
    lengths = [int(length) for length in teacher.rows.tgt_sizes]
    header = StoreHeader(
        corpus=domain,
        vocabulary=fingerprint(teacher.vocabulary.symbols[teacher.vocabulary.nspecial :]),
        vocab_size=len(teacher.vocabulary),
        targets=targets_checksum(teacher.rows.tgt[row].numpy() for row in range(len(lengths))),
        teachers={domain: teacher.digest},
        rule=rule,
        rows=len(lengths),
        tokens=sum(lengths),
        top_k=min(top_k, len(teacher.vocabulary)),
        temperatures=temperatures,
    )
    writer = StoreWriter(store, header, lengths)
    while writer.rows_done < len(lengths):
        last = min(writer.rows_done + ROWS_PER_COMMIT, len(lengths))
        beliefs = teacher.believe(range(writer.rows_done, last), header.top_k, temperatures)
        writer.append(last - writer.rows_done, _stored(beliefs))
        progress.update(last, len(lengths), "rows")
    return writer.finish()


def capture_report(teacher: TeacherPass, store: TopKStore) -> dict[str, Any]:
    """What the stored soft targets of a domain hold, as means over tokens; masses are probabilities, fidelity nats."""
    header = store.header
    rows = [store.row(row) for row in range(header.rows)]
    mass = np.concatenate([np.exp(row.log_probs.astype(np.float64)).sum(-1) for row in rows])
    tail = np.concatenate([np.exp(row.log_tails[:, 0].astype(np.float64)) for row in rows])
    hits = np.concatenate([row.ids == teacher.rows.tgt[number].numpy()[:, None] for number, row in enumerate(rows)])
    sample = np.unique(np.linspace(0, header.rows - 1, SAMPLED_ROWS).astype(int)).tolist()
    payload = sum(getattr(rows[0], name).dtype.itemsize * getattr(rows[0], name)[0].size for name in rows[0]._fields)
    return {
        "teacher": next(iter(header.teachers)),
        "rows": header.rows,
        "tokens": header.tokens,
        "top_k": header.top_k,
        "temperature": header.temperatures[-1],
        "coverage": float(mass.mean()),
        "tail_mass": float(tail.mean()),
        "top1_is_reference": float(hits[:, 0].mean()),
        "reference_in_top_k": float(hits.any(-1).mean()),
        "fidelity": teacher.fidelity(sample, header.top_k),
        "bytes_per_token": payload + 2 * header.rows / header.tokens,
    }


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


def _stored(beliefs: list[Beliefs]) -> TeacherRows:
    """float16 as stored; a finite floor keeps 0 * log 0 out of the loss (a true -inf only where k = V)."""
    tails = torch.cat([row.log_tails_NS for row in beliefs])
    floored = torch.where(tails.isinf() & (tails < 0), tails, tails.clamp_min(FLOAT16_MIN))
    return TeacherRows(
        ids=torch.cat([row.ids_NK for row in beliefs]).numpy(),
        log_probs=torch.cat([row.log_probs_NK for row in beliefs]).clamp_min(FLOAT16_MIN).numpy().astype(np.float16),
        log_tails=floored.numpy().astype(np.float16),
        reference_log_probs=torch.cat([row.reference_N for row in beliefs])
        .clamp_min(FLOAT16_MIN)
        .numpy()
        .astype(np.float16),
    )
