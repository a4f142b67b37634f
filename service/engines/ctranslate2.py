"""The engine that serves the student: SentencePiece before and after CTranslate2.

What it owns: one loaded bundle, and the promise that nothing is cut in silence.
What it must not know: HTTP, torch, fairseq; of training only what the manifest says.
Why the text is normalised here: the student was trained on text without control characters and with plain spaces.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import takewhile
from math import ceil

import ctranslate2
from sentencepiece import SentencePieceProcessor

from mtkd.bundle import ModelBundle
from mtkd.errors import BundleError
from service.engines.base import PLACEHOLDERS, Decoding, Hypothesis
from service.placeholders import carries
from service.settings import Settings, available_cpus

logger = logging.getLogger(__name__)

# The symbols that training reserves (placeholders, domain tags, spares). SentencePiece finds them in any raw text.
_RESERVED = re.compile(r"<(?:ph\d+|spare\d+|dom:[^<>]+)>")
# U+2581 is SentencePiece's own sign for a space.
_SPACES = re.compile("[\\s\ufeff\u2581]+")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_BATCH_SUBWORDS = 1024
"""CTranslate2 sorts a call's segments by length and decodes them in batches of so many source subwords."""
_LENGTH_STEP, _SHORT = 32, 64
"""Source subwords by which the groups differ in which translations have the same limit, and those of the first one."""
_GROWTH = 2
"""Subwords of a translation for one of the longest source in its group, at most, beside `_SHORT`."""
_FIRST, _SECOND = PLACEHOLDERS[:2]
_MASKED = (_FIRST, f"({_FIRST})", f"{_FIRST}: {_SECOND}", f"{_FIRST} - {_SECOND}", f"{_FIRST}, {_SECOND}.")
"""Sentences of no language."""
_NICENESS = 10
"""Of the threads that decode: on full cores they would hold up the one that answers, and each request's refusal."""
_PROBE_SUBWORDS = 16
_DECIMALS = 4
"""Of a score: the last bits depend on the batch."""


class CTranslate2Engine:
    """One loaded bundle; make it with `from_bundle`. Not fork-safe, as CTranslate2 is not."""

    name = "ctranslate2"

    def __init__(
        self, bundle: ModelBundle, translator: ctranslate2.Translator, subwords: SentencePieceProcessor, *, beam: int
    ) -> None:
        self.manifest = manifest = bundle.manifest
        self.digest = bundle.digest
        self.source_lang = manifest.source_lang
        self.target_lang = manifest.target_lang
        self._translator = translator
        self._subwords = subwords
        self.decoding = Decoding(beam)
        self._length_penalty = manifest.length_penalty
        # Both limits count the end-of-sentence symbol.
        self._max_source = manifest.max_source_positions - 1
        self._max_target = manifest.max_target_positions - 1
        pieces = (subwords.id_to_piece(index) for index in range(subwords.get_piece_size()))
        self._reserved = {piece: self._spell(piece) for piece in pieces if _RESERVED.fullmatch(piece)}
        symbols = takewhile(self._reserved.__contains__, (f"<ph{number}>" for number in range(len(PLACEHOLDERS))))
        self._placeholders = dict(zip(symbols, PLACEHOLDERS, strict=False))
        self._without_symbol = str.maketrans("", "", "".join(PLACEHOLDERS[len(self._placeholders) :]))
        self._written = str.maketrans({char: symbol for symbol, char in self._placeholders.items()})
        self._marks = re.compile("|".join([*map(re.escape, self._reserved), *self._placeholders.values()]) or "(?!)")
        self.placeholders = len(self._placeholders) if self._learnt_placeholders() else 0

    @classmethod
    def from_bundle(
        cls,
        bundle: ModelBundle,
        *,
        compute_type: str = "int8",
        device: str = "cpu",
        threads: int | None = None,
        beam: int | None = None,
    ) -> CTranslate2Engine:
        """Load a verified bundle for `threads` calls at a time (all CPUs if None) and a beam (the manifest's if None).

        On `cuda` the float32 model computes in float16, whatever the compute type: there int8 is not the faster one.

        Raises:
            BundleError: no such compute type, or a model that SentencePiece or CTranslate2 cannot load.
        """
        on_gpu = device == "cuda"
        model_dir = bundle.model_dir("float32" if on_gpu else compute_type)
        compute_type = "float16" if on_gpu else compute_type
        try:
            subwords = SentencePieceProcessor(model_file=str(bundle.subword_model))
            load = partial(
                ctranslate2.Translator,
                str(model_dir),
                device=device,
                compute_type=compute_type,
                # As many batches at a time as there are threads, each in one: threads that share a batch wait for each
                # other at every layer of every word.
                inter_threads=1 if on_gpu else threads or available_cpus(),
                intra_threads=1,
            )
            # CTranslate2's threads inherit the priority of the thread that makes them.
            with ThreadPoolExecutor(1, initializer=_give_way) as background:
                translator = background.submit(load).result()
        except (RuntimeError, ValueError, OSError) as error:
            raise BundleError(
                f"{bundle.root}: cannot load the {compute_type} model: {error}; export it again"
            ) from None
        return cls(bundle, translator, subwords, beam=bundle.manifest.beam if beam is None else beam)

    def tokens(self, segment: str) -> int:
        """Subwords and the end of sentence."""
        return len(self._encode([segment])[0]) + 1

    def fits(self, segment: str) -> bool:
        """Whether the segment's subwords and the end of sentence fit into the model's positions."""
        # SentencePiece makes no two characters of one in ASCII: a piece a character at most, and one in front.
        if segment.isascii() and len(segment) < self._max_source:
            return True
        return self.tokens(segment) <= self._max_source + 1

    def translate(self, segments: Sequence[str], decoding: Decoding) -> list[list[Hypothesis]]:
        """Translate segments that fit. One whose translation does not end is cut off and logged, never its text.

        It may have twice as many subwords as the longest source of its group, and 64 more: a loop up to the last
        position would hold a core for a hundred times as long as a sentence takes.
        """
        encoded = self._encode(segments)
        groups: dict[tuple[bool, int], list[int]] = {}
        for index, (segment, pieces) in enumerate(zip(segments, encoded, strict=True)):
            longest = max(_SHORT, _LENGTH_STEP * ceil(len(pieces) / _LENGTH_STEP))
            masked = not set(PLACEHOLDERS).isdisjoint(segment)
            groups.setdefault((masked, min(_GROWTH * longest + _SHORT, self._max_target)), []).append(index)
        translated: list[list[Hypothesis]] = [[] for _ in segments]
        # A call a group: limit and suppressed symbols hold for a whole call, and must not depend on the neighbours.
        for (masked, limit), indexes in groups.items():
            suppressed = self._reserved.keys() - self._placeholders if masked else self._reserved.keys()
            found = self._decode([encoded[index] for index in indexes], decoding, limit, sorted(suppressed))
            for index, hypotheses in zip(indexes, found, strict=True):
                translated[index] = hypotheses
        if unfinished := sum(found[0].truncated for found in translated):
            logger.warning("translations that did not end and may be incomplete: %d", unfinished)
        return translated

    def _learnt_placeholders(self) -> bool:
        """Try it: the symbols are in every vocabulary, but only a recipe that asks for it trains them."""
        if len(self._placeholders) < 2:
            return False
        never_out = sorted(self._reserved.keys() - self._placeholders)
        limit = min(_PROBE_SUBWORDS, self._max_target)
        outputs = self._decode(self._encode(_MASKED), self.decoding, limit, never_out)
        carried = sum(carries(found[0].text, text) for text, found in zip(_MASKED, outputs, strict=True))
        return carried >= len(_MASKED) - 1

    def _decode(
        self, batch: list[list[str]], decoding: Decoding, limit: int, suppressed: list[str]
    ) -> list[list[Hypothesis]]:
        results = self._translator.translate_batch(
            batch,
            beam_size=decoding.beam,
            num_hypotheses=decoding.n_best,
            no_repeat_ngram_size=decoding.no_repeat_ngram_size,
            length_penalty=self._length_penalty,
            # 0: never truncate. Without it CTranslate2 cuts sources at 1,024 and translations at 256, in silence.
            max_input_length=0,
            max_decoding_length=limit,
            max_batch_size=_BATCH_SUBWORDS,
            batch_type="tokens",
            disable_unk=True,
            suppress_sequences=[[piece] for piece in suppressed] or None,
            return_scores=True,
        )
        return [
            [
                Hypothesis(text, round(score, _DECIMALS), len(pieces) >= limit)
                for text, score, pieces in zip(
                    self._read(result.hypotheses), result.scores, result.hypotheses, strict=True
                )
            ]
            for result in results
        ]

    def _read(self, hypotheses: list[list[str]]) -> list[str]:
        """The text of each. Byte pieces can spell a line break; a segment's translation is one line."""
        marked = [[self._placeholders.get(piece, piece) for piece in pieces] for pieces in hypotheses]
        return [" ".join(self._subwords.decode(pieces).split()) for pieces in marked]

    def _encode(self, segments: Sequence[str]) -> list[list[str]]:
        """Subwords of each segment; a reserved symbol that the user typed is spelt out, so that it is only text."""
        texts = [self._normalise(segment) for segment in segments]
        written = [text.translate(self._written) for text in texts]
        # One by one: for a list SentencePiece starts a thread, which takes longer than the sentences of a batch.
        encoded: list[list[str]] = [self._subwords.encode(text, out_type=str) for text in written]
        return [
            self._spell_typed(text, pieces) if "<" in text else pieces
            for text, pieces in zip(texts, encoded, strict=True)
        ]

    def _normalise(self, segment: str) -> str:
        text = _SPACES.sub(" ", _CONTROLS.sub("", segment)).translate(self._without_symbol)
        return unicodedata.normalize("NFC", text)

    def _spell_typed(self, text: str, pieces: list[str]) -> list[str]:
        """The pieces of a text, of its reserved symbols only those that stand for placeholders."""
        # SentencePiece has found, from left to right, those that were typed and those written for placeholders.
        typed = (mark[0] in self._reserved for mark in self._marks.finditer(text))
        return [
            part
            for piece in pieces
            for part in (self._reserved[piece] if piece in self._reserved and next(typed) else (piece,))
        ]

    def _spell(self, symbol: str) -> list[str]:
        """The symbol's characters as pieces: each its own where the model has it, else its bytes."""
        known = {char for char in symbol if not self._subwords.is_unknown(self._subwords.piece_to_id(char))}
        return [
            piece
            for char in symbol
            for piece in ([char] if char in known else [f"<0x{byte:02X}>" for byte in char.encode()])
        ]


def _give_way() -> None:
    """Lower this thread's priority; elsewhere than on Linux a priority is the process's, and left alone."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # A sandbox may refuse; the model serves all the same.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS)


def load(bundle: ModelBundle, settings: Settings) -> CTranslate2Engine:
    """The bundle as the settings want it."""
    return CTranslate2Engine.from_bundle(
        bundle,
        compute_type=settings.compute_type,
        device=settings.device,
        threads=settings.threads,
        beam=settings.beam,
    )
