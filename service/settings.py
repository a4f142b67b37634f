"""What an operator can set: `MTKD_*` environment variables, closed, and equal to the flags of `mtkd serve`.

What it owns: names, defaults and limits of the settings, and the number of CPUs this process may use.
What it must not know: bundles, HTTP. Why closed: a misspelt limit that is ignored is no limit.
A new field is a variable, a flag and a row of docs/service.md at once; its docstring is the help of all three.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from mtkd.errors import UsageError

PREFIX = "MTKD_"
CGROUP = Path("/sys/fs/cgroup")
OF_OTHER_COMMANDS = frozenset({"MTKD_CACHE", "MTKD_EVENTS", "MTKD_LOCKED"})
"""Variables of the same prefix that the commands of training read, in the same shell."""


def _split_list(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_list)]
"""A list whose entries a variable or a flag separates by commas."""


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

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """Port to listen on; 0 takes a free one, and the log says which."""
    threads: Annotated[int, Field(ge=1)] = Field(default_factory=available_cpus)
    """Batches to translate at a time, each in a thread; by default the CPUs that the container's quota grants."""
    compute_type: Literal["int8", "float32"] = "int8"
    """Which of the bundle's models to load."""
    beam: Annotated[int, Field(ge=1, le=32)] | None = None
    """Beam size; by default the one that the bundle was evaluated with."""
    max_text_chars: Annotated[int, Field(ge=1)] = 131_072
    """Characters of all texts of a request together."""
    max_batch_texts: Annotated[int, Field(ge=1)] = 128
    """Texts of a request."""
    max_alternatives: Annotated[int, Field(ge=0, le=32)] = 5
    """Other translations that a request may ask for, each text."""

    max_header_bytes: Annotated[int, Field(ge=1024)] = 65_536
    """Request line and headers together; a text in the query string counts."""
    request_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Seconds in which a request must have been sent: its headers, and then its body."""
    shutdown_delay_s: Annotated[float, Field(ge=0)] = 0.0
    """Seconds after SIGTERM in which requests are still taken, while /readyz tells load balancers to go elsewhere."""
    log_format: Literal["text", "json"] = "text"
    """How a line of the log is written."""
    cors_origins: CommaList = ()
    """Origins, separated by commas, whose pages may call the service from a browser; * for all, none by default."""
    trusted_proxies: CommaList = ()
    """Addresses or networks, separated by commas, whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    metrics_token: SecretStr | None = None
    """Bearer token that /metrics asks for; none by default."""

    data: Path | None = None
    """Folder for what outlives the process: keys and usage; by default there are no keys, and nothing is counted."""
    require_key: bool = False
    """Refuse requests without a valid key (`mtkd keys add`)."""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Requests in a minute, for each key without a limit of its own and each address without a key; else no limit."""
    characters_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Characters in a minute, for each key and each address without a key; else no limit."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where to translate; on cuda the model computes in float16."""
    max_batch_tokens: Annotated[int, Field(ge=1)] = 1_024
    """Subwords that go to the engine at once; whatever comes meanwhile waits for them."""
    max_queue_tokens: Annotated[int, Field(ge=1)] = 32_768
    """Subwords that may wait before a request; if there are more it is refused (429)."""
    deadline_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds after which a translation is given up (503)."""
    cache_chars: Annotated[int, Field(ge=0)] = 4_000_000
    """Characters of translated segments to remember; 0 for none."""

    @property
    def workers(self) -> int:
        """Batches at a time: one on a GPU, which computes a batch with all it has."""
        return 1 if self.device == "cuda" else self.threads

    @property
    def max_body_bytes(self) -> int:
        """Largest request body: every character written as 12 bytes (escaped UTF-16 pairs), and room for the rest."""
        return 12 * self.max_text_chars + 16 * self.max_batch_texts + 65_536


def load_settings(**given: Any) -> Settings:
    """Settings from the environment; a keyword that is not None wins over it (command-line options).

    A secret can also be the content of a file that `MTKD_<NAME>_FILE` names.

    Raises:
        UsageError: an unknown `MTKD_*` variable or an impossible value, all of them in one message.
    """
    problems = _unknown_variables(os.environ)
    values = _secrets_from_files(os.environ, problems) | {k: v for k, v in given.items() if v is not None}
    try:
        settings = Settings(**values)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            name = str(problem["loc"][0])
            problems.append(f"{name} ({PREFIX}{name.upper()}): {problem['msg']}")
        raise UsageError("; ".join(problems)) from None
    if problems:
        raise UsageError("; ".join(problems))
    return settings


def shown(settings: Settings) -> dict[str, str]:
    """Every setting that is in force, as text; secrets are stars."""
    return {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in settings}


class Description(NamedTuple):
    """What a person needs to know of a setting."""

    name: str
    variable: str
    flag: str
    values: str
    default: str
    help: str
    is_switch: bool


def describe() -> list[Description]:
    """Every setting, in the model's order; `mtkd serve`'s flags and the table of docs/service.md are made of it."""
    return [_describe(name, field) for name, field in Settings.model_fields.items()]


def _describe(name: str, field: FieldInfo) -> Description:
    default = field.default
    if isinstance(default, tuple):
        default = ",".join(default)
    elif isinstance(default, bool):
        default = str(default).lower()
    flag = f"--{name.replace('_', '-')}"
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not NoneType]
    return Description(
        name=name,
        variable=PREFIX + name.upper(),
        flag=flag,
        values="|".join(kinds) if all(isinstance(kind, str) for kind in kinds) else "",
        default="" if default in (None, PydanticUndefined) else str(default),
        help=" ".join((field.description or "").split()),
        is_switch=bool in kinds,
    )


def _file_variables() -> dict[str, str]:
    """The variables that name a secret's file, with the secret's name."""
    return {
        f"{PREFIX}{name.upper()}_FILE": name
        for name, field in Settings.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    }


def _secrets_from_files(environment: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    secrets = {}
    for variable, name in _file_variables().items():
        if path := environment.get(variable):
            if environment.get(f"{PREFIX}{name.upper()}"):
                problems.append(f"{variable}: {PREFIX}{name.upper()} is set too; keep one of them")
            try:
                secrets[name] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{variable}: cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}")
    return secrets


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    known = [*(PREFIX + name.upper() for name in Settings.model_fields), *_file_variables()]
    problems = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known and name not in OF_OTHER_COMMANDS:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
            problems.append(f"{name}: unknown setting ({hint})")
    return problems
