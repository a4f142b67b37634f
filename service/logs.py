"""The log: one line an event on standard error, as text or JSON, never with what a user sent.

What it owns: the two formats, and what of an exception is told: its type and where it happened. Its message may quote
the text that caused it. What it must not know: what is logged.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from copy import copy
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from service.request_ids import current_request

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_FRAMES = 8


class TextFormatter(logging.Formatter):
    """`LEVEL logger: message key=value`."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line; what belongs to a request ends with its id."""
        if record.exc_info or record.exc_text:
            # logging keeps the exception's text in the record: another handler's must not be ours, nor ours another's.
            record = copy(record)
            record.exc_text = None
        return " ".join([super().format(record), *(f"{key}={value}" for key, value in fields_of(record).items())])

    def formatException(self, ei: ExcInfo) -> str:
        """Type and place, no message."""
        return where(ei[1])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `message`, then the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["error"] = where(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


FORMATTERS: dict[str, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}
"""By the values of `MTKD_LOG_FORMAT`."""


def configure(log_format: str) -> None:
    """Write this process's log to standard error in that format, in place of any handler there was."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATTERS[log_format]())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra={"fields": ...}`, and the id of the request that is being served."""
    fields: dict[str, Any] = dict(getattr(record, "fields", {}))
    if request := current_request():
        fields["request_id"] = request.request_id
    return fields


def where(error: BaseException | None) -> str:
    """The exception's type and its innermost frames; without its message, which may quote the text."""
    if error is None:
        return "none"
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return f"{type(error).__name__} at " + " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
