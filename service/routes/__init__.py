"""HTTP routes, one file a dialect or noun.

What it owns: `ROUTERS`, the table from a name to the router that `create_app` includes.
"""

from __future__ import annotations

from fastapi import APIRouter

from service.routes import docs, libretranslate

ROUTERS: dict[str, APIRouter] = {
    "libretranslate": libretranslate.router,
    "docs": docs.router,
}
