"""The process: start, log, refusal of a bad bundle, shutdown."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from mtkd.errors import BundleError, UsageError
from service.engines.echo import EchoEngine
from service.server import run, serve
from service.settings import Settings

PAIR = {"source": "en", "target": "de"}
SERVE = "import sys, pathlib; from service import server, settings; "
SERVE += "server.serve(pathlib.Path(sys.argv[1]), settings.load_settings())"
SERVE_SLOWLY = """
import time
from service import server, settings
from service.engines.echo import EchoEngine

class SlowEcho(EchoEngine):
    def translate(self, segments):
        time.sleep(1)
        return list(segments)

server.run(SlowEcho(), settings.load_settings())
"""


def test_the_start_is_logged_and_no_text_ever_is(start_server, bundle_dir):
    server = start_server(SERVE, str(bundle_dir))
    canary = "Canary 4711 sings"
    with httpx2.Client(base_url=server.url) as client:
        assert client.post("/translate", json={"q": canary, **PAIR}).status_code == 200
        assert client.post("/translate", params={"q": canary, **PAIR}).status_code == 200
        assert client.post("/translate", data={"q": canary, "source": canary, "target": "de"}).status_code == 400
        assert (
            client.post("/translate", content=canary, headers={"content-type": "application/json"}).status_code == 400
        )
        assert client.get(f"/{canary}").status_code == 404
    server.process.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    lines = server.log.splitlines()
    assert len(lines) == 2, server.log
    assert "engine=ctranslate2" in lines[0]
    assert "languages=en-de" in lines[0]
    assert "threads=1 compute_type=int8 beam=2" in lines[0]
    assert "4711" not in server.log


def test_sigterm_finishes_what_was_admitted_and_nothing_more(start_server):
    server = start_server(SERVE_SLOWLY)
    url = httpx2.URL(server.url)
    asked = []
    for text in ("one", "two"):
        connection = http.client.HTTPConnection(url.host, url.port, timeout=20)
        connection.request("POST", "/translate", json.dumps({"q": text, **PAIR}), {"Content-Type": "application/json"})
        asked.append(connection)
    # An answer to a later connection: the event loop has read the two before it.
    assert httpx2.get(f"{server.url}/health").status_code == 200
    server.process.send_signal(signal.SIGTERM)
    answers = []
    for connection in asked:
        with closing(connection):
            answers.append(json.load(connection.getresponse()))
    assert answers == [{"translatedText": "one"}, {"translatedText": "two"}]
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{server.url}/health")
    assert server.wait() == 0


def test_an_interrupt_ends_without_a_traceback(start_server):
    server = start_server(SERVE_SLOWLY)
    server.process.send_signal(signal.SIGINT)
    assert server.wait() == 0
    assert "Traceback" not in server.log


def test_an_altered_bundle_is_refused_before_anything_starts(bundle_dir, tmp_path):
    altered = tmp_path / "altered"
    shutil.copytree(bundle_dir, altered)
    model = altered / "int8/model.bin"
    model.write_bytes(model.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BundleError, match=r"int8/model.bin was altered .* export the bundle again"):
        serve(altered, Settings(port=0))


def test_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match="not a bundle"):
        serve(tmp_path, Settings(port=0))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_taken_port_is_refused_in_one_message(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on {host}:{port}: .*MTKD_PORT"):
            run(EchoEngine(), Settings(host=host, port=port))


def test_the_service_never_imports_torch_or_fairseq():
    code = "import sys, service.server; print(*({'torch', 'fairseq', 'numpy', 'transformers'} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert result.stdout.split() == []
