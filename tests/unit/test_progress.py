"""What a step says arrives, on a terminal and in a file, and not more often than can be read."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mtkd.progress import EVENTS_VARIABLE, Progress, ProgressView, read_event


def written(as_events: bool) -> str:
    stream = io.StringIO()
    progress = Progress("student", stream=stream, as_events=as_events)
    progress.started()
    for done in range(1, 1001):
        progress.update(done, 1000, "loss 4.31")
    progress.message("[bold] is text")
    progress.warn("no gap")
    progress.failed("it broke", "run/log.txt")
    progress.finished(12.34)
    return stream.getvalue()


def test_plain_lines_are_few_and_end_with_the_last() -> None:
    assert written(as_events=False).splitlines() == [
        "[student] started",
        "[student] 1/1000 loss 4.31",
        "[student] 1000/1000 loss 4.31",
        "[student] [bold] is text",
        "[student] warning: no gap",
        "[student] error: it broke",
        "[student] log: run/log.txt",
        "[student] done in 12.3 s",
    ]


def test_events_survive_the_pipe() -> None:
    events = [read_event(line) for line in written(as_events=True).splitlines()]
    assert events[1] == {"mtkd": "update", "step": "student", "done": 1, "total": 1000, "note": "loss 4.31"}
    assert [event["mtkd"] for event in events if event] == [
        *("start", "update", "update", "message", "warn", "error", "finish")
    ]


@pytest.mark.parametrize("line", ["", "loss 3", '{"loss": 3}', '{"mtkd": "upda'])
def test_other_lines_are_no_events(line: str) -> None:
    assert read_event(line) is None


def test_the_environment_chooses_the_form(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(EVENTS_VARIABLE, "1")
    Progress("clean").message("a")
    monkeypatch.delenv(EVENTS_VARIABLE)
    Progress("clean").message("b")
    first, second = capsys.readouterr().out.splitlines()
    assert read_event(first) == {"mtkd": "message", "step": "clean", "text": "a"}
    assert second == "[clean] b"


def shown(terminal: bool) -> tuple[str, ProgressView]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, color_system=None)
    with ProgressView(console, steps=3) as view:
        for line in written(as_events=True).splitlines():
            event = read_event(line)
            assert event is not None
            view.show(event)
        view.show({"mtkd": "start", "step": "mixed"})
        view.show({"mtkd": "update", "step": "mixed", "done": 3, "total": 10, "note": "loss 2"})
    return stream.getvalue(), view


def test_a_file_gets_the_lines_a_step_would_print() -> None:
    text, view = shown(terminal=False)
    lines = text.splitlines()
    assert lines[:4] == [
        "[student] started",
        "[student] 1/1000 loss 4.31",
        "[student] 1000/1000 loss 4.31",
        "[student] [bold] is text",
    ]
    assert lines[-3:] == ["[student] done in 12.3 s (1/3)", "[mixed] started", "[mixed] 3/10 loss 2"]
    assert (view.running, view.failed) == (["mixed"], ["student"])


def test_a_terminal_gets_bars_and_keeps_messages() -> None:
    text, _ = shown(terminal=True)
    assert "3/10" in text
    assert "loss 2" in text
    assert "[student] warning: no gap" in text
    assert "[student] 1/1000" not in text
