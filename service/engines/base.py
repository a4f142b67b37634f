"""What an engine is: something that translates segments, one line each.

What it owns: the Protocol. What it must not know: HTTP, documents, who asks.
Why segments and not texts: a later queue batches the segments of several requests into one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


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

    def fits(self, segment: str) -> bool:
        """Whether the segment can be translated whole; one that does not is split before `translate` sees it."""
        ...

    def translate(self, segments: Sequence[str]) -> list[str]:
        """One translation a segment, in order, each of one line. Called by one thread at a time."""
        ...
