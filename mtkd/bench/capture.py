"""`python -m mtkd.bench.capture SETTINGS`: a teacher over rows, bare or with its beliefs written to a store.

What it owns: the two variants that `mtkd bench capture` compares. What it must not know: how a capture works.
Both run the same batches through the same model.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from mtkd.bench.answer import Conversation, answer_rounds
from mtkd.bench.synthetic import DOMAIN
from mtkd.capture import capture
from mtkd.progress import Progress
from mtkd.teacher import TeacherPass, batches

Work = Callable[[], int]
"""Does all rows; returns how many target tokens they have."""


def forward(teacher: TeacherPass, store: Path, top_k: int) -> Work:
    """The model's logits for all rows, and nothing done with them."""
    (model,) = teacher.models.values()

    @torch.no_grad()
    def work() -> int:
        tokens = 0
        for batch in batches(teacher.rows, range(len(teacher.rows))):
            model(**{name: value.to(teacher.device) for name, value in batch["net_input"].items()})
            tokens += int(batch["ntokens"])
        return tokens

    return work


def captured(teacher: TeacherPass, store: Path, top_k: int) -> Work:
    """A whole store, from nothing to sealed and read through."""

    def work() -> int:
        shutil.rmtree(store, ignore_errors=True)
        said = Progress("capture")
        made = capture(teacher, store, corpus=DOMAIN, rule="in_domain", top_k=top_k, temperatures=[1.0], progress=said)
        return made.header.tokens

    return work


VARIANTS: dict[str, Callable[[TeacherPass, Path, int], Work]] = {"forward": forward, "capture": captured}
"""What can be measured, by name; `forward` is what the other is compared with."""


def main() -> None:
    """Measure the variant that the settings name."""
    settings = json.loads(sys.argv[1])
    conversation = Conversation()
    teacher = TeacherPass(
        {DOMAIN: Path(settings["model"])},
        {DOMAIN: 1.0},
        Path(settings["data"]),
        Path(settings["dictionary"]),
        settings["source_lang"],
        settings["target_lang"],
    )
    answer_rounds(conversation, VARIANTS[settings["variant"]](teacher, Path(settings["store"]), settings["top_k"]))
    conversation.finish()


if __name__ == "__main__":
    main()
