"""A small app that stands for the routes, where who is let in is tested."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException

from service.access import Access, Accounting, admit, get_access, identify
from service.errors import UnexpectedErrors, add_error_handlers
from service.forms import read_values
from service.settings import Settings

PATHS = {
    "libretranslate": "/translate",
    "deepl": "/v2/translate",
    "google": "/language/translate/v2",
    "native": "/v1/translate",
}


def make_app(settings: Settings) -> FastAPI:
    """What `create_app` must do, and a route that does what each must."""
    access = Access(settings)
    app = FastAPI()
    app.state.access = access

    async def translate(request: Request) -> dict[str, str]:
        values = {name: given[0] for name, given in (await read_values(request)).items()}
        await admit(request, characters=len(values["q"]), texts=1)
        if values["q"] == "bad":
            raise HTTPException(400, "bad")
        if values["q"] == "boom":
            raise RuntimeError("boom")
        return {"text": values["q"]}

    async def usage(request: Request) -> dict[str, int | None]:
        used = get_access(request).used(await identify(request))
        return {"character_count": used.characters, "character_limit": used.characters_per_month}

    for path in PATHS.values():
        app.add_api_route(path, translate, methods=["POST"])
    app.add_api_route("/v2/usage", usage)
    add_error_handlers(app)
    app.add_middleware(Accounting, access=access)
    app.add_middleware(UnexpectedErrors)
    return app


def charged(folder: Path) -> dict[str, tuple[int, int]]:
    """Requests and characters, by client."""
    with closing(sqlite3.connect(folder / "usage.db")) as connection:
        rows = connection.execute("SELECT client, requests, characters FROM usage").fetchall()
    return {client: (requests, characters) for client, requests, characters in rows}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
