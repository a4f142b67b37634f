"""How far a step is: said by steps, shown by `mtkd run`.

What it owns: the events, their one-line form, and how they look on a terminal and in a file.
What it must not know: what steps do, Snakemake.
Why lines on stdout: a step is a process of its own, and may run on another machine.
"""

from __future__ import annotations

import json
import os
import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

EVENTS_VARIABLE = "MTKD_EVENTS"
"""Set to 1 by `mtkd run`: steps then write events as JSON lines and no plain text."""
_MARK = '{"mtkd": '
_REPORT_EVERY_S = 0.25
PLAIN_EVERY_S = 10.0
"""Least time between two progress lines of one step where there is no terminal."""


class Progress:
    """What a step says of itself; each call is one line on `stream`."""

    def __init__(self, name: str, *, stream: TextIO | None = None, as_events: bool | None = None) -> None:
        self.name = name
        self._stream = stream or sys.stdout
        self._as_events = os.environ.get(EVENTS_VARIABLE) == "1" if as_events is None else as_events
        self._last_update_s = float("-inf")

    def update(self, done: int, total: int, note: str = "") -> None:
        """So much of the work is done; may be called often, since most calls in between are not written."""
        now_s = time.monotonic()
        every_s = _REPORT_EVERY_S if self._as_events else PLAIN_EVERY_S
        if done >= total or now_s - self._last_update_s >= every_s:
            self._last_update_s = now_s
            self._emit("update", f"{done}/{total} {note}".rstrip(), done=done, total=total, note=note)

    def message(self, text: str) -> None:
        """Something the user wants to read now."""
        self._emit("message", text, text=text)

    def warn(self, text: str) -> None:
        """Something the user should look into; the run goes on."""
        self._emit("warn", f"warning: {text}", text=text)

    def started(self) -> None:
        """The step begins."""
        self._emit("start", "started")

    def finished(self, seconds: float) -> None:
        """The step is done."""
        self._emit("finish", f"done in {seconds:.1f} s", text=f"done in {seconds:.1f} s")

    def failed(self, text: str, log: str) -> None:
        """The step ended with an error, `text`; `log` is where more is written."""
        self._emit("error", f"error: {text}\n[{self.name}] log: {log}", text=text, log=log)

    def _emit(self, kind: str, plain: str, **fields: Any) -> None:
        event = json.dumps({"mtkd": kind, "step": self.name, **fields}, ensure_ascii=False)
        # One write a line, so that the lines of steps that share a pipe do not mix.
        self._stream.write((event if self._as_events else f"[{self.name}] {plain}") + "\n")
        self._stream.flush()


def read_event(line: str) -> dict[str, Any] | None:
    """The event in a line, None for any other line."""
    if not line.startswith(_MARK):
        return None
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return event


class ProgressView:
    """Shows the events of a run: bars where `console` is a terminal, lines elsewhere."""

    def __init__(self, console: Console, *, steps: int) -> None:
        self.console = console
        self.running: list[str] = []
        """Steps that started and neither finished nor failed."""
        self.failed: list[str] = []
        self._steps = steps
        self._finished = 0
        self._shown_s: dict[str, float] = {}
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Bars(*columns, TextColumn("{task.fields[note]}"), console=self.console, transient=True)
            self._tasks["run"] = self._bars.add_task("run", total=self._steps, note="")
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Show one event."""
        step = event["step"]
        match event["mtkd"]:
            case "start":
                self.running.append(step)
                self._start(step)
            case "update":
                self._update(step, event["done"], event["total"], event["note"])
            case "message":
                self.line(step, event["text"])
            case "warn":
                self.line(step, f"warning: {event['text']}", style="yellow")
            case "finish":
                self._finished += 1
                self._end(step)
                self.line(step, f"{event['text']} ({self._finished}/{self._steps})")
            case "error":
                self.failed.append(step)
                self._end(step)
                self.line(step, f"error: {event['text']}", style="red")
                self.line(step, f"log: {event['log']}")

    def line(self, step: str, text: str, style: str | None = None) -> None:
        """Print one line of a step, above the bars."""
        self.console.print(f"[{step}] {text}", style=style, markup=False, highlight=False, soft_wrap=True)

    def _start(self, step: str) -> None:
        if self._bars:
            self._tasks[step] = self._bars.add_task(step, total=None, note="")
        else:
            self.line(step, "started")

    def _update(self, step: str, done: int, total: int, note: str) -> None:
        if self._bars and step in self._tasks:
            self._bars.update(self._tasks[step], completed=done, total=total, note=note)
            return
        now_s = time.monotonic()
        if done >= total or now_s - self._shown_s.get(step, float("-inf")) >= PLAIN_EVERY_S:
            self._shown_s[step] = now_s
            self.line(step, f"{done}/{total} {note}".rstrip())

    def _end(self, step: str) -> None:
        if step in self.running:
            self.running.remove(step)
        if self._bars and step in self._tasks:
            self._bars.remove_task(self._tasks.pop(step))
            self._bars.update(self._tasks["run"], completed=self._finished)
