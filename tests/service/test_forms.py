"""Parameters come out the same however they were sent."""

from __future__ import annotations

import asyncio
import json

import pytest
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from service.forms import MAX_FIELDS, read_values

JSON, FORM = "application/json", "application/x-www-form-urlencoded"


def values(body=b"", content_type="", query=b"", method="POST"):
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http",
        "app": None,  # Starlette words its errors for clients only within an application
        "method": method,
        "path": "/",
        "query_string": query,
        "headers": [(b"content-type", content_type.encode())] if content_type else [],
    }
    return asyncio.run(read_values(Request(scope, receive)))


def refusal(*args, **options):
    with pytest.raises(HTTPException) as refused:
        values(*args, **options)
    assert refused.value.status_code == 400
    return refused.value.detail


def read_or_refused(*args):
    try:
        return values(*args)
    except HTTPException as refused:
        return refused.status_code


def multipart(fields):
    parts = "".join(f'--x\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields)
    return f"{parts}--x--\r\n".encode()


def test_query_form_and_multipart_are_read_alike():
    expected = {"a": ["1 ü", ""], "b": ["2"]}
    encoded = b"a=1+%C3%BC&a=&b=2"
    assert values(query=encoded, method="GET") == expected
    assert values(encoded, FORM) == expected
    assert values(encoded, f"{FORM.upper()}; charset=utf-8", method="GET") == expected
    assert values(multipart([("a", "1 ü"), ("a", ""), ("b", "2")]), "multipart/form-data; boundary=x") == expected


def test_query_and_form_are_joined_the_query_first():
    assert values(b"a=2&b=3", FORM, b"a=1") == {"a": ["1", "2"], "b": ["3"]}


def test_json_leaves_the_query_aside_and_null_is_absent():
    body = json.dumps({"a": ["x", 1], "b": "y", "c": None, "d": [], "e": False, "f": {"g": None}}).encode()
    assert values(body, JSON, b"z=1") == {"a": ["x", 1], "b": ["y"], "d": [], "e": [False], "f": [{"g": None}]}
    assert values(b'{"a": 1}', "application/vnd.api+json") == {"a": [1]}


def test_a_body_of_another_type_is_not_read():
    assert values(b'{"a": 1}', "text/plain", b"b=2") == {"b": ["2"]}
    assert values(b"a=1", query=b"b=2") == {"b": ["2"]}


def test_a_get_that_only_says_it_is_json_is_read_from_its_query():
    assert values(content_type=JSON, query=b"a=1", method="GET") == {"a": ["1"]}


def test_raw_utf_8_needs_no_escapes():
    assert values("q=Größe".encode(), FORM, "p=ü".encode()) == {"p": ["ü"], "q": ["Größe"]}


@pytest.mark.parametrize("raw", [b"q=\xff", b"q=%FF", b"q=%ED%A0%80"])
def test_what_is_not_utf_8_is_refused(raw):
    assert "the body is not UTF-8" in refusal(raw, FORM)
    assert "the query string is not UTF-8" in refusal(query=raw)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"1", b"\xff", b'{"a": "\xff"}', b'{"a": "\\ud800"}', b"[" * 10_000, b"9" * 5_000],
)
def test_what_is_no_json_object_of_utf_8_is_refused(body):
    assert refusal(body, JSON) == "Invalid JSON format"


def test_too_many_fields_are_refused():
    many = b"&".join([b"a=1"] * (MAX_FIELDS + 1))
    assert str(MAX_FIELDS) in refusal(many, FORM)
    assert str(MAX_FIELDS) in refusal(query=many)
    assert refusal(multipart([("a", "1")] * (MAX_FIELDS + 1)), "multipart/form-data; boundary=x")
    assert len(values(b"&".join([b"a=1"] * MAX_FIELDS), FORM)["a"]) == MAX_FIELDS


@pytest.mark.parametrize("body", [b"", b"--x", b"garbage", b"--x\r\n\r\n\r\n--x--"])
def test_a_broken_multipart_body_is_refused_or_empty(body):
    assert read_or_refused(body, "multipart/form-data; boundary=x") in ({}, 400)
    assert refusal(body, "multipart/form-data")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([JSON, FORM, "multipart/form-data; boundary=x"]))
def test_no_body_is_worse_than_refused(body, content_type):
    read = read_or_refused(body, content_type)
    assert read == 400 or all(isinstance(entries, list) for entries in read.values())
