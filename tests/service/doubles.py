"""Engines for tests: what they answer, in the shape of an engine's answer."""

from __future__ import annotations

from collections.abc import Iterable

from service.engines.base import Hypothesis
from service.engines.echo import EchoEngine


def hypotheses(texts: Iterable[str]) -> list[list[Hypothesis]]:
    """Each text the only hypothesis of its segment."""
    return [[Hypothesis(text, 0.0, truncated=False)] for text in texts]


class Upper(EchoEngine):
    """Answers in capitals, and remembers what it was asked."""

    def __init__(self, *languages):
        super().__init__(*languages)
        self.asked = []

    def translate(self, segments, decoding):
        self.asked += segments
        return hypotheses(segment.upper() for segment in segments)
