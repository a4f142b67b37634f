"""What the files of `docker/` promise, as far as it can be seen without an engine; `make docker-test` runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text(encoding="utf-8"))
    (only,) = described["services"].values()
    return only


def test_compose_takes_everything_away(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cap_add", "privileged", "network_mode", "pid", "ipc", "user"}.isdisjoint(service)
    assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()


def test_compose_writes_only_to_its_volume_and_a_small_tmp(service: dict[str, Any]) -> None:
    model, state = service["volumes"]
    assert (model["target"], model["read_only"]) == ("/models", True)
    assert state == "data:/data"
    assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]


def test_compose_is_reached_from_this_machine_only_and_with_a_key(service: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "MTKD_REQUIRE_KEY=true" in (ROOT / "docker" / service["env_file"]).read_text(encoding="utf-8").split()


@pytest.mark.parametrize("name", ["serve", "train"])
def test_images_run_as_a_number_and_need_no_shell(name: str) -> None:
    lines = (ROOT / f"docker/{name}.Dockerfile").read_text(encoding="utf-8").splitlines()
    final = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM")) :]
    assert [line for line in final if line.startswith("USER")] == ["USER 10001:10001"]
    for word in ("ENTRYPOINT", "CMD"):
        assert [line for line in final if line.startswith(word)][-1].startswith(f'{word} ["')


def test_only_the_train_image_has_fairseq_and_the_one_of_make() -> None:
    pinned = "fairseq-fixed==0.12.3.1"
    assert pinned in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert pinned in (ROOT / "docker/train.Dockerfile").read_text(encoding="utf-8")
    assert "fairseq" not in (ROOT / "docker/serve.Dockerfile").read_text(encoding="utf-8")
