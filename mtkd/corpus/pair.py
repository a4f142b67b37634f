"""What every reader yields.

What it owns: `Pair`. What it must not know: anything else; it lies below the readers, which lie below `READERS`.
"""

from __future__ import annotations

from typing import NamedTuple


class Pair(NamedTuple):
    """A source sentence, its translation ("" where there is none), and their document ("" where that is unknown)."""

    source: str
    target: str
    document: str
