"""The real server with a real bundle, in a process of its own, for clients in processes of their own."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.service.conftest import ServerProcess, write_bundle

SERVE_BUNDLE = "import sys, pathlib; from service import server, settings; "
SERVE_BUNDLE += "server.serve(pathlib.Path(sys.argv[1]), settings.load_settings(data=sys.argv[2]))"


@pytest.fixture(scope="session")
def student_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the tiny bundle, whose model has random weights and so says something else for every text.

    It has a state folder, since without one nothing is counted.
    """
    bundle = write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    server = ServerProcess(SERVE_BUNDLE, str(bundle), str(tmp_path_factory.mktemp("data")))
    yield server.url
    server.process.terminate()
    assert server.wait() == 0


@pytest.fixture(scope="session")
def prefixed_url(student_url: str) -> Iterator[str]:
    """The same server behind a proxy, under a path of its own, as `https://host/mt/` would be."""
    host = urlsplit(student_url).netloc

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            connection = http.client.HTTPConnection(host, timeout=20)
            path = self.path.removeprefix("/mt") if self.path.startswith("/mt/") else "/nowhere"
            connection.request(self.command, path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            self.send_response(answer.status)
            self.send_header("content-type", answer.headers["content-type"])
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever).start()
        yield f"http://127.0.0.1:{proxy.server_port}/mt/"
        proxy.shutdown()
