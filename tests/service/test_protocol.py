"""Hostile and slow clients on raw sockets: clean 4xx, bounded memory, nobody else harmed."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import httpx2
import pytest

from service.limits import MAX_JSON_DEPTH, MAX_PATH_BYTES, Nesting
from service.settings import Settings
from tests.raw_http import connect, post, resident_mb, talk
from tests.service.conftest import ServerProcess

PAIR = {"source": "en", "target": "de"}
SERVE = """
from service import server, settings
from service.engines.echo import EchoEngine
server.run(EchoEngine(), settings.load_settings(request_timeout_s=1))
"""
GOOD = post("/translate", json.dumps({"q": "still here", **PAIR}).encode())


@pytest.fixture(scope="module")
def server():
    server = ServerProcess(SERVE)
    # The first request imports what later ones use.
    assert talk(server.url, [GOOD]).status == 200
    yield server
    assert talk(server.url, [GOOD]).json == {"translatedText": "still here"}
    server.process.kill()
    server.wait()


@pytest.mark.parametrize("name", ["X-Long", ""])
def test_ten_megabytes_of_headers_are_431_and_not_kept(server, name):
    before = resident_mb(server.process.pid)
    line = b"x" * 65_536 if name else b"a: " + b"y" * 1000 + b"\r\n"
    begin = f"POST /v2/translate HTTP/1.1\r\nHost: x\r\n{name + ': ' if name else ''}".encode()
    answer = talk(server.url, [begin, *[line] * (10_000_000 // len(line))])
    assert answer.status == 431
    assert answer.json == {"message": "Invalid request: headers exceed 65536 bytes"}
    assert answer.headers["content-type"] == "application/json"
    assert resident_mb(server.process.pid) - before < 8


def test_a_url_that_alone_is_too_long_is_414(server):
    answer = talk(server.url, [b"GET /translate?q=", *[b"x" * 65_536] * 16])
    assert answer.status == 414
    assert "URL" in answer.json["error"]


def test_headers_over_the_limit_in_one_piece_are_431_too(server):
    answer = talk(server.url, [b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: " + b"y" * 70_000 + b"\r\n\r\n"])
    assert answer.status == 431


def test_a_long_path_is_414_in_the_dialects_shape(server):
    answer = talk(server.url, [post("/v2/" + "a" * MAX_PATH_BYTES, b"")])
    assert answer.status == 414
    assert list(answer.json) == ["message"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_one_byte_too_much_is_413_and_not_kept(server, declared):
    limit = Settings().max_body_bytes
    body = json.dumps({"q": "x", **PAIR}).encode().ljust(limit)
    before = resident_mb(server.process.pid)
    for content, status in ((body, 200), (body + b" ", 413)):
        request = post("/translate", content)
        if not declared:
            request = b"POST /translate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
            request += b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
        assert talk(server.url, [request]).status == status
    assert resident_mb(server.process.pid) - before < 16


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"q":' * 40_000, b'{"q": "\xff\xfe"}', b'{"q": "\xed\xa0\x80"}'])
def test_deep_json_and_invalid_utf8_are_400(server, body):
    answer = talk(server.url, [post("/translate", body)])
    assert (answer.status, list(answer.json)) == (400, ["error"])


def test_ten_thousand_alternatives_are_no_work(server):
    answer = talk(server.url, [post("/translate", json.dumps({"q": "a", **PAIR, "alternatives": 10_000}).encode())])
    assert answer.status in (200, 400)
    assert answer.seconds < 1
    assert len(answer.body) < 1000


@pytest.mark.parametrize(
    "request_bytes",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"POST /translate HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
     b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n"],
)  # fmt: skip
def test_what_is_not_http_is_400(server, request_bytes):
    answer = talk(server.url, [request_bytes])
    assert answer.status == 400
    assert list(answer.json) == ["error"]


def test_headers_that_arrive_byte_by_byte_are_408_in_time(server):
    answer = talk(server.url, [bytes([byte]) for byte in GOOD[:15]], pause_s=0.1)
    assert answer.status == 408
    assert "headers were not sent within 1 seconds" in answer.json["error"]


def test_a_body_that_arrives_byte_by_byte_is_408_in_time(server):
    head, _, body = GOOD.partition(b"\r\n\r\n")
    answer = talk(server.url, [head + b"\r\n\r\n", *(bytes([byte]) for byte in body[:20])], pause_s=0.1)
    assert answer.status == 408
    assert "body was not sent within 1 seconds" in answer.json["error"]
    assert answer.headers["x-request-id"]


def test_a_connection_without_a_request_is_closed_in_time(server):
    for drip in ([], [b"\r\n"] * 20):
        answer = talk(server.url, drip, pause_s=0.1)
        assert answer.status in (0, 408)
        assert answer.seconds < 4


def test_a_body_that_nobody_asked_for_is_not_read_for_ever(server):
    request = post("/nowhere", b"", length=10**10).replace(b"Connection: close", b"Connection: keep-alive")
    begun = time.monotonic()
    with connect(server.url) as connection:
        connection.sendall(request)
        with suppress(ConnectionError):
            while time.monotonic() - begun < 8:
                connection.sendall(b"x" * 10_000)
                time.sleep(0.1)
    assert time.monotonic() - begun < 6


def test_a_body_that_nobody_asked_for_spoils_no_answer(server):
    """Answers that are sent in parts watch for a disconnect, and so read what nobody else does."""
    for size, status in ((10, 200), (10**5, 200), (2 * 10**6, 413)):
        assert httpx2.request("GET", f"{server.url}/docs", content=b"x" * size).status_code == status


def test_a_request_that_was_admitted_may_take_longer_than_sending_may(start_server):
    slow = SERVE.replace("EchoEngine()", "SlowEcho()").replace(
        "server.run",
        "import time\nclass SlowEcho(EchoEngine):\n    def translate(self, *given):\n        time.sleep(2)\n"
        "        return super().translate(*given)\nserver.run",
    )
    answer = httpx2.post(f"{start_server(slow).url}/translate", json={"q": "patience", **PAIR}, timeout=20)
    assert answer.json() == {"translatedText": "patience"}


def test_pipelined_requests_are_all_answered_in_order(server):
    requests = [post("/translate", json.dumps({"q": text, **PAIR}).encode()) for text in ("one", "two")]
    requests[0] = requests[0].replace(b"Connection: close\r\n", b"")
    answer = talk(server.url, [b"".join(requests)])
    assert answer.body.index(b'"one"') < answer.body.index(b'"two"')


@pytest.mark.parametrize(
    ("text", "depth"),
    [("{}", 1), ('{"q": ["a", {"b": 1}]}', 3), ('["[[[", "\\"[[", "\\\\"]', 1), ("[][][]", 1), ('"', 0)],
)
def test_nesting_counts_brackets_outside_strings_however_they_arrive(text, depth):
    for size in (1, 2, 3, len(text)):
        nesting = Nesting()
        data = text.encode()
        assert max(nesting.feed(data[start : start + size]) for start in range(0, len(data), size)) == depth


def test_json_may_be_nested_up_to_the_limit(server):
    for depth, status in ((MAX_JSON_DEPTH, 200), (MAX_JSON_DEPTH + 1, 400)):
        deep = json.loads("[" * (depth - 1) + "]" * (depth - 1))
        body = json.dumps({"q": "a", **PAIR, "unknown": deep}).encode()
        assert talk(server.url, [post("/translate", body)]).status == status
