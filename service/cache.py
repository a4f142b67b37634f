"""Segments that were translated before.

What it owns: what makes two requests for a segment the same, and how much is remembered.
What it must not know: what a translation is made of. Why hashed keys: the cache holds no source text.
"""

from __future__ import annotations

import hashlib
from typing import Generic, TypeVar

from cachetools import LRUCache

Value = TypeVar("Value")
_OVERHEAD = 128
"""Characters that an entry costs beside its text, roughly."""


class SegmentCache(Generic[Value]):
    """The least recently used entries go first; `max_chars` bounds what all hold together, 0 remembers nothing.

    `hits` and `misses` count what `get` found and did not.
    """

    def __init__(self, max_chars: int) -> None:
        self.hits = 0
        self.misses = 0
        self._entries: LRUCache[bytes, tuple[Value, int]] = LRUCache(max_chars, getsizeof=lambda entry: entry[1])

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Value | None:
        """What was put there, if it is still remembered."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        return entry[0]

    def put(self, key: bytes, value: Value, *, chars: int) -> None:
        """Remember a value that holds so many characters, unless it is larger than the whole cache."""
        if chars + _OVERHEAD <= self._entries.maxsize:
            self._entries[key] = (value, chars + _OVERHEAD)


def cache_key(digest: str, options: object, segment: str) -> bytes:
    """Names a segment translated by one model with one set of options (anything with a full `repr`)."""
    parts = "\0".join((digest, repr(options), segment))
    return hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=16).digest()
