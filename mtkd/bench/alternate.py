"""Measures variants of a computation against each other on a machine that may be busy with other things.

What it owns: the life of the processes that compute, and whose turn it is. What it must not know: what they compute.
Why a process a variant: peak memory is then each variant's own. Why in turn, one at a time: a machine that slows down
slows all of them down, and the ratios within a round stay true. The order is turned round after every round, so that
no variant always comes after the same other one.

A process says one line of JSON when it is ready (set up and warm), one for every line "round" it reads, and a last one
for "finish"; see `answer.py`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from mtkd.errors import MtkdError
from mtkd.processes import die_with_parent

Message = dict[str, Any]
ROUND, FINISH = "round", "finish"
GRACE_S = 20.0
"""How long a process that was told to finish may take to end."""


@dataclass
class Measured:
    """What one variant's process said."""

    about: Message
    """On being ready: machine, versions, memory before the work."""
    rounds: list[Message] = field(default_factory=list)
    """A message a round, `seconds` in each."""
    facts: Message = field(default_factory=dict)
    """At the end: `peak_bytes`, and what else the variant has to tell."""


def alternate(
    commands: Mapping[str, Sequence[str]],
    rounds: int,
    *,
    environment: Mapping[str, str],
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Measured]:
    """Start one process a variant, one after another, and ask each in turn, so many rounds long.

    Args:
        commands: variant -> command line of its process.
        rounds: how often each is asked; warming up is each process's own business.
        environment: of the processes.
        tell: is told in words what is going on.

    Raises:
        MtkdError: a process ended before its time; the message has its last words.
    """
    with contextlib.ExitStack() as stack:
        children: dict[str, _Child] = {}
        measured: dict[str, Measured] = {}
        for name, argv in commands.items():
            tell(f"starting {name}")
            children[name] = stack.enter_context(_child(name, argv, environment))
            measured[name] = Measured(about=children[name].hear())
        for number in range(rounds):
            for name in list(children)[:: 1 if number % 2 == 0 else -1]:
                tell(f"round {number + 1} of {rounds}: {name}")
                measured[name].rounds.append(children[name].ask(ROUND))
        for name, child in children.items():
            tell(f"ending {name}")
            measured[name].facts = child.ask(FINISH)
        return measured


@contextlib.contextmanager
def _child(name: str, argv: Sequence[str], environment: Mapping[str, str]) -> Iterator[_Child]:
    """A variant's process; ended, if need be by force, on the way out."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509  this process has no threads
        )
        with process:
            child = _Child(name, process, errors)
            try:
                yield child
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)
            finally:
                process.kill()


class _Child:
    """One variant's process, seen from the one that measures."""

    def __init__(self, name: str, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self.name = name
        self.process = process
        self.errors = errors

    def ask(self, question: str) -> Message:
        """The answer to one question; nothing else is computing meanwhile."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # hear() says why
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
        return self.hear()

    def hear(self) -> Message:
        """The next message."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise MtkdError(f"benchmark: {self.name} {self._last_words()}")
        message: Message = json.loads(line)
        return message

    def _last_words(self) -> str:
        code = self.process.wait()
        if code < 0:
            return f"was ended by signal {-code}; was the memory full? choose smaller sizes"
        self.errors.seek(0)
        said = [line.strip() for line in self.errors if line.strip()]
        return f"failed: {said[-1] if said else f'exit code {code}'}"
