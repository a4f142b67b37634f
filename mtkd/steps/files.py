"""Names of the files that steps hand to one another, and reading them. Imports nothing heavy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DATA = "data"
"""Folder of the binarize step that holds one fairseq-preprocess folder a domain."""
STORE, CAPTURED = "store", "capture.json"
STOCK, FLOAT32, DECODED, HYPOTHESES = "student.pt", "float32", "decode.json", "hypotheses"
GAP, RESULTS, BUNDLE = "gap.json", "results.json", "bundle"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that a step wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
