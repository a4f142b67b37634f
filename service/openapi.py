"""Describes to OpenAPI the parameters that `service.forms` reads by hand.

What it owns: the form of such a description. What it must not know: what the parameters mean.
Why: FastAPI describes only what it reads itself.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from service.forms import JSON, MULTIPART, URLENCODED


def in_body_or_query(model: type[BaseModel], *, body: bool = True) -> dict[str, Any]:
    """`openapi_extra` for a route whose parameters are `model`'s fields, in the query string and, if so, a body.

    `model` must be flat: no field may be a model itself.
    """
    schema = model.model_json_schema()
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": field["description"],
            "schema": _of_query(field),
        }
        for name, field in schema["properties"].items()
    ]
    if not body:
        return {"parameters": parameters}
    content = {media_type: {"schema": schema} for media_type in (JSON, URLENCODED, MULTIPART)}
    description = "The parameters; those of a form may also stand in the query string."
    return {"parameters": parameters, "requestBody": {"description": description, "content": content}}


def _of_query(field: dict[str, Any]) -> dict[str, Any]:
    """A query string holds texts; a list is a parameter given several times."""
    if field.get("type") == "array":
        return {"type": "array", "items": {"type": "string"}}
    return {"type": "integer" if field.get("type") == "integer" else "string"}
