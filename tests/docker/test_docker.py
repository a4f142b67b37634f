"""Both images, built and run for real: `make docker-test`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.installs import from_pypi
from tests.docker.conftest import HARDENED, SENTENCE, TAG
from tests.docker.engine import Engine

pytestmark = pytest.mark.docker

MAX_SERVE_MB = 350
HEALTHY_S = 60
# What a process of the container sees of its own confinement.
CONFINEMENT = """
import json, os, pathlib
lines = pathlib.Path("/proc/1/status").read_text().splitlines()
status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
print(json.dumps({
    "user": os.getuid(),
    "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "no_new_privileges": status["NoNewPrivs"],
    "writable": [path for path in ("/", "/etc", "/opt/mtkd", "/models", "/data", "/tmp") if os.access(path, os.W_OK)],
}))
"""


@dataclass
class Service:
    """The project of compose.yaml, running."""

    engine: Engine
    variables: dict[str, str]
    key: str = ""

    def compose(self, *args: str) -> str:
        return self.engine.compose(*args, **self.variables)

    @property
    def container(self) -> str:
        return self.compose("ps", "-q", "serve").strip()

    def start(self) -> None:
        """Start what is not running and wait until the health check has passed."""
        self.compose("up", "-d", "--no-build")
        deadline = time.monotonic() + HEALTHY_S
        while (health := self.engine.inspect(self.container, ".State.Health.Status")) != "healthy":
            assert health == "starting", self.compose("logs", "--tail", "30")
            assert time.monotonic() < deadline, self.compose("logs", "--tail", "30")
            time.sleep(0.5)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON of the answer to one request in DeepL's dialect."""
        headers = {"Authorization": f"DeepL-Auth-Key {self.key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=20) as response:
            return json.load(response)

    def translate(self, text: str) -> str:
        answer = self.ask("/v2/translate", {"text": [text], "source_lang": "EN", "target_lang": "DE"})
        return str(answer["translations"][0]["text"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.variables['PORT']}"


@pytest.fixture(scope="module")
def service(engine: Engine, serve_image: str, bundle: Path) -> Iterator[Service]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    service = Service(engine, {"BUNDLE": str(bundle), "PORT": str(port), "TAG": TAG})
    try:
        service.start()
        service.key = service.compose("exec", "-T", "serve", "mtkd", "keys", "add", "tests").strip()
        yield service
    finally:
        service.compose("down", "--volumes")


def test_serve_image_is_small(engine: Engine, base: str, serve_image: str) -> None:
    added_mb = (int(engine.inspect(serve_image, ".Size")) - int(engine.inspect(base, ".Size"))) / 1e6
    print(f"mtkd-serve: {added_mb:.0f} MB on top of its base")
    assert added_mb <= MAX_SERVE_MB


def test_serve_image_has_nothing_to_train_or_to_install_with(engine: Engine, serve_image: str) -> None:
    program = "import importlib.util as u; print([n for n in ('torch', 'fairseq', 'snakemake') if u.find_spec(n)])"
    command = ["run", "--rm", "--network", "none", *HARDENED, "--entrypoint", "python", serve_image]
    assert engine.docker(*command, "-c", program).strip() == "[]"
    inside = "import pathlib; print(sorted(p.name for p in pathlib.Path('/opt/mtkd/bin').glob('pip*')))"
    assert engine.docker(*command, "-c", inside).strip() == "[]"


def test_image_refuses_to_start_without_a_bundle_in_one_line(engine: Engine, serve_image: str) -> None:
    started = engine.run("run", "--rm", "--network", "none", *HARDENED, serve_image, check=False)
    assert started.returncode == 1
    assert "/models: not a bundle" in started.stderr
    assert "Traceback" not in started.stderr


def test_both_images_translate_alike(engine: Engine, train_image: str, bundle: Path, service: Service) -> None:
    words = ["run", "--rm", "-i", "--network", "none", *HARDENED, "-v", f"{bundle}:/models:ro", train_image]
    assert service.translate(SENTENCE) + "\n" == engine.docker(*words, "translate", "/models", input=SENTENCE + "\n")


def test_container_can_do_nothing_but_serve(service: Service) -> None:
    seen = json.loads(service.compose("exec", "-T", "serve", "python", "-c", CONFINEMENT))
    assert seen == {"user": 10001, "capabilities": 0, "no_new_privileges": "1", "writable": ["/data", "/tmp"]}


def test_deepl_command_line_translates(service: Service) -> None:
    words = [sys.executable, "-m", "deepl", "--auth-key", service.key, "--server-url", service.url]
    words += ["text", "--from", "EN", "--to", "DE", SENTENCE]
    environment = {**os.environ, "PYTHONPATH": str(from_pypi("deepl==1.32.0"))}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == service.translate(SENTENCE).strip()


def test_a_killed_service_forgets_nothing_that_it_answered(engine: Engine, service: Service) -> None:
    before = service.ask("/v2/usage")["character_count"]
    translated = service.translate(SENTENCE)
    engine.docker("kill", service.container)
    assert engine.inspect(service.container, ".State.ExitCode") == "137"
    service.start()
    assert service.key[:13] in service.compose("exec", "-T", "serve", "mtkd", "keys", "list")
    assert service.translate(SENTENCE) == translated
    assert service.ask("/v2/usage")["character_count"] == before + 2 * len(SENTENCE)


def test_a_stopped_service_ends_by_itself(engine: Engine, service: Service) -> None:
    container = service.container
    service.compose("stop")
    assert engine.inspect(container, ".State.ExitCode") == "0"
    service.start()
