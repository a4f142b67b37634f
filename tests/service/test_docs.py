"""The page `/docs` and the description it shows."""

from __future__ import annotations

import re

import pytest

from service.app import create_app
from service.engines.echo import EchoEngine
from service.settings import Settings


@pytest.fixture(scope="module")
def client(serving):
    with serving(EchoEngine(), Settings()) as client:
        yield client


@pytest.fixture
def openapi():
    return create_app(EchoEngine(), Settings()).openapi()


def test_the_page_and_all_it_loads_come_from_here(client):
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"https?://|//[a-z]", page.text)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=", page.text), "inline code would be blocked"
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) == 4
    for asset in assets:
        assert client.get(f"/{asset}").status_code == 200, asset
    assert 'url: "openapi.json"' in client.get("/web/docs.js").text


def test_the_policy_admits_nothing_from_elsewhere(client):
    for path in ("/docs", "/health", "/nowhere"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert client.get(path).headers["x-content-type-options"] == "nosniff"


def test_the_vendored_files_come_with_their_licence(client):
    assert "Apache License" in client.get("/web/swagger-ui/LICENSE").text
    assert client.get("/web/swagger-ui/NOTICE").status_code == 200


def test_the_description_has_three_body_kinds_and_the_query(openapi):
    operation = openapi["paths"]["/translate"]["post"]
    content = operation["requestBody"]["content"]
    assert sorted(content) == ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"]
    assert all(kind["schema"]["required"] == ["q", "source", "target"] for kind in content.values())
    assert {parameter["name"] for parameter in operation["parameters"]} >= {"q", "source", "target", "format"}
    assert set(operation["responses"]) == {"200", "400", "403", "413", "429", "500", "503"}


def test_every_dialect_is_described_and_only_ours_has_422(openapi):
    found = {
        tag: {
            path.removeprefix("/")
            for path, operations in openapi["paths"].items()
            for operation in operations.values()
            if tag in operation["tags"]
        }
        for tag in ("native", "DeepL v2", "LibreTranslate", "Google Translation v2")
    }
    assert found == {
        "native": {"v1/translate", "v1/model"},
        "DeepL v2": {"v2/translate", "v2/languages", "v2/usage", "v2/glossaries", "v2/glossary-language-pairs"},
        "LibreTranslate": {"translate", "detect", "languages", "frontend/settings", "suggest", "health"},
        "Google Translation v2": {f"language/translate/v2{end}" for end in ("", "/detect", "/languages")},
    }
    assert set().union(*found.values()) == {path.removeprefix("/") for path in openapi["paths"]}
    with_422 = {
        path for path, kinds in openapi["paths"].items() for kind in kinds.values() if "422" in kind["responses"]
    }
    assert with_422 == {"/v1/translate"}


def test_every_reference_of_the_description_resolves(openapi):
    def references(node):
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    found = set(references(openapi))
    assert found
    assert openapi["openapi"].startswith("3.1")
    assert all(ref.removeprefix("#/components/schemas/") in openapi["components"]["schemas"] for ref in found)


def test_the_description_is_served(client, openapi):
    assert client.get("/openapi.json").json() == openapi
