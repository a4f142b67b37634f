"""Translation of text with a converted model, the way the service decodes it.

What it owns: subword text in and out of CTranslate2. What it must not know: fairseq, recipes, HTTP.
Why CTranslate2 and not fairseq's generator: scores are then of the very model that is served, at a third of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import ctranslate2
import sentencepiece

MAX_PIECES = 1024
TOKENS_PER_BATCH = 2048
CHUNK = 32
"""Lines of about one length that are decoded together."""
EXTRA_PIECES = 20


@dataclass(frozen=True)
class Beam:
    """Beam search; the score of a hypothesis is its log-probability over length^length_penalty."""

    size: int
    length_penalty: float


class Hypothesis(NamedTuple):
    """The best translation found; `cut_off` where the limit on its length ended it, and not the model."""

    text: str
    cut_off: bool


def texts(subword: sentencepiece.SentencePieceProcessor, hypotheses: Sequence[Sequence[str]]) -> list[str]:
    """The text of each hypothesis, on one line whatever it says: byte pieces can spell a line break."""
    return [" ".join(text.split()) for text in subword.decode([list(pieces) for pieces in hypotheses])]


class Decoder:
    """A CTranslate2 model with its SentencePiece model."""

    def __init__(self, model: Path, subword_model: Path, *, threads: int) -> None:
        """Load the model of one compute type, as it was saved, on the CPU."""
        self.subword = sentencepiece.SentencePieceProcessor(model_file=str(subword_model))
        # A chunk a thread: threads that share one wait for each other at every layer of every word.
        self.model = ctranslate2.Translator(
            str(model), device="cpu", compute_type="default", inter_threads=threads, intra_threads=1
        )

    def pieces(self, lines: Sequence[str]) -> list[list[str]]:
        """Subword pieces of each line."""
        pieces: list[list[str]] = self.subword.encode(list(lines), out_type=str)
        return pieces

    def translate(self, lines: Sequence[str], beam: Beam, *, tag: str | None = None) -> list[str]:
        """The best hypothesis of each line, as text; `tag` as for `hypotheses`."""
        return [hypothesis.text for hypothesis in self.hypotheses(lines, beam, tag=tag)]

    def hypotheses(self, lines: Sequence[str], beam: Beam, *, tag: str | None = None) -> list[Hypothesis]:
        """The best hypothesis of each line, each source beginning with the piece `tag` where one is given.

        It ends at twice the length of the chunk's longest source and some pieces more: a model that loops would
        otherwise decode to the last position, and an early model loops on most sentences.
        """
        sources = [([tag] if tag else []) + pieces for pieces in self.pieces(lines)]
        found = [Hypothesis("", False)] * len(sources)
        order = sorted(range(len(sources)), key=lambda line: len(sources[line]))
        chunks = [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]
        limits = [min(MAX_PIECES, 2 * len(sources[chunk[-1]]) + EXTRA_PIECES) for chunk in chunks]
        running = [
            self.model.translate_batch(
                [sources[line] for line in chunk],
                beam_size=beam.size,
                length_penalty=beam.length_penalty,
                max_input_length=MAX_PIECES,
                max_decoding_length=limit,
                asynchronous=True,
            )
            for chunk, limit in zip(chunks, limits, strict=True)
        ]
        for chunk, limit, results in zip(chunks, limits, running, strict=True):
            best = [result.result().hypotheses[0] for result in results]
            for line, pieces, text in zip(chunk, best, texts(self.subword, best), strict=True):
                # A hypothesis that the model ended is shorter: its end, which is not returned, took a step too.
                found[line] = Hypothesis(text, len(pieces) >= limit)
        return found

    def nll(self, sources: Sequence[str], targets: Sequence[str]) -> float:
        """Negative log-likelihood of the targets in nats a token, EOS included, under teacher forcing."""
        scored = self.model.score_batch(
            self.pieces(sources), self.pieces(targets), max_batch_size=TOKENS_PER_BATCH, batch_type="tokens"
        )
        values: list[float] = [value for result in scored for value in result.log_probs]
        return -sum(values) / len(values)
