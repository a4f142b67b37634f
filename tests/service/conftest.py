"""A real bundle (see `tiny_bundle.py`) and a real server on loopback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from mtkd.bundle import ModelBundle
from service.app import create_app
from service.engines import ENGINES
from service.engines.base import Engine
from service.server import uvicorn_config
from service.settings import Settings
from tests.raw_http import drain

ROOT = Path(__file__).parents[2]


def write_bundle(root: Path, *, end_bias: float = 3.0) -> Path:
    script = Path(__file__).with_name("tiny_bundle.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(script), str(root), str(end_bias)], env=environment, check=True)
    return root


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def endless_bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its model never ends a sentence by itself."""
    return write_bundle(tmp_path_factory.mktemp("bundle") / "endless", end_bias=-100.0)


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, bundle_dir: Path) -> Engine:
    """Each row of `ENGINES` on the tiny bundle."""
    return ENGINES[request.param](ModelBundle.open(bundle_dir), Settings(threads=1))


@pytest.fixture(scope="session")
def serving() -> Callable[[Engine, Settings], AbstractContextManager[httpx2.Client]]:
    """A client of a real uvicorn server in a thread of this process: `with serving(engine, settings) as client`."""
    return _serving


@contextmanager
def _serving(engine: Engine, settings: Settings) -> Iterator[httpx2.Client]:
    server = _AppServer(create_app(engine, settings), settings.model_copy(update={"port": 0}))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


class _AppServer(uvicorn.Server):
    """Serves as `service.server` does: with its configuration, and with the app's lifespan around it."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        config = uvicorn_config(app, settings)
        config.port = 0
        super().__init__(config)
        self._app = app

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        async with self._app.router.lifespan_context(self._app):
            await super().serve(sockets)


class ServerProcess:
    """`service.server` in a process of its own, whose log is read while it runs."""

    def __init__(self, code: str, *args: str) -> None:
        environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "MTKD_PORT": "0", "MTKD_THREADS": "1"}
        environment |= {name: value for name, value in os.environ.items() if name.startswith("COV")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *args], stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        assert self.process.stderr is not None
        self._reading, self._lines = drain(self.process.stderr)
        self.url = self.wait_for(r"listening on (http://[\d.:]+)")[1]

    @property
    def log(self) -> str:
        """What it has written to standard error so far."""
        return "".join(self._lines)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first place in the log that matches, once there is one."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            is_over = not self._reading.is_alive()
            if found := re.search(pattern, self.log):
                return found
            assert not is_over, f"the server ended: {self.log}"
            time.sleep(0.01)
        raise AssertionError(f"no {pattern!r} in {self.log}")

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        code = self.process.wait(20)
        self._reading.join(20)
        return code


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    started: list[ServerProcess] = []

    def start(code: str, *args: str) -> ServerProcess:
        started.append(ServerProcess(code, *args))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.wait()
