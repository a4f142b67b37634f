"""The page `/docs`: Swagger UI from files of this package, so that it works where there is no internet.

What it owns: the page's address. The files are in `service/web/`.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

WEB = Path(__file__).parents[1] / "web"

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs() -> FileResponse:
    """The interactive description of the API."""
    return FileResponse(WEB / "docs.html")
