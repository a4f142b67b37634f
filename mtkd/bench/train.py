"""`python -m mtkd.bench.train SETTINGS`: fairseq's own trainer, held up after every block of updates.

What it owns: where a block ends. What it must not know: what is trained; the settings hold fairseq-train's arguments.
Why through its log: fairseq writes a line every `--log-interval` updates from within its training loop, so that who
handles that line holds the loop up, and nothing of the trainer is altered. A block is all that the loop does between
two lines: fetching batches, forward, backward, clipping, optimiser, logging.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from typing import Any

from mtkd.bench.answer import Conversation, bytes_in_use


class Turnstile(logging.Handler):
    """Answers with the time of each block; the first one warms up."""

    def __init__(self, conversation: Conversation, updates_per_block: int) -> None:
        super().__init__()
        self.conversation = conversation
        self.updates_per_block = updates_per_block
        self.baseline_bytes = bytes_in_use(conversation.device)
        self.started: float | None = None
        self.dev_nll: float | None = None
        """Nats a token at the end; fairseq logs bits."""
        self.kd_loss: float | None = None
        """Bits a token in the last block; nothing where there are no soft targets."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line of fairseq's log."""
        if record.name == "train_inner":
            self._hold_up(json.loads(record.getMessage()))
        elif record.name == "valid":
            self.dev_nll = float(json.loads(record.getMessage())["valid_nll_loss"]) * math.log(2.0)

    def _hold_up(self, logged: dict[str, Any]) -> None:
        if self.started is None:
            self.conversation.ready(self.baseline_bytes)
        else:
            seconds = self.conversation.clock() - self.started
            self.conversation.answer(seconds, float(logged["wpb"]) * self.updates_per_block)
            self.kd_loss = float(logged["kd_loss"]) if "kd_loss" in logged else None
        # Told to finish, it trains on, to the validation at its end, unmeasured.
        self.conversation.asked()
        self.started = self.conversation.clock()


def main() -> None:
    """Train, a block for every question."""
    settings = json.loads(sys.argv[1])
    conversation = Conversation()
    from fairseq_cli.train import cli_main  # noqa: PLC0415 - prints on being imported

    turnstile = Turnstile(conversation, settings["updates_per_block"])
    logging.getLogger("fairseq.logging.progress_bar").addHandler(turnstile)
    sys.argv = ["fairseq-train", *settings["argv"]]
    cli_main()
    conversation.finish(dev_nll=turnstile.dev_nll, kd_loss=turnstile.kd_loss)


if __name__ == "__main__":
    main()
