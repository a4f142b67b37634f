"""The engine that serves the student: SentencePiece before and after CTranslate2.

What it owns: one loaded bundle, and the promise that nothing is cut in silence.
What it must not know: HTTP, torch, fairseq; of training only what the manifest says.
Why the text is normalised here: the student was trained on text without control characters and with plain spaces.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Sequence

import ctranslate2
from sentencepiece import SentencePieceProcessor

from mtkd.bundle import ModelBundle
from mtkd.errors import BundleError
from service.settings import Settings, available_cpus

logger = logging.getLogger(__name__)

# The symbols that training reserves (placeholders, domain tags, spares). SentencePiece finds them in any raw text.
_RESERVED = re.compile(r"<(?:ph\d+|spare\d+|dom:[^<>]+)>")
# U+2581 is SentencePiece's own sign for a space.
_SPACES = re.compile("[\\s\ufeff\u2581]+")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_BATCH_SUBWORDS = 2048
"""CTranslate2 sorts a call's segments by length and decodes them in batches of so many source subwords."""


class CTranslate2Engine:
    """One bundle, loaded for the CPU; make it with `from_bundle`. Not fork-safe, as CTranslate2 is not."""

    name = "ctranslate2"

    def __init__(
        self, bundle: ModelBundle, translator: ctranslate2.Translator, subwords: SentencePieceProcessor, *, beam: int
    ) -> None:
        manifest = bundle.manifest
        self.digest = bundle.digest
        self.source_lang = manifest.source_lang
        self.target_lang = manifest.target_lang
        self._translator = translator
        self._subwords = subwords
        self._beam = beam
        self._length_penalty = manifest.length_penalty
        # Both limits count the end-of-sentence symbol.
        self._max_source = manifest.max_source_positions - 1
        self._max_target = manifest.max_target_positions - 1
        pieces = (subwords.id_to_piece(index) for index in range(subwords.get_piece_size()))
        self._reserved = {piece: self._spell(piece) for piece in pieces if _RESERVED.fullmatch(piece)}

    @classmethod
    def from_bundle(
        cls,
        bundle: ModelBundle,
        *,
        compute_type: str = "int8",
        threads: int | None = None,
        beam: int | None = None,
    ) -> CTranslate2Engine:
        """Load a verified bundle with so many threads (all CPUs if None) and beam (the manifest's if None).

        Raises:
            BundleError: no such compute type, or a model that SentencePiece or CTranslate2 cannot load.
        """
        model_dir = bundle.model_dir(compute_type)
        try:
            subwords = SentencePieceProcessor(model_file=str(bundle.subword_model))
            translator = ctranslate2.Translator(
                str(model_dir),
                device="cpu",
                compute_type=compute_type,
                inter_threads=1,
                intra_threads=available_cpus() if threads is None else threads,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise BundleError(
                f"{bundle.root}: cannot load the {compute_type} model: {error}; export it again"
            ) from None
        return cls(bundle, translator, subwords, beam=bundle.manifest.beam if beam is None else beam)

    def fits(self, segment: str) -> bool:
        """Whether the segment's subwords and the end of sentence fit into the model's positions."""
        return len(self._encode([segment])[0]) <= self._max_source

    def translate(self, segments: Sequence[str]) -> list[str]:
        """Translate segments that fit. One whose translation fills all target positions is logged, never its text."""
        results = self._translator.translate_batch(
            self._encode(segments),
            beam_size=self._beam,
            length_penalty=self._length_penalty,
            # 0: never truncate. Without it CTranslate2 cuts sources at 1,024 and translations at 256, in silence.
            max_input_length=0,
            max_decoding_length=self._max_target,
            max_batch_size=_BATCH_SUBWORDS,
            batch_type="tokens",
            disable_unk=True,
            # No placeholder goes in, so none may come out.
            suppress_sequences=[[piece] for piece in self._reserved] or None,
        )
        hypotheses = [result.hypotheses[0] for result in results]
        if unfinished := sum(len(pieces) >= self._max_target for pieces in hypotheses):
            logger.warning(
                "translations that reached %d subwords and may be incomplete: %d", self._max_target, unfinished
            )
        # Byte pieces can spell a line break; a segment's translation is one line.
        return [" ".join(text.split()) for text in self._subwords.decode(hypotheses)]

    def _encode(self, segments: Sequence[str]) -> list[list[str]]:
        """Subwords of each segment; a reserved symbol that the user typed is spelt out, so that it is only text."""
        normalised = [unicodedata.normalize("NFC", _SPACES.sub(" ", _CONTROLS.sub("", text))) for text in segments]
        encoded: list[list[str]] = self._subwords.encode(normalised, out_type=str, num_threads=1)
        return [
            [part for piece in pieces for part in self._reserved.get(piece, (piece,))] if "<" in text else pieces
            for text, pieces in zip(normalised, encoded, strict=True)
        ]

    def _spell(self, symbol: str) -> list[str]:
        """The symbol's characters as pieces: each its own where the model has it, else its bytes."""
        known = {char for char in symbol if not self._subwords.is_unknown(self._subwords.piece_to_id(char))}
        return [
            piece
            for char in symbol
            for piece in ([char] if char in known else [f"<0x{byte:02X}>" for byte in char.encode()])
        ]


def load(bundle: ModelBundle, settings: Settings) -> CTranslate2Engine:
    """The bundle as the settings want it."""
    return CTranslate2Engine.from_bundle(
        bundle, compute_type=settings.compute_type, threads=settings.threads, beam=settings.beam
    )
