"""What an operator can set: `MTKD_*` environment variables, closed.

What it owns: names, defaults and limits of the settings, and the number of CPUs this process may use.
What it must not know: bundles, HTTP. Why closed: a misspelt limit that is ignored is no limit.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from mtkd.errors import UsageError

PREFIX = "MTKD_"
CGROUP = Path("/sys/fs/cgroup")


def cpu_quota(cgroup: Path = CGROUP) -> float | None:
    """CPUs that the container's quota grants (cgroup v2, else v1); None where there is no quota.

    `os.cpu_count` and the scheduler's affinity know nothing of it, and threads beyond it only wait for each other.
    """
    unified, quota, period = (cgroup / name for name in ("cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
    if unified.is_file():
        granted, per = unified.read_text(encoding="ascii").split()
    elif quota.is_file() and period.is_file():
        granted, per = quota.read_text(encoding="ascii"), period.read_text(encoding="ascii")
    else:
        return None
    return None if granted.strip() in ("max", "-1") else int(granted) / int(per)


def available_cpus(cgroup: Path = CGROUP) -> int:
    """CPUs this process may really use, at least 1."""
    allowed = len(os.sched_getaffinity(0))
    quota = cpu_quota(cgroup)
    return max(1, allowed if quota is None else min(allowed, int(quota)))


class Settings(BaseSettings):
    """The service's settings; each is the environment variable `MTKD_` + its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """0 takes a free one; the log says which."""
    threads: Annotated[int, Field(ge=1)] = Field(default_factory=available_cpus)
    compute_type: Literal["int8", "float32"] = "int8"
    beam: Annotated[int, Field(ge=1, le=32)] | None = None
    """None: the beam the bundle was evaluated with."""
    max_text_chars: Annotated[int, Field(ge=1)] = 20_000
    """Characters of all texts of a request together."""
    max_batch_texts: Annotated[int, Field(ge=1)] = 128

    @property
    def max_body_bytes(self) -> int:
        """Largest request body: every character written as 12 bytes (escaped UTF-16 pairs), and room for the rest."""
        return 12 * self.max_text_chars + 16 * self.max_batch_texts + 65_536


def load_settings(**given: Any) -> Settings:
    """Settings from the environment; a keyword that is not None wins over it (command-line options).

    Raises:
        UsageError: an unknown `MTKD_*` variable or an impossible value, all of them in one message.
    """
    problems = _unknown_variables(os.environ)
    try:
        settings = Settings(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = str(problem["loc"][0])
            problems.append(f"{name} ({PREFIX}{name.upper()}): {problem['msg']}")
        raise UsageError("; ".join(problems)) from None
    if problems:
        raise UsageError("; ".join(problems))
    return settings


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    problems = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
            problems.append(f"{name}: unknown setting ({hint})")
    return problems
