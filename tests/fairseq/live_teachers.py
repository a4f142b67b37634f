"""Two teachers that differ, as arguments of a run beside them and as stores of theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mtkd.capture import capture
from mtkd.progress import Progress
from mtkd.teacher import TeacherPass
from tests.fairseq.micro_task import (
    as_json,
)

Shares = Mapping[str, Mapping[str, float]]
"""Corpus -> name of a teacher -> share."""
MIXED: Shares = {"bank": {"first": 1.0}, "court": {"first": 0.25, "second": 0.75}}
"""river has no teachers."""
TEXT_OF = {"bank_transfer": "river"}
"""Whose text stands in for bank's without references."""


def online(shares: Shares, teachers: dict[str, Path]) -> str:
    """`--online-teachers`."""
    return json.dumps(
        {corpus: {str(teachers[name]): share for name, share in of.items()} for corpus, of in shares.items()}
    )


def captured(micro, teachers: dict[str, Path], shares: Shares, folder: Path, *, top_k: int, temperature: float) -> str:
    """`--soft-targets` of stores that these teachers wrote."""
    stores = {}
    for corpus, of in shares.items():
        data = micro.data / TEXT_OF.get(corpus, corpus)
        teacher = TeacherPass(teachers, of, data, data / "dict.de.txt", "en", "de")
        stores[corpus] = capture(
            teacher,
            folder / corpus,
            corpus=corpus,
            rule="test",
            top_k=top_k,
            temperatures=[temperature],
            progress=Progress("capture"),
        ).path
    return as_json(stores)
