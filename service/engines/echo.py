"""The engine without a model: every segment comes back as it went in.

What it owns: nothing but itself. Why: tests of everything around a model, and clients tried before there is one.
"""

from __future__ import annotations

from collections.abc import Sequence

from mtkd.bundle import Manifest, ModelBundle
from service.engines.base import PLACEHOLDERS, Decoding, Hypothesis
from service.settings import Settings


class EchoEngine:
    """Answers with the source; a subword is a word."""

    name = "echo"
    digest = "echo"
    decoding = Decoding(beam=1)
    placeholders = len(PLACEHOLDERS)

    def __init__(self, source_lang: str = "en", target_lang: str = "de", *, manifest: Manifest | None = None) -> None:
        self.source_lang = source_lang
        self.target_lang = target_lang
        self.manifest = manifest

    def tokens(self, segment: str) -> int:
        """Words, and the end of sentence."""
        return len(segment.split()) + 1

    def fits(self, segment: str) -> bool:
        """Any segment does."""
        return True

    def translate(self, segments: Sequence[str], decoding: Decoding) -> list[list[Hypothesis]]:
        """The segments, each its own only hypothesis."""
        return [[Hypothesis(segment, 0.0, truncated=False)] for segment in segments]


def load(bundle: ModelBundle, settings: Settings) -> EchoEngine:
    """An echo in the bundle's languages; the settings change nothing."""
    manifest = bundle.manifest
    return EchoEngine(manifest.source_lang, manifest.target_lang, manifest=manifest)
