"""Keeps a few of the pairs that each filter dropped, so that people can see whether it was right.

What it owns: which ones are kept. What it must not know: filters, files.
Why by hash: the choice is spread over the whole text, the same at every run, and needs no second reading.
"""

from __future__ import annotations

import hashlib
import heapq

EXAMPLES = 20
"""Of each reason."""
_CHARACTERS = 300


class Examples:
    """Of the pairs dropped for each reason the `EXAMPLES` with the smallest hashes."""

    def __init__(self) -> None:
        self._by_reason: dict[str, list[tuple[int, str, str]]] = {}

    def add(self, reason: str, source: str, target: str) -> None:
        """Take a dropped pair into account; one of several equal ones is enough."""
        kept = self._by_reason.setdefault(reason, [])
        # Negated: the root of the heap is the largest hash, the first to go.
        place = -int.from_bytes(hashlib.blake2b(f"{source}\t{target}".encode(), digest_size=8).digest())
        if len(kept) == EXAMPLES and place <= kept[0][0]:
            return
        example = (place, source[:_CHARACTERS], target[:_CHARACTERS])
        if example not in kept:
            (heapq.heappush if len(kept) < EXAMPLES else heapq.heapreplace)(kept, example)

    def by_reason(self) -> dict[str, list[dict[str, str]]]:
        """By reason: its examples, texts cut to 300 characters, in the order of their hashes."""
        return {
            reason: [{"source": source, "target": target} for _, source, target in sorted(kept, reverse=True)]
            for reason, kept in self._by_reason.items()
        }
