"""Keys and usage across processes: a server that is killed, a key that another process adds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.service.access_app import bearer, charged

ROOT = Path(__file__).parents[2]
SERVER = """
import pathlib, socket, sys
import uvicorn
from service.settings import Settings
from tests.service.access_app import make_app
app = make_app(Settings(data=pathlib.Path(sys.argv[2])))
listener = socket.socket(fileno=int(sys.argv[1]))
uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
"""


@contextmanager
def server_process(folder):
    """A process that serves `make_app`, and its address: the socket is ours, so it may be asked at once."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-c", SERVER, str(listener.fileno()), str(folder)]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()], env=environment)
        port = listener.getsockname()[1]
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_a_killed_server_has_counted_every_request_that_it_answered(tmp_path):
    answered, asking = [], 4

    def ask(url):
        with httpx2.Client(base_url=url, timeout=20) as client:
            while True:
                try:
                    answered.append(client.post("/v1/translate", json={"q": "abc"}).status_code)
                except httpx2.TransportError:
                    return

    with server_process(tmp_path) as (process, url):
        assert httpx2.post(f"{url}/v1/translate", json={"q": "abc"}, timeout=20).status_code == 200
        threads = [threading.Thread(target=ask, args=[url]) for _ in range(asking)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while len(answered) < 50 and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join(20)
    requests, characters = charged(tmp_path)[""]
    assert len(answered) >= 50
    assert set(answered) == {200}
    assert 1 + len(answered) <= requests <= 1 + len(answered) + asking
    assert characters == 3 * requests


def test_a_key_that_another_process_adds_or_revokes_takes_effect_in_a_running_server(tmp_path):
    def keys_command(*arguments):
        environment = {**os.environ, "MTKD_DATA": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", "mtkd", "keys", *arguments]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    with server_process(tmp_path) as (_, url), httpx2.Client(base_url=url, timeout=20) as client:
        client.post("/translate", json={"q": "a"})
        key = keys_command("add", "weblate").strip()
        assert client.post("/translate", json={"q": "abc"}, headers=bearer(key)).status_code == 200
        keys_command("revoke", "weblate")
        assert client.post("/translate", json={"q": "abc"}, headers=bearer(key)).status_code == 403
    assert charged(tmp_path) == {"": (1, 1), "weblate": (1, 3)}
