"""An engine, both images, and a bundle that one of them trained."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.engine import ROOT, Engine, any_engine, import_debian_base, import_wheels
from tests.toy import write_micro

TAG = "test"
USER = "10001"
SENTENCE = "bado kimo"
HARDENED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with any_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def base(engine: Engine) -> str:
    """The image that both are made from."""
    found = {
        line.removeprefix("ARG BASE=")
        for name in ("serve", "train")
        for line in (ROOT / f"docker/{name}.Dockerfile").read_text(encoding="utf-8").splitlines()
        if line.startswith("ARG BASE=")
    }
    assert len(found) == 1
    if engine.own:
        import_debian_base(engine, min(found))
    return min(found)


def build(engine: Engine, name: str, *options: str) -> str:
    """Build an image as docker/README.md says; its name."""
    # The host's network, since an engine of our own gives containers none.
    words = ["build", "--network", "host", "-f", f"docker/{name}.Dockerfile", "-t", f"mtkd-{name}:{TAG}", *options, "."]
    engine.docker(*words, cwd=ROOT)
    return f"mtkd-{name}:{TAG}"


@pytest.fixture(scope="session")
def serve_image(engine: Engine, base: str) -> Iterator[str]:
    yield build(engine, "serve")
    engine.docker("rmi", f"mtkd-serve:{TAG}")


@pytest.fixture(scope="session")
def train_image(engine: Engine, base: str) -> Iterator[str]:
    wheels = f"mtkd-wheels:{TAG}"
    options = ["--build-arg", f"WHEELS={wheels}"] if import_wheels(engine, wheels) else []
    yield build(engine, "train", *options)
    engine.docker("rmi", f"mtkd-train:{TAG}", *([wheels] if options else []))


@pytest.fixture(scope="session")
def bundle(engine: Engine, train_image: str) -> Iterator[Path]:
    """The bundle that the train image made of the toy recipe: no network, no privileges, nothing written elsewhere."""
    folder = Path(tempfile.mkdtemp(prefix="mtkd-micro-"))
    try:
        write_micro(folder, domains=2)
        own = os.getuid() == 0
        for path in (folder, *folder.iterdir()):
            if own:
                os.chown(path, int(USER), int(USER))
        user = USER if own else str(os.getuid())
        words = ["run", "--rm", "--network", "none", *HARDENED, "--user", f"{user}:{user}", "-v", f"{folder}:/project"]
        told = engine.docker(*words, train_image, "run", "recipe.yaml")
        assert "bundle: runs/micro/bundle" in told
        yield (folder / "runs/micro/bundle").resolve()
    finally:
        shutil.rmtree(folder)
