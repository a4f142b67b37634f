"""`mtkd serve` and `mtkd healthcheck`.

What it owns: their arguments. Those of `serve` are made from the service's settings, so that every `MTKD_*` variable is
a flag. What it must not know: how a request is answered.
"""
# ruff: noqa: PLC0415 - every command imports what it needs, so that `mtkd --help` is quick

from __future__ import annotations

import http.client
import inspect
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from service.settings import Description

_HEALTHY = ("ready", "busy")
_TIMEOUT_S = 3


class _ServeCommand(TyperCommand):
    """`serve` with a flag a setting; made when it is used, because settings need packages of the `serve` extra."""

    @cached_property
    def _made(self) -> Any:
        made = typer.Typer(add_completion=False, rich_markup_mode=None)
        made.command(name=self.name)(_serve_with_flags())
        return typer.main.get_command(made)

    def get_params(self, ctx: Any) -> Any:
        """The bundle and the flags."""
        return self._made.get_params(ctx)

    def invoke(self, ctx: Any) -> Any:
        """Serve."""
        return self._made.invoke(ctx)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command(cls=_ServeCommand)(serve)
    app.command()(healthcheck)


def serve() -> None:
    """Serve a bundle over HTTP.

    Every flag is also an environment variable: --port is MTKD_PORT. A flag wins. Secrets can be files: MTKD_..._FILE.
    """


def healthcheck(
    host: Annotated[str | None, typer.Option(help="Address of the service [MTKD_HOST].")] = None,
    port: Annotated[int | None, typer.Option(help="Its port [MTKD_PORT].")] = None,
) -> None:
    """Ask a running service whether it can translate; for containers.

    The exit code is 0 if so. A busy service is healthy, one that is still loading or about to end is not.
    """
    from service.settings import load_settings

    settings = load_settings(host=host, port=port)
    # What listens on all addresses is asked on its own machine's.
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    status = _status(address, settings.port)
    typer.echo(status)
    if status not in _HEALTHY:
        raise typer.Exit(1)


def _status(host: str, port: int) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no answer from {host}:{port}: {error}"
    finally:
        connection.close()
    return str(answer.get("status") if isinstance(answer, dict) else None)


def _serve_with_flags() -> Callable[..., None]:
    from service.settings import describe

    bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that 'run' or 'export' made.")]
    flags: dict[str, Any] = {setting.name: _flag(setting) for setting in describe()}

    def serve_with_flags(bundle: Path, **given: Any) -> None:
        from service.server import serve as serve_bundle
        from service.settings import load_settings

        serve_bundle(bundle, load_settings(**given))

    by_keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("bundle", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=bundle),
        *(inspect.Parameter(name, by_keyword, default=None, annotation=kind) for name, kind in flags.items()),
    ]
    serve_with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    serve_with_flags.__annotations__ = {"bundle": bundle, **flags}
    return serve_with_flags


def _flag(setting: Description) -> Any:
    """One option, taken as text: the settings check it, and their message names flag and variable alike."""
    text = f"{setting.help} [{setting.default}]" if setting.default else setting.help
    if setting.is_switch:
        return Annotated[bool | None, typer.Option(f"{setting.flag}/--no-{setting.flag[2:]}", help=text)]
    return Annotated[str | None, typer.Option(setting.flag, metavar=setting.values or "VALUE", help=text)]
