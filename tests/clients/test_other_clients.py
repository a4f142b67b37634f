"""Unmodified clients of LibreTranslate's and Google's APIs against the real server and a real bundle.

Each client is alone in its folder, since `translate` pins another libretranslatepy than the one tested here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.clients.installs import from_pypi, kept
from tests.service.conftest import ServerProcess

pytestmark = pytest.mark.clients

ROOT = Path(__file__).parents[2]
SERVE_ECHO = "from service import server, settings; from service.engines.echo import EchoEngine; "
SERVE_ECHO += "server.run(EchoEngine('en', 'es'), settings.load_settings())"
TEXTS = ["The printer is on the second floor. It is new.", "Switch the light off & leave.\nPlease!"]

LIBRETRANSLATEPY = """
from libretranslatepy import LibreTranslateAPI
api = LibreTranslateAPI(URL, api_key="any")
answer([api.translate(text, "en", "de") for text in TEXTS], api.detect(TEXTS[0]), api.languages())
"""
DEEP_TRANSLATOR = """
from deep_translator import LibreTranslator
client = LibreTranslator(source="en", target="de", api_key="any", custom_url=URL + "/")
answer([client.translate(text) for text in TEXTS], client.translate_batch(TEXTS))
"""
TRANSLATE = """
from translate import Translator
to_german = Translator(provider="libre", from_lang="en", to_lang="de", base_url=URL)
detecting = Translator(provider="libre", from_lang="autodetect", to_lang="de", base_url=URL)
answer([to_german.translate(text) for text in TEXTS], detecting.translate(TEXTS[0]))
"""
GOOGLE = """
from google.api_core.exceptions import BadRequest
from google.auth.credentials import AnonymousCredentials
from google.cloud.translate_v2 import Client
client = Client(credentials=AnonymousCredentials(), client_options={"api_endpoint": URL})
try:
    client.translate(TEXTS, target_language="zz")
except BadRequest as error:
    refusal = error.message
answer(
    client.translate(TEXTS, source_language="en", target_language="de", format_="text"),
    client.translate(TEXTS[0], target_language="de"),
    client.detect_language(TEXTS),
    client.get_languages(target_language="en"),
    refusal,
)
"""


@pytest.fixture(scope="module")
def spanish_url() -> Iterator[str]:
    """What LibreTranslate's own tests translate into."""
    server = ServerProcess(SERVE_ECHO)
    yield server.url
    server.process.terminate()
    assert server.wait() == 0


@pytest.fixture(scope="module")
def expected(student_url: str) -> list[str]:
    """What the server says without a client between."""
    answer = httpx2.post(f"{student_url}/v1/translate", json={"texts": TEXTS}, timeout=20).json()
    translations = [entry["translation"] for entry in answer["translations"]]
    assert len({*TEXTS, *translations}) == 2 * len(TEXTS)
    return translations


@pytest.fixture
def answers(student_url: str) -> Callable[[str, str], Any]:
    """What a script answers that finds one client and no other package: `answers(requirement, script)`."""

    def run(requirement: str, script: str) -> Any:
        prelude = f"import json\nURL, TEXTS = {student_url!r}, {TEXTS!r}\n"
        prelude += "def answer(*values): print(json.dumps(values))\n"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(from_pypi(requirement))}
        # -S: without the packages that the tests run with.
        command = [sys.executable, "-S", "-c", prelude + script]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run


def test_libretranslatepy(answers, expected):
    translations, detected, languages = answers("libretranslatepy==2.1.4", LIBRETRANSLATEPY)
    assert translations == expected
    assert detected[0]["language"] == "en"
    assert [(entry["code"], entry["targets"]) for entry in languages] == [("en", ["de"]), ("de", [])]


def test_deep_translator(answers, expected):
    assert answers("deep-translator==1.11.4", DEEP_TRANSLATOR) == [expected, expected]


def test_translate(answers, expected):
    # It wraps a text's words into lines of at most 1,000 and keeps line breaks.
    assert answers("translate==3.8.1", TRANSLATE) == [expected, expected[0]]


def test_google_cloud_translate(answers, expected):
    plain, detected, detections, languages, refusal = answers("google-cloud-translate==3.28.0", GOOGLE)
    assert [entry["translatedText"] for entry in plain] == expected
    assert [entry["input"] for entry in plain] == TEXTS
    assert detected["detectedSourceLanguage"] == "en"
    assert [entry["language"] for entry in detections] == ["en", "en"]
    assert {"language": "de", "name": "German"} in languages
    assert "Invalid Value" in refusal


def test_libretranslates_own_api_tests(spanish_url):
    """They are AGPL: taken from its wheel, run, never kept in this repository."""

    def extract(folder: Path) -> None:
        download = ["-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
        subprocess.run([sys.executable, *download, "libretranslate==1.9.6", "--dest", str(folder)], check=True)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if re.fullmatch(r"libretranslate/tests/test_api/test_\w+\.py", name):
                    (folder / Path(name).name).write_bytes(archive.read(name))
        (folder / "pytest.ini").write_text("[pytest]\n")

    folder = kept("libretranslate-tests-1.9.6", extract)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "MTKD_URL": spanish_url}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.clients.libretranslate_adapter",
        "-p",
        "no:cacheprovider",
    ]
    result = subprocess.run([*command, str(folder)], capture_output=True, text=True, env=environment, check=False)
    assert re.search(r"^14 passed", result.stdout, re.MULTILINE), result.stdout + result.stderr
