"""A template and its values in, one self-contained page out.

What it owns: how templates are found and that every text is escaped. What it must not know: what a page shows.
Why one place: all pages look alike (`page.html.j2`), and text of strangers goes into each of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render_page(template: str, **values: Any) -> str:
    """The page of a template beside this module; every value is escaped unless it is `markupsafe.Markup`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
