"""Inference engines, one file each.

What it owns: `ENGINES`, the table from a name to the function that loads that engine for a bundle.
"""

from __future__ import annotations

from collections.abc import Callable

from mtkd.bundle import ModelBundle
from service.engines import ctranslate2, echo
from service.engines.base import Engine
from service.settings import Settings

ENGINES: dict[str, Callable[[ModelBundle, Settings], Engine]] = {
    "ctranslate2": ctranslate2.load,
    "echo": echo.load,
}
