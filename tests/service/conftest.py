"""A real bundle (see `tiny_bundle.py`) and a real server on loopback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx2
import pytest
import uvicorn

from mtkd.bundle import ModelBundle
from service.app import create_app
from service.engines import ENGINES
from service.engines.base import Engine
from service.settings import Settings

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
    server = uvicorn.Server(
        uvicorn.Config(create_app(engine, settings), port=0, log_config=None, access_log=False, server_header=False)
    )
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


class ServerProcess:
    """`service.server` in a process of its own; `log` holds its standard error once it has ended."""

    def __init__(self, code: str, *args: str) -> None:
        environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "MTKD_PORT": "0", "MTKD_THREADS": "1"}
        environment |= {name: value for name, value in os.environ.items() if name.startswith("COV")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *args], stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        assert self.process.stderr is not None
        self.log = ""
        for line in self.process.stderr:
            self.log += line
            if found := re.search(r"listening on (http://[\d.:]+)", line):
                self.url = found[1]
                return
        raise AssertionError(f"server did not start: {self.log}")

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        _, rest = self.process.communicate(timeout=20)
        self.log += rest
        return self.process.returncode


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
