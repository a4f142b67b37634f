"""The engine without a model: every segment comes back as it went in.

What it owns: nothing but itself. Why: tests of everything around a model, and clients tried before there is one.
"""

from __future__ import annotations

from collections.abc import Sequence

from mtkd.bundle import ModelBundle
from service.settings import Settings


class EchoEngine:
    """Answers with the source."""

    name = "echo"
    digest = "echo"

    def __init__(self, source_lang: str = "en", target_lang: str = "de") -> None:
        self.source_lang = source_lang
        self.target_lang = target_lang

    def fits(self, segment: str) -> bool:
        """Any segment does."""
        return True

    def translate(self, segments: Sequence[str]) -> list[str]:
        """The segments."""
        return list(segments)


def load(bundle: ModelBundle, settings: Settings) -> EchoEngine:
    """An echo in the bundle's languages; the settings change nothing."""
    return EchoEngine(bundle.manifest.source_lang, bundle.manifest.target_lang)
