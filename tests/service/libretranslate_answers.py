"""What requests and refusals of LibreTranslate's dialect look like."""

from __future__ import annotations

PAIR = {"source": "en", "target": "de"}


def refused(response, status=400) -> str:
    """The error's text, after checking that the whole answer has the dialect's shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    return response.json()["error"]
