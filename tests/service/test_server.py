"""The process: start, log, refusal of a bad bundle, shutdown."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from mtkd.bundle import MANIFEST, describe_files
from mtkd.errors import BundleError, UsageError
from service.engines.echo import EchoEngine
from service.server import run, serve
from service.settings import Settings

ROOT = Path(__file__).parents[2]
PAIR = {"source": "en", "target": "de"}
SERVE = "import sys, pathlib; from service import server, settings; "
SERVE += "server.serve(pathlib.Path(sys.argv[1]), settings.load_settings())"
SERVE_SLOWLY = """
import time
from service import server, settings
from service.engines.echo import EchoEngine

class SlowEcho(EchoEngine):
    def translate(self, segments, decoding):
        time.sleep(0.05)
        return super().translate(segments, decoding)

server.run(SlowEcho(), settings.load_settings())
"""
LOAD_SLOWLY = """
import time
from service import server, settings
from service.engines.echo import EchoEngine

def load():
    time.sleep(2)
    return EchoEngine()

server.run_when_loaded(load, settings.load_settings())
"""
COUNT_OBJECTS = """
import gc, sys
from service import server, settings
from service.engines.echo import EchoEngine

class CountingEcho(EchoEngine):
    def translate(self, segments, decoding):
        print(f"objects={len(gc.get_objects())}", file=sys.stderr, flush=True)
        return super().translate(segments, decoding)

server.run(CountingEcho(), settings.load_settings())
"""


def test_the_start_is_logged_with_all_settings_and_no_text_ever_is(start_server, bundle_dir):
    server = start_server(SERVE, str(bundle_dir))
    canary = "Canary 4711 sings"
    with httpx2.Client(base_url=server.url) as client:
        assert client.post("/translate", json={"q": canary, **PAIR}).status_code == 200
        assert client.get(f"/{canary}").status_code == 404
        assert client.get("/v1/model").json()["manifest"]["name"] == "tiny"
    server.process.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    lines = server.log.splitlines()
    loading, loaded, settings = (
        next(line for line in lines if re.match(rf"INFO service.server: {word}\b", line))
        for word in ("loading", "loaded", "settings")
    )
    assert "/livez" in loading
    assert "engine=ctranslate2" in loaded
    assert "languages=en-de" in loaded
    assert "threads=1 compute_type=int8 beam=2" in settings
    assert all(f" {name}=" in settings for name in Settings.model_fields)
    assert [line.split(" ms=")[0] for line in lines if "service.requests: request" in line] == [
        "INFO service.requests: request method=POST route=/translate dialect=libretranslate status=200",
        "INFO service.requests: request method=GET route=none dialect=none status=404",
        "INFO service.requests: request method=GET route=/v1/model dialect=native status=200",
    ]
    assert "4711" not in server.log


def test_sighup_serves_the_bundle_that_the_link_points_to_by_then_and_no_request_notices(
    start_server, bundle_dir, tmp_path
):
    shutil.copytree(bundle_dir, tmp_path / "new")
    (tmp_path / "new" / "note.txt").write_text("another", encoding="utf-8")
    manifest = json.loads((tmp_path / "new" / MANIFEST).read_text(encoding="utf-8"))
    manifest |= {"name": "new", "files": describe_files(tmp_path / "new")}
    (tmp_path / "new" / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    link = tmp_path / "current"
    link.symlink_to(bundle_dir)
    server = start_server(SERVE, str(link))
    everybody_asks, swapped = threading.Barrier(5), threading.Event()

    def keep_asking(number: int) -> list[str]:
        digests = []
        with httpx2.Client(base_url=server.url, timeout=20) as asking:
            while not swapped.is_set():
                text = f"The printer {'x' * len(digests)} {'y' * number}"
                digests.append(asking.post("/v1/translate", json={"texts": [text]}).raise_for_status().json()["model"])
                if len(digests) == 1:
                    everybody_asks.wait(20)
                time.sleep(0.02)
        return digests

    with httpx2.Client(base_url=server.url) as client, ThreadPoolExecutor(4) as pool:
        before = client.get("/v1/model").json()
        clients = [pool.submit(keep_asking, number) for number in range(4)]
        everybody_asks.wait(20)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(f"model not swapped: {before['digest']} serves already")
        for target, line in ((tmp_path, "model not swapped: .*not a bundle"), (tmp_path / "new", "model swapped")):
            link.unlink()
            link.symlink_to(target)
            server.process.send_signal(signal.SIGHUP)
            server.wait_for(line)
        after = client.get("/v1/model").json()
        assert (before["manifest"]["name"], after["manifest"]["name"]) == ("tiny", "new")
        assert before["digest"] != after["digest"]
        assert f'digest="{after["digest"]}"' in client.get("/metrics").text
        time.sleep(0.5)
        swapped.set()
        for digests in (asked.result(20) for asked in clients):
            old = digests.count(before["digest"])
            assert 0 < old < len(digests)
            assert digests == [before["digest"]] * old + [after["digest"]] * (len(digests) - old)
    server.process.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def test_secrets_are_stars_in_the_log_and_the_log_can_be_json(start_server):
    code = SERVE_SLOWLY.replace("load_settings()", "load_settings(log_format='json', metrics_token='hush-4711')")
    server = start_server(code)
    server.process.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    events = [json.loads(line) for line in server.log.splitlines()]
    (settings,) = [event for event in events if event["message"] == "settings"]
    assert settings["metrics_token"] == "*" * 10
    assert "4711" not in server.log


def test_sigterm_under_load_finishes_what_was_admitted_and_nothing_more(start_server):
    server = start_server(SERVE_SLOWLY)
    url = httpx2.URL(server.url)
    texts = [f"text {number}" for number in range(32)]
    asked = []
    for text in texts:
        connection = http.client.HTTPConnection(url.host, url.port, timeout=20)
        connection.request("POST", "/translate", json.dumps({"q": text, **PAIR}), {"Content-Type": "application/json"})
        asked.append(connection)
    # An answer to a later connection: the event loop has read those before it.
    assert httpx2.get(f"{server.url}/health").status_code == 200
    server.process.send_signal(signal.SIGTERM)
    answers = []
    for connection in asked:
        with closing(connection):
            answers.append(json.load(connection.getresponse()))
    assert answers == [{"translatedText": text} for text in texts]
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{server.url}/health")
    assert server.wait() == 0


def test_clients_that_keep_asking_through_sigterm_see_answers_or_a_closed_door(start_server):
    server = start_server(SERVE_SLOWLY.replace("time.sleep(0.05)", "time.sleep(0.002)"))
    everybody_was_answered = threading.Barrier(33)

    def ask_until_refused(client, number):
        answered = 0
        while True:
            try:
                answer = client.post("/translate", json={"q": f"client {number}", **PAIR})
            except httpx2.TransportError as error:
                return type(error)
            assert answer.json() == {"translatedText": f"client {number}"}
            answered += 1
            if answered == 1:
                everybody_was_answered.wait(20)

    with httpx2.Client(base_url=server.url, timeout=20) as client, ThreadPoolExecutor(32) as pool:
        clients = [pool.submit(ask_until_refused, client, number) for number in range(32)]
        everybody_was_answered.wait(20)
        server.process.send_signal(signal.SIGTERM)
        ends = {client.result(20) for client in clients}
    # Refused, or closed while idle; never in the middle of an answer or for want of time.
    assert ends <= {httpx2.ConnectError, httpx2.RemoteProtocolError, httpx2.ReadError}
    assert server.wait() == 0


def test_readyz_is_503_as_soon_as_the_end_is_announced_while_requests_are_still_answered(start_server):
    server = start_server(SERVE_SLOWLY.replace("load_settings()", "load_settings(shutdown_delay_s=1)"))
    with httpx2.Client(base_url=server.url) as client:
        assert client.get("/readyz").json() == {"status": "ready"}
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "shutting down"})
        assert client.get("/livez").status_code == 200
        assert client.post("/translate", json={"q": "late", **PAIR}).status_code == 200
    assert server.wait() == 0


def test_while_the_model_loads_the_process_is_alive_and_not_ready():
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "MTKD_PORT": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", LOAD_SLOWLY], stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as process:
        found = re.search(r"http://\S+", process.stderr.readline())
        with httpx2.Client(base_url=found[0]) as client:
            assert client.get("/livez").json() == {"status": "ok"}
            ready, refused = client.get("/readyz"), client.post("/v2/translate", json={})
            assert (ready.status_code, ready.json()) == (503, {"status": "loading"})
            assert (refused.status_code, list(refused.json())) == (503, ["message"])
            assert refused.headers["retry-after"] == "1"
            for line in process.stderr:
                if "listening on" in line:
                    break
            assert client.get("/readyz").status_code == 200
        process.terminate()
        assert process.wait(20) == 0


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
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.split() == []


def test_the_collector_passes_over_what_was_there_before_the_first_request(start_server):
    # Libraries and tables are 80,000 objects and more: to walk them holds up every request for a tenth of a second.
    server = start_server(COUNT_OBJECTS)
    with httpx2.Client(base_url=server.url) as client:
        assert client.post("/translate", json={"q": "Good morning.", **PAIR}).status_code == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    counted = [int(line.removeprefix("objects=")) for line in server.log.splitlines() if line.startswith("objects=")]
    assert counted
    assert max(counted) < 10_000
