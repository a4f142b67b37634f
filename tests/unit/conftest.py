"""What several of the unit tests set up alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mtkd.distill import fused
from tests.unit.fused_batch import V


@pytest.fixture
def chunk_rows(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many tokens a chunk has."""
    return lambda rows: monkeypatch.setitem(fused.CHUNK_ENTRIES, "cpu", rows * V + V // 2)
