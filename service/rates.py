"""How much one client may ask for in a minute.

What it owns: counters of requests and characters, and how long a refused client should wait.
What it must not know: HTTP, keys, how a client is told.

The window slides (two counters, the older one weighted by what is left of it), so nobody may ask twice as much around
the full minute. A client without a key is one of 4,096 buckets that its address falls into by a salted hash: memory is
bounded whoever asks, and no address is kept. Two addresses that share a bucket share a limit.
"""

from __future__ import annotations

import ipaddress
import secrets
import threading
from hashlib import blake2b
from math import floor

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

_BUCKETS = 4096
_PERIOD_S = 60


class Rates:
    """Counters of all clients since the start of the process; for any number of threads."""

    def __init__(self) -> None:
        self._storage = MemoryStorage()
        self._windows = SlidingWindowCounterRateLimiter(self._storage)
        self._lock = threading.Lock()
        self._salt = secrets.token_bytes(16)

    def bucket(self, address: str | None) -> str:
        """The client that an address counts as; all of an IPv6 /64 is one, since one user has as many addresses."""
        network = _network(address or "")
        number = int.from_bytes(blake2b(network.encode(errors="replace"), key=self._salt, digest_size=4).digest())
        return f"address {number % _BUCKETS}"

    def admit(
        self, client: str, *, characters: int, requests_per_minute: int | None, characters_per_minute: int | None
    ) -> int:
        """Count a request and its characters, and return 0; or count nothing and return the seconds to wait.

        `characters` must not be more than `characters_per_minute`: no wait would be long enough.
        """
        wanted: list[tuple[RateLimitItem, int]] = []
        if requests_per_minute is not None:
            wanted.append((RateLimitItemPerMinute(requests_per_minute, namespace="requests"), 1))
        if characters_per_minute is not None and characters:
            wanted.append((RateLimitItemPerMinute(characters_per_minute, namespace="characters"), characters))
        with self._lock:
            waits = [
                self._wait_s(limit, client, cost)
                for limit, cost in wanted
                if not self._windows.test(limit, client, cost=cost)
            ]
            if not waits:
                for limit, cost in wanted:
                    self._windows.hit(limit, client, cost=cost)
        return max(waits, default=0)

    def _wait_s(self, limit: RateLimitItem, client: str, cost: int) -> int:
        assert cost <= limit.amount
        before, _, now, expires_s = self._storage.get_sliding_window(limit.key_for(client), _PERIOD_S)
        return wait_s(limit.amount, cost, before=before, now=now, left_s=expires_s - _PERIOD_S)


def wait_s(limit: int, cost: int, *, before: int, now: int, left_s: float) -> int:
    """Whole seconds until `cost` fits: floor(before * left / 60 + now) + cost <= limit, with left falling to 0.

    `before` and `now` are the counts of the last and of this minute, of which `left_s` are left. What is over then
    becomes the last minute's count in turn.
    """
    room = limit - cost + 1 - now
    if room > 0:
        seconds = left_s - room * _PERIOD_S / before if before else 0.0
    else:
        seconds = left_s + _PERIOD_S - (room + now) * _PERIOD_S / now
    # `seconds` is the last moment of refusal; a float of today's date is right to a fraction of a millisecond.
    return max(1, floor(seconds + 1e-3) + 1)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
