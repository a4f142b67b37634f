"""A store of what teachers believe about one corpus: written, measured, and held against the recipe's gates.

What it owns: the order in which rows are captured, the figures of capture.json, what a store must show before a student
learns from it. What it must not know: fairseq, torch, how a belief is computed (so that whoever asks for the gates
alone loads neither). Why gates: a store of a broken teacher costs days of a student's training before it is noticed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mtkd.corpus.subword import fingerprint
from mtkd.distill.store_writer import StoreWriter
from mtkd.distill.topk import StoreHeader, TopKStore, bytes_per_token, targets_checksum
from mtkd.progress import Progress
from mtkd.recipe import Gates

if TYPE_CHECKING:
    from mtkd.teacher import TeacherPass

ROWS_PER_COMMIT = 2000
"""Rows between two commits of a store: what a kill can cost."""
SAMPLED_ROWS = 200
"""Rows on which the figures that need the dense softmax are measured."""


def capture(
    teacher: TeacherPass,
    store_path: Path,
    *,
    corpus: str,
    rule: str,
    top_k: int,
    temperatures: list[float],
    progress: Progress,
) -> TopKStore:
    """Write what the teachers believe about every train row of a corpus, continuing a killed capture.

    Args:
        teacher: one teacher, or several that are mixed at the one temperature asked for.
        store_path: the folder to write.
        corpus: its name, for the header.
        rule: how the teachers were chosen and weighted, for the header (`weighting.rule_text`).
        top_k: entries kept a token; the whole vocabulary where it is smaller.
        temperatures: for which the tail is kept.
        progress: is told the rows done.
    """
    lengths = [int(length) for length in teacher.rows.tgt_sizes]
    header = StoreHeader(
        corpus=corpus,
        vocabulary=fingerprint(teacher.vocabulary.symbols[teacher.vocabulary.nspecial :]),
        vocab_size=len(teacher.vocabulary),
        targets=targets_checksum(teacher.rows.tgt[row].numpy() for row in range(len(lengths))),
        teachers=teacher.digests,
        rule=rule,
        rows=len(lengths),
        tokens=sum(lengths),
        top_k=min(top_k, len(teacher.vocabulary)),
        temperatures=temperatures,
    )
    writer = StoreWriter(store_path, header, lengths)
    while writer.rows_done < len(lengths):
        rows = range(writer.rows_done, min(writer.rows_done + ROWS_PER_COMMIT, len(lengths)))
        writer.append(len(rows), teacher.believe(rows, header.top_k, temperatures))
        progress.update(rows.stop, len(lengths), "rows")
    return writer.finish()


def capture_report(
    teacher: TeacherPass, store: TopKStore, *, references: Literal["given", "teacher"] = "given"
) -> dict[str, Any]:
    """What a store holds, as means over tokens; masses are probabilities at its first temperature, fidelity nats.

    `references` says what the targets of the corpus are: given ones, or the teacher's own translations, of which it is
    no news that the teacher believes in them. `coverage_by_k` and `fidelity` are measured on SAMPLED_ROWS rows.
    """
    header = store.header
    sample = np.unique(np.linspace(0, header.rows - 1, SAMPLED_ROWS).astype(int)).tolist()
    dense = teacher.dense_figures(sample, header.top_k, header.temperatures[0])
    return {
        "corpus": header.corpus,
        "teacher": _blend(teacher.weights),
        "references": references,
        "rows": header.rows,
        "tokens": header.tokens,
        "top_k": header.top_k,
        "temperature": header.temperatures,
        **_token_means(store, teacher),
        "fidelity": dense.fidelity,
        "bytes_per_token": bytes_per_token(
            header.top_k, len(header.temperatures), header.vocab_size, header.tokens / header.rows
        ),
        "coverage_by_k": {str(k): covered for k, covered in dense.coverage_by_k.items()},
    }


def failed_gates(report: dict[str, Any], gates: Gates, epsilon: float) -> list[str]:
    """What a capture report falls short of, with what to do about it; empty where a student may learn from the store.

    Args:
        report: of `capture_report`.
        gates: of the recipe.
        epsilon: the label smoothing that the teacher was trained with; coverage is asked for out of 1 - epsilon.
    """
    temperature = report["temperature"][0]
    tempered = "" if temperature == 1.0 else f" at T = {temperature:g}"
    stored = (
        f"{report['corpus']}: of the {report['top_k']} entries stored a token (teacher {report['teacher']}{tempered})"
    )
    train_longer = "train the teacher longer or on more text"
    failed = []
    if gates.coverage is not None and report["coverage"] < (wanted := (1.0 - epsilon) * gates.coverage):
        failed.append(
            f"{stored} the coverage is {report['coverage']:.1%}, and distill.gates.coverage asks for {wanted:.1%} "
            f"({gates.coverage:g} of 1 - label smoothing {epsilon:g}): {train_longer}, or "
            f"{_larger_top_k(report, wanted)}; for a teacher that is known to be weak relax distill.gates.coverage"
        )
    if (
        gates.reference_in_top_k is not None
        and report["references"] == "given"
        and report["reference_in_top_k"] < gates.reference_in_top_k
    ):
        failed.append(
            f"{stored} the reference is one for {report['reference_in_top_k']:.1%} of tokens, and "
            f"distill.gates.reference_in_top_k asks for {gates.reference_in_top_k:.1%}: {train_longer}, or see whether "
            "source and target lines belong together, or raise distill.top_k; for a teacher that is known to be weak "
            "relax distill.gates.reference_in_top_k"
        )
    if gates.fidelity is not None and report["fidelity"] > gates.fidelity:
        failed.append(
            f"{stored} the fidelity is {report['fidelity']:.2f} nats lost a token, and distill.gates.fidelity allows "
            f"{gates.fidelity:g}: {train_longer}, or raise distill.top_k; for a teacher that is known to be weak relax "
            "distill.gates.fidelity"
        )
    return failed


def _token_means(store: TopKStore, teacher: TeacherPass) -> dict[str, float]:
    """The figures that the stored rows show; read in blocks of rows, so that no store needs to fit into memory."""
    header = store.header
    sums = {"coverage": 0.0, "tail_mass": 0.0, "top1_is_reference": 0.0, "reference_in_top_k": 0.0}
    for first in range(0, header.rows, ROWS_PER_COMMIT):
        numbers = range(first, min(first + ROWS_PER_COMMIT, header.rows))
        rows = [store.row(number) for number in numbers]
        targets = np.concatenate([teacher.rows.tgt[number].numpy() for number in numbers])
        hits = np.concatenate([row.ids for row in rows]) == targets[:, None]
        log_kept = np.concatenate([row.log_probs for row in rows]).astype(np.float64) / header.temperatures[0]
        log_tail = np.concatenate([row.log_tails[:, 0] for row in rows]).astype(np.float64)
        # Normalised, as a reader does.
        kept, tail = np.exp(log_kept).sum(1), np.exp(log_tail)
        sums["coverage"] += float((kept / (kept + tail)).sum())
        sums["tail_mass"] += float((tail / (kept + tail)).sum())
        sums["top1_is_reference"] += float(hits[:, 0].sum())
        sums["reference_in_top_k"] += float(hits.any(1).sum())
    return {figure: total / header.tokens for figure, total in sums.items()}


def _blend(weights: dict[str, float]) -> str:
    """'bank', or '0.5 generic + 0.5 bank'."""
    if len(weights) == 1:
        return next(iter(weights))
    return " + ".join(f"{weight:g} {name}" for name, weight in weights.items())


def _larger_top_k(report: dict[str, Any], wanted: float) -> str:
    """The least larger k at which the sampled coverage is what is wanted."""
    top_k, covered = report["top_k"], {int(k): share for k, share in report["coverage_by_k"].items()}
    enough = [k for k, share in covered.items() if k > top_k and share >= wanted]
    if enough:
        return f"raise distill.top_k to {min(enough)}"
    most = max(covered)
    return f"accept that a larger distill.top_k does not help (on a sample, {most} entries hold {covered[most]:.1%})"
