"""The load generator against a real server that counts what it sees."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mtkd.bench.serve_load import NO_ANSWER, closed_loop, for_seconds, open_loop, post


class CountingServer(ThreadingHTTPServer):
    """Answers with the status that the body asks for, and knows who was there and how many at once."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.clients: set[object] = set()
        self.asked = self.at_once = self.most_at_once = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CountingServer

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.clients.add(self.client_address)
            self.server.asked += 1
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        time.sleep(wanted.get("delay_s", 0))
        with self.server.lock:
            self.server.at_once -= 1
        if wanted.get("hang_up"):
            self.close_connection = True
            return
        self.send_response(wanted["status"])
        if wanted["status"] == 429:
            self.send_header("Retry-After", "1")
        body = b"x" * wanted.get("bytes", 2)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[CountingServer]:
    with CountingServer() as counting:
        thread = threading.Thread(target=counting.serve_forever, args=(0.01,))
        thread.start()
        yield counting
        counting.shutdown()
        thread.join()


def asking(status: int = 200, **more: object):
    return post("/", json.dumps({"status": status, **more}).encode(), kind=str(status))


def test_a_closed_loop_keeps_every_connection_busy_and_open(server: CountingServer) -> None:
    requests = [asking(delay_s=0.05)] * 40
    load = asyncio.run(closed_loop(server.server_port, requests, connections=8))
    assert (len(load.answers), load.errors) == (40, 0)
    assert (server.asked, len(server.clients), server.most_at_once) == (40, 8, 8)
    assert all(answer.seconds >= 0.05 for answer in load.answers)
    assert load.seconds >= 40 / 8 * 0.05
    assert 0 < load.cpu_s < load.seconds


def test_statuses_are_told_apart_and_all_but_200_are_errors(server: CountingServer) -> None:
    requests = [asking(), asking(429), asking(503), asking(200), asking(429)]
    load = asyncio.run(closed_loop(server.server_port, requests, connections=1))
    assert [answer.status for answer in load.answers] == [200, 429, 503, 200, 429]
    assert [answer.kind for answer in load.answers] == ["200", "429", "503", "200", "429"]
    assert [answer.says_when for answer in load.answers] == [False, True, False, False, True]
    assert load.errors == 3


def test_an_answer_that_comes_in_pieces_is_read_whole(server: CountingServer) -> None:
    load = asyncio.run(closed_loop(server.server_port, [asking(bytes=3_000_000), asking()], connections=1))
    assert (len(load.answers), load.errors, len(server.clients)) == (2, 0, 1)


def test_a_connection_that_the_server_drops_is_an_error_and_then_a_new_one(server: CountingServer) -> None:
    load = asyncio.run(closed_loop(server.server_port, [asking(hang_up=True), asking()], connections=1))
    assert [answer.status for answer in load.answers] == [NO_ANSWER, 200]
    assert (load.errors, len(server.clients)) == (1, 2)


def test_a_load_ends_when_its_time_is_over(server: CountingServer) -> None:
    load = asyncio.run(closed_loop(server.server_port, for_seconds([asking()], 0.3), connections=2))
    assert 0.25 < load.seconds < 5.0
    assert len(load.answers) == server.asked > 2


def test_an_open_loop_does_not_wait_for_answers(server: CountingServer) -> None:
    requests = [asking(delay_s=0.3)] * 20
    load = asyncio.run(open_loop(server.server_port, requests, per_second=100, connections=2))
    assert (len(load.answers), load.errors) == (20, 0)
    assert server.most_at_once > 10, "more connections are opened as they are needed"
    assert 0.19 + 0.29 < load.seconds < 20 * 0.3
    sent = [answer.sent for answer in load.answers]
    assert max(sent) - min(sent) >= 0.19 - 0.01, "at the rate that was asked for"
