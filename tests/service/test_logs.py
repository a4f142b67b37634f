"""The log's two formats, and what of a request and of an error it tells."""

from __future__ import annotations

import json
import logging
import re
import sys

import pytest

from service.engines.echo import EchoEngine
from service.logs import FORMATTERS
from service.settings import Settings

PAIR = {"source": "en", "target": "de"}


def record_of(message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "service.x", "levelname": "INFO", "msg": message, "args": args, **extra})


@pytest.mark.parametrize("log_format", sorted(FORMATTERS))
def test_an_event_is_one_line_with_its_fields(log_format):
    line = FORMATTERS[log_format]().format(record_of("loaded %d", 2, fields={"engine": "echo", "threads": 4}))
    assert "\n" not in line
    if log_format == "json":
        event = json.loads(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", event.pop("time"))
        assert event == {
            "level": "INFO", "logger": "service.x", "message": "loaded 2", "engine": "echo", "threads": 4,
        }  # fmt: skip
    else:
        assert line == "INFO service.x: loaded 2 engine=echo threads=4"


@pytest.mark.parametrize("log_format", sorted(FORMATTERS))
def test_another_handler_neither_sees_our_words_nor_gives_us_its_own(log_format):
    try:
        raise ValueError("Kanarienvogel")
    except ValueError:
        record = record_of("failed", exc_info=sys.exc_info())
    ours, other = FORMATTERS[log_format](), logging.Formatter()
    assert "Kanarienvogel" not in ours.format(record)
    assert "Kanarienvogel" in other.format(record)
    assert "Kanarienvogel" not in ours.format(record)


@pytest.mark.parametrize("log_format", sorted(FORMATTERS))
def test_an_exception_is_told_by_type_and_place_never_by_its_message(log_format):
    def fail():
        raise ValueError("canary 4711")

    try:
        fail()
    except ValueError:
        line = FORMATTERS[log_format]().format(record_of("failed", exc_info=sys.exc_info()))
    assert "ValueError at fail:" in line
    assert "4711" not in line


@pytest.fixture
def access_lines(caplog):
    """The fields of the access lines so far."""
    caplog.set_level(logging.INFO)
    return lambda: [record.fields for record in caplog.records if record.name == "service.requests"]


def test_a_request_is_one_line_with_template_status_and_counts(serving, access_lines):
    with serving(EchoEngine(), Settings()) as client:
        client.post("/translate", params={"q": "Größe", **PAIR})
        client.get("/translate")
        client.get("/some/secret/path")
        client.get("/web/docs.js")
    translated, wrong_method, unknown, static = access_lines()
    assert translated.pop("ms") >= translated.pop("decode_ms") + translated.pop("queue_ms") - 0.2
    assert translated == {
        "method": "POST", "route": "/translate", "dialect": "libretranslate", "status": 200, "characters": 5,
    }  # fmt: skip
    assert (wrong_method["status"], wrong_method["characters"]) == (405, 0)
    assert (unknown["status"], unknown["route"], unknown["dialect"]) == (404, "none", "none")
    assert static["status"] == 200
    assert "docs.js" not in str(static)


def test_probes_are_silent_while_all_is_well(serving, access_lines):
    with serving(EchoEngine(), Settings()) as client:
        for path in ("/livez", "/readyz", "/metrics", "/health"):
            assert client.get(path).status_code == 200
    assert [line["route"] for line in access_lines()] == ["/health"]


def test_lines_of_one_request_carry_its_id(serving, caplog):
    class Broken(EchoEngine):
        def translate(self, segments, decoding):
            logging.getLogger("service.engine").warning("in a thread")
            raise ValueError("canary 4711")

    lines = []
    handler = logging.Handler()
    handler.setFormatter(FORMATTERS["json"]())
    handler.emit = lambda record: lines.append(json.loads(handler.format(record)))
    logging.getLogger("service").addHandler(handler)
    try:
        with caplog.at_level(logging.INFO), serving(Broken(), Settings()) as client:
            client.post("/translate", json={"q": "x", **PAIR}, headers={"X-Request-ID": "abc-123-def"})
    finally:
        logging.getLogger("service").removeHandler(handler)
    start, engine, *own = lines
    assert start["logger"] == "service.access"
    assert (engine["logger"], "request_id" in engine) == ("service.engine", False), "a batch is of several requests"
    assert [line["logger"] for line in own] == ["service.errors", "service.requests"]
    assert {line["request_id"] for line in own} == {"abc-123-def"}
    assert lines[-1]["status"] == 500
