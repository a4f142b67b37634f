"""README, and the parts of it between markers."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def between(marker: str) -> str:
    """What stands between `<!-- marker:begin -->` and its end."""
    found = re.search(rf"<!-- {marker}:begin -->\n(.*?)<!-- {marker}:end -->", README, flags=re.DOTALL)
    assert found, f"README has lost its marker {marker}"
    return found[1].strip()
