"""DeepL's own clients, unmodified, against the real server and a real bundle."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.clients.installs import from_npm, from_pypi

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
TEXTS = ["The printer is on the second floor. It is new.", "Switch the light off & leave.\nPlease!"]
MARKUP = '<p>The <i>light</i> <x id="7"></x> is <y>out</y>.<br/>\n&amp; more</p>'


def run(command, **environment):
    """What a process writes that finds one client and no other package."""
    environment = {"PATH": os.environ["PATH"], **environment}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def run_python(*arguments):
    # -S: without the packages that the tests run with.
    return run([sys.executable, "-S", *arguments], PYTHONPATH=str(from_pypi("deepl==1.32.0")))


def run_cli(url, *arguments):
    return run_python("-m", "deepl", "--server-url", url, "--auth-key", "any", *arguments)


def run_sdk(url):
    return json.loads(run_python(str(HERE / "deepl_sdk.py"), url, json.dumps(TEXTS), MARKUP))


@pytest.fixture(scope="module")
def expected(student_url):
    """What the server says without a client between."""
    answer = httpx2.post(f"{student_url}/v2/translate", json={"text": TEXTS, "target_lang": "DE"}, timeout=20).json()
    translations = [entry["text"] for entry in answer["translations"]]
    assert len({*TEXTS, *translations}) == 2 * len(TEXTS)
    return translations


def check(said, expected):
    """What both packages must have been told."""
    assert said["one"] == [expected[0], said["one"][1], len(TEXTS[0])]
    assert said["one"][1].lower() == "en"
    assert said["list"] == expected
    translation, model = said["everything"]
    assert model == "quality_optimized"
    for output in (translation, said["html"]):
        assert re.findall(r"<[^>]*>", output) == re.findall(r"<[^>]*>", MARKUP)
        assert output != MARKUP
    assert "<y>out</y>" in translation
    assert [[code.lower(), name] for code, name in said["sources"]] == [["en", "English"]]
    assert [[code.lower(), formality] for code, formality in said["targets"]] == [["de", False]]
    assert said["pairs"] == said["glossaries"] == []
    count, is_reached, text = said["usage"]
    assert count >= len(TEXTS[0])
    assert not is_reached
    assert "Usage this billing period" in text
    wordings = {
        "target": "target_lang.*not supported",
        "formality": ".*Target language.*formality.*",
        "xml": "Tag handling parsing failed",
    }
    for name, wording in wordings.items():
        kind, message = said["refused"][name]
        assert kind in ("DeepLException", "DeepLError")
        assert re.search(wording, message), message


def test_the_python_package(student_url, expected):
    said = run_sdk(student_url)
    check(said, expected)
    assert said["fifty"] == 50
    refused = said["refused"]
    assert "source_lang' not supported" in refused["source"][1]
    assert refused["size"][0] == "DeepLException"
    assert "Glossary not found" in refused["glossary"][1]


def test_the_python_package_behind_a_proxy_with_a_path(prefixed_url, expected):
    check(run_sdk(prefixed_url), expected)


def test_the_command_line(student_url, prefixed_url, expected):
    for url in (student_url, prefixed_url):
        assert run_cli(url, "text", "--to", "DE", *TEXTS).splitlines() == "\n".join(expected).splitlines()
        assert run_cli(url, "text", "--from", "EN", "--to", "DE", "--tag-handling", "xml", MARKUP).startswith("<p>")
        assert "EN: English" in run_cli(url, "languages")
        assert "DE: German" in run_cli(url, "languages")
        assert "Usage this billing period" in run_cli(url, "usage")


def test_the_package_for_node(student_url, expected):
    command = ["node", str(HERE / "deepl_node.cjs"), student_url, json.dumps(TEXTS), MARKUP]
    check(json.loads(run(command, NODE_PATH=str(from_npm("deepl-node@1.28.0")))), expected)
