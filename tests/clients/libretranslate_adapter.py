"""A pytest plugin: the test client that LibreTranslate's own tests expect, over HTTP to the server at $MTKD_URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest


class Answer:
    """What of Flask's response the tests read."""

    def __init__(self, response: httpx2.Response) -> None:
        self.data, self.status_code = response.content, response.status_code
        self.json = response.json() if response.headers["content-type"] == "application/json" else None


class Client:
    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def get(self, path: str) -> Answer:
        return Answer(self._http.get(path))

    def post(self, path: str, **body: Any) -> Answer:
        return Answer(self._http.post(path, **body))


@pytest.fixture
def client() -> Iterator[Client]:
    with httpx2.Client(base_url=os.environ["MTKD_URL"], timeout=20) as http:
        yield Client(http)
