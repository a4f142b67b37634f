"""The other end of `alternate.py` for programs without torch: ready, then an answer a question, then the last word.

What it owns: the conversation on standard input and output. What it must not know: what is measured.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

from mtkd.bench.alternate import ROUND, Message


def take_turns(prepare: Callable[[], tuple[Message, Callable[[], Message]]]) -> None:
    """Say what `prepare` tells once all is warm, answer each question with what its function returns, and finish.

    Whatever else is printed meanwhile goes to standard error.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: Message) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    about, work = prepare()
    say(about)
    while sys.stdin.readline().strip() == ROUND:
        say(work())
    say({})
