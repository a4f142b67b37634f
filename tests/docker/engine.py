"""A Docker engine: the one that answers here, else Debian's, started for these tests alone and ended after them.

Why an engine of our own needs more: it reaches no registry of images, so that the Dockerfiles' BASE is made with
debootstrap. What is built then differs from what a user builds in nothing but the base.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEBIAN_DOCKER = "/usr/bin/docker"
PACKAGES = {"dockerd": "docker.io", "docker-compose": "docker-compose", "debootstrap": "debootstrap"}
NEEDED_GB = 15
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
IN_BASE = "python3,python3-pip,python3-venv,ca-certificates"


class Engine:
    """An engine that answers, and the two programs that talk to it."""

    def __init__(self, docker: str, host: str | None = None) -> None:
        self._docker = docker
        self.own = host is not None
        self._environment = {**os.environ, "DOCKER_BUILDKIT": "1", **({"DOCKER_HOST": host} if host else {})}
        plugin = subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0
        self._compose = [docker, "compose"] if plugin else ["docker-compose"]

    def docker(self, *args: str, **options: Any) -> str:
        """What `docker ARGS` prints to standard output."""
        return self.run(*args, **options).stdout

    def run(self, *args: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """`docker ARGS`."""
        return self._run([self._docker, *args], check=check, **options)

    def compose(self, *args: str, **variables: str) -> str:
        """What `docker compose ARGS` prints, with the project's file, in a project of the tests' own."""
        file = str(ROOT / "docker" / "compose.yaml")
        words = [*self._compose, "-f", file, "-p", "mtkd-test", *args]
        return self._run(words, check=True, env={**self._environment, **variables}).stdout

    def inspect(self, name: str, what: str) -> str:
        """A field of a container or an image, as a Go template names it."""
        return self.docker("inspect", "--format", f"{{{{{what}}}}}", name).strip()

    def _run(self, words: list[str], *, check: bool, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"env": self._environment, "timeout": 1800, **options}
        done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0 or not check, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done


@contextmanager
def any_engine() -> Iterator[Engine]:
    """The engine that `docker` reaches, or one of our own."""
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0:
        yield Engine(docker)
        return
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    assert not missing, f"no engine answers; start one, or: apt-get install --no-install-recommends {' '.join(missing)}"
    assert os.getuid() == 0, "no engine answers, and only root can start one"
    # Not pytest's folder: the name of a socket has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="mtkd-docker-"))
    try:
        free_gb = shutil.disk_usage(folder).free / 1e9
        assert free_gb > NEEDED_GB, f"{folder} has {free_gb:.0f} GB left, the images need {NEEDED_GB}"
        with _debian_engine(folder) as engine:
            yield engine
    finally:
        _unmount_below(folder)
        shutil.rmtree(folder)


@contextmanager
def _debian_engine(folder: Path) -> Iterator[Engine]:
    host = f"unix://{folder}/docker.sock"
    words = ["dockerd", "--host", host, "--pidfile", f"{folder}/pid"]
    words += ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
    # The machine's own network stays as it is; a container's port is reached through docker-proxy, on loopback.
    words += ["--bridge=none", *(f"--{name}=false" for name in ("iptables", "ip6tables", "ip-forward", "ip-masq"))]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    try:
        engine = Engine(DEBIAN_DOCKER, host)
        deadline = time.monotonic() + 60
        while not engine.docker("version", "--format", "{{.Server.Version}}", check=False).strip():
            told = (folder / "log").read_text(encoding="utf-8")[-2000:]
            assert daemon.poll() is None, f"dockerd ended:\n{told}"
            assert time.monotonic() < deadline, f"dockerd does not answer:\n{told}"
            time.sleep(0.5)
        yield engine
    finally:
        daemon.terminate()
        daemon.wait(120)


def _unmount_below(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
        subprocess.run(["umount", mount], check=True)


def import_debian_base(engine: Engine, name: str) -> None:
    """Make Debian 12 with Python 3.11 and pip, which trusts whom this machine trusts, and call it `name`."""
    with tempfile.TemporaryDirectory(prefix="mtkd-base-") as made:
        root = Path(made)
        words = ["debootstrap", "--variant=minbase", f"--include={IN_BASE}", "bookworm", made]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        shutil.copy(Path("/") / CERTIFICATES, root / CERTIFICATES)
        for archive in (root / "var/cache/apt/archives").glob("*.deb"):
            archive.unlink()
        _import(engine, root, name)


def import_wheels(engine: Engine, name: str) -> bool:
    """Make an image of the folders in which pip on this machine looks for wheels; False where there are none."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    words = " ".join(re.findall(r"find-links='([^']*)'", listed.stdout)).split()
    wheels = {path.name: path for word in words for path in sorted(Path(word.removeprefix("file://")).glob("*.whl"))}
    with tempfile.TemporaryDirectory(prefix="mtkd-wheels-") as made:
        for wheel in wheels.values():
            shutil.copy(wheel, made)
        if wheels:
            _import(engine, Path(made), name)
    return bool(wheels)


def _import(engine: Engine, root: Path, name: str) -> None:
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
        engine.docker("import", "-", name, stdin=tar.stdout)
    assert tar.returncode == 0
