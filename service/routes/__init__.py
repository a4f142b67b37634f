"""HTTP routes, one file a dialect or noun.

What it owns: `ROUTERS`, the table from a name to the router that `create_app` includes.
"""

from __future__ import annotations

from fastapi import APIRouter

from service.routes import deepl, docs, google, libretranslate, native, operations

ROUTERS: dict[str, APIRouter] = {
    "native": native.router,
    "libretranslate": libretranslate.router,
    "deepl": deepl.router,
    "google": google.router,
    "docs": docs.router,
    "operations": operations.router,
}
