"""What an engine is: something that translates segments, one line each.

What it owns: the Protocol and what goes in and out. What it must not know: HTTP, documents, who asks.
Why segments and not texts: a queue batches the segments of several requests into one call.
Why placeholders are noncharacters: a segment stays a plain string that can be split, counted and hashed, and nothing
that a user may type (`<ph0>` least of all) is mistaken for one. Unicode has set U+FDD0..U+FDEF aside for
use inside a program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mtkd.bundle import Manifest

PLACEHOLDERS = tuple(map(chr, range(0xFDD0, 0xFDF0)))
"""The n-th stands for the reserved symbol `<phn>`, in segments and in their translations."""


@dataclass(frozen=True)
class Decoding:
    """How to search; segments of one call share it."""

    beam: int
    n_best: int = 1
    """At most `beam`."""
    no_repeat_ngram_size: int = 0
    """0: any n-gram may come again."""


class Hypothesis(NamedTuple):
    """A translation of a segment, one line of text."""

    text: str
    score: float
    """Log-probability a subword, as the engine's length penalty weighs it; higher is better."""
    truncated: bool
    """The search ended at the longest translation that the model has positions for."""


class Engine(Protocol):
    """Translates one direction. A segment is text of one line without outer spaces (`service.segment` makes them)."""

    @property
    def name(self) -> str:
        """Its row in `ENGINES`."""
        ...

    @property
    def digest(self) -> str:
        """Names the exact model."""
        ...

    @property
    def source_lang(self) -> str:
        """ISO code, lower case."""
        ...

    @property
    def target_lang(self) -> str:
        """ISO code, lower case."""
        ...

    @property
    def manifest(self) -> Manifest | None:
        """What the model's bundle says of itself; None without a bundle."""
        ...

    @property
    def decoding(self) -> Decoding:
        """The search that the model was evaluated with, or that the operator chose."""
        ...

    @property
    def placeholders(self) -> int:
        """How many of `PLACEHOLDERS` the model carries over; 0 where it was not trained to."""
        ...

    def tokens(self, segment: str) -> int:
        """What the segment costs: its subwords, the end of sentence included. Called by any thread."""
        ...

    def fits(self, segment: str) -> bool:
        """Whether the segment can be translated whole; one that does not is split before `translate` sees it."""
        ...

    def translate(self, segments: Sequence[str], decoding: Decoding) -> list[list[Hypothesis]]:
        """Up to `decoding.n_best` hypotheses a segment, at least one, best first; in order.

        A hypothesis has no placeholder but those of its segment. Called by several threads.
        """
        ...
