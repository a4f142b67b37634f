"""What answers and refusals of DeepL's dialect look like."""

from __future__ import annotations


def translated(client, text, **parameters) -> str:
    answer = client.post("/v2/translate", json={"text": [text], "target_lang": "DE", **parameters})
    assert answer.status_code == 200, answer.text
    return answer.json()["translations"][0]["text"]


def refused(response, status=400) -> str:
    """The error's text, after checking that the whole answer has the dialect's shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["message"]
    return response.json()["message"]
