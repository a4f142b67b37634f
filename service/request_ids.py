"""What is known of a request besides its text: its id, how long its stages took, how many characters it had.

What it owns: `RequestRecord`, and which one the running task, or the thread it called, serves.
What it must not know: what was asked, and where the record goes (`service.observation`).
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=:-]{7,63}")
_TRACE_ID = re.compile(r"[0-9a-f]{32}")


@dataclass
class RequestRecord:
    """One request, while it lasts; `stages` are seconds by name (`queue`, `decode`), filled in by who spends them."""

    request_id: str
    begun: float = field(default_factory=time.perf_counter)
    characters: int = 0
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def trace_id(self) -> str:
        """The id as 32 hexadecimal digits, DeepL's form: itself if it has that form, else its hash."""
        if _TRACE_ID.fullmatch(self.request_id):
            return self.request_id
        return hashlib.blake2b(self.request_id.encode(), digest_size=16).hexdigest()

    def spend(self, stage: str, seconds: float) -> None:
        """Add to a stage's time; a request may pass a stage more than once."""
        self.stages[stage] = self.stages.get(stage, 0.0) + seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the request's head was read."""
        return time.perf_counter() - self.begun


_CURRENT: ContextVar[RequestRecord | None] = ContextVar("mtkd_request", default=None)


def current_request() -> RequestRecord | None:
    """The request that this task, or the thread it called, serves; None outside any (at start, in the command line)."""
    return _CURRENT.get()


@contextmanager
def serving(record: RequestRecord) -> Iterator[None]:
    """Make `record` the current one for this task and the threads it calls."""
    token = _CURRENT.set(record)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def request_id_from(headers: Mapping[str, str]) -> str:
    """The caller's `X-Request-ID` if it can be nothing but an id, else a new one of 32 hexadecimal digits."""
    given = headers.get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
