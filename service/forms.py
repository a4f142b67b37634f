"""The parameters of one request, which clients send as JSON, as a form or in the query string.

What it owns: the reading of the three forms into one, and what is not UTF-8 or not JSON at all.
What it must not know: the names of parameters, dialects.
Why by hand: one parameter may come in any of the three forms (official clients send a body with GET), which FastAPI's
own parameters cannot express.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.exceptions import HTTPException

JSON = "application/json"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MAX_FIELDS = 1000
"""Of a form or query string; as many as Starlette admits in a multipart body."""


async def read_values(request: Request) -> dict[str, list[Any]]:
    """Each parameter's values: of a JSON body, else of query string and form together, the query first.

    A JSON list is the values of its parameter, anything else but null is its one value; null is the same as absent.
    Texts are given as they were sent: nothing is stripped, line endings stay.

    Raises:
        HTTPException: 400 for what is not JSON, not UTF-8, or has too many fields; 413 for a body that is too large.
    """
    sent = await read_json(request)
    if sent is None:
        values: dict[str, list[Any]] = {}
        for name, value in await read_fields(request):
            values.setdefault(name, []).append(value)
        return values
    return {name: value if isinstance(value, list) else [value] for name, value in sent.items() if value is not None}


async def read_json(request: Request) -> dict[str, Any] | None:
    """The JSON object in the body; None where the request has no JSON body.

    Raises:
        HTTPException: 400 for what is not a JSON object, or holds text that no UTF-8 could (half a surrogate pair).
    """
    media_type = _media_type(request)
    if media_type != JSON and not media_type.endswith("+json"):
        return None
    body = await request.body()
    if not body and request.method == "GET":
        return None
    try:
        values = json.loads(body)
        json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise HTTPException(400, "Invalid JSON format")
    return values


async def read_fields(request: Request) -> list[tuple[str, str]]:
    """Names and values of the query string, then of a form body (URL-encoded or multipart; files are left out).

    Raises:
        HTTPException: 400 for what is not UTF-8, has too many fields or is no multipart body.
    """
    fields = _parse(request.scope["query_string"], "query string")
    media_type = _media_type(request)
    if media_type == URLENCODED:
        # Not request.form(): it reads unescaped bytes as Latin-1, and `curl -d 'q=...'` sends plain UTF-8.
        fields += _parse(await request.body(), "body")
    elif media_type == MULTIPART:
        async with request.form(max_files=0, max_fields=MAX_FIELDS) as form:
            fields += [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    return fields


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _parse(encoded: bytes, place: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise HTTPException(400, f"Invalid request: the {place} is not UTF-8") from None
    except ValueError:
        raise HTTPException(400, f"Invalid request: the {place} has more than {MAX_FIELDS} fields") from None
