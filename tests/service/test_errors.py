"""Errors in the shape of the dialect that was spoken, whatever it was."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from service.app import create_app
from service.engines.echo import EchoEngine
from service.settings import Settings

PAIR = {"source": "en", "target": "de"}
ASK = {
    "/translate": lambda text: {"q": text, **PAIR},
    "/v2/translate": lambda text: {"text": [text], "target_lang": "DE"},
    "/language/translate/v2": lambda text: {"q": text, **PAIR},
    "/v1/translate": lambda text: {"texts": [text]},
}
SHAPES = {
    "/translate": "error",
    "/v2/translate": "message",
    "/language/translate/v2": "error",
    "/v1/translate": "error",
}


def message_of(path: str, answer) -> str:
    """The error's text, after checking that the whole answer has the dialect's shape."""
    ((name, value),) = answer.json().items()
    assert name == ("message" if path.startswith("/v2") else "error")
    return value["message"] if path.startswith("/language") else value


@pytest.mark.parametrize("path", ASK)
def test_a_prefix_does_not_change_the_dialect(path):
    app = Starlette(routes=[Mount("/v2/mt", app=create_app(EchoEngine(), Settings()))])
    with TestClient(app) as client:
        assert client.post(f"/v2/mt{path}", json=ASK[path]("x")).status_code == 200
        wrong = client.put(f"/v2/mt{path}")
        assert wrong.status_code == 405
        assert message_of(path, wrong) == "Method Not Allowed"
        assert "POST" in wrong.headers["allow"]
        assert ("x-trace-id" in wrong.headers) == (path == "/v2/translate")


@pytest.mark.parametrize("path", ASK)
def test_a_full_queue_is_429_and_a_late_answer_503_in_every_dialect(serving, path):
    class Held(EchoEngine):
        def __init__(self) -> None:
            super().__init__()
            self.started, self.open = threading.Event(), threading.Event()

        def translate(self, segments, decoding):
            self.started.set()
            assert self.open.wait(10)
            return super().translate(segments, decoding)

    engine = Held()
    long = "\n".join(f"line {'x' * number}" for number in range(10))
    with (
        serving(engine, Settings(threads=1, max_queue_tokens=10, deadline_s=2)) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            first = pool.submit(client.post, "/translate", json=ASK["/translate"](long))
            assert engine.started.wait(5)
            begun = time.monotonic()
            busy = client.post(path, json=ASK[path](long))
            assert time.monotonic() - begun < 1
            late = first.result(5)
        finally:
            engine.open.set()
    assert busy.status_code == 429
    assert int(busy.headers["retry-after"]) >= 1
    assert "try again in" in message_of(path, busy)
    assert late.status_code == 503
    assert "took longer than 2 s" in late.json()["error"]
