"""DeepL's own description of its API, and ours, against the real server: schemathesis sends what each allows, and not.

`openapi.yaml` is DeepL's description 3.11.0, cut down to the operations that are served here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.clients.installs import from_pypi
from tests.service.conftest import ServerProcess

pytestmark = pytest.mark.clients

SPEC = Path(__file__).parents[1] / "data" / "deepl" / "openapi.yaml"
SERVE_ECHO = "from service import server, settings; from service.engines.echo import EchoEngine; "
SERVE_ECHO += "server.run(EchoEngine('en', 'de'), settings.load_settings())"
ANSWERS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
UNSERVED = ["glossary_id", "glossary_ids", "style_id", "custom_instructions"]
UNSERVED += ["translation_memory_id", "translation_memory_threshold"]


@pytest.fixture(scope="module")
def url():
    server = ServerProcess(SERVE_ECHO)
    yield server.url
    server.process.terminate()
    assert server.wait() == 0


def fuzz(folder, spec, url, *options):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(from_pypi("schemathesis==4.32.5"))}
    command = [sys.executable, "-S", "-m", "schemathesis.cli", "run", str(spec), "--url", url, "--seed", "1"]
    command += ["--max-examples", "20", "--mode", "all", "--continue-on-failure", "--workers", "1", *options]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, check=False, timeout=300
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr


def test_the_server_keeps_to_deepls_description(url, tmp_path):
    fuzz(tmp_path, SPEC, url, "--checks", ",".join([*ANSWERS, "response_headers_conformance"]))


def test_what_is_valid_is_translated(url, tmp_path):
    """With the languages that this server has, and without what it refuses on purpose. (It also takes null for what is
    left out, and lists with commas, as clients send them: what is not valid is refused in `test_deepl.py`.)"""
    spec = yaml.safe_load(SPEC.read_text(encoding="utf-8"))
    schemas, translate = spec["components"]["schemas"], spec["paths"]["/v2/translate"]["post"]
    schemas["TargetLanguage"]["enum"], schemas["SourceLanguage"]["enum"] = ["DE", "de"], ["EN", "en"]
    schemas["Formality"]["enum"] = ["default", "prefer_more", "prefer_less"]
    # XML that is not well-formed is refused, and no schema can say that of a text.
    schemas["TagHandlingOption"]["enum"] = ["html"]
    for operations in spec["paths"].values():
        for operation in operations.values():
            del operation["security"]  # this server asks for no key
    body = translate["requestBody"]["content"]
    del body["application/x-www-form-urlencoded"]
    body["application/json"].pop("examples", None)
    properties = body["application/json"]["schema"]["properties"]
    properties["text"].update(minItems=1, maxItems=50)
    for name in UNSERVED:
        del properties[name]
    (tmp_path / "openapi.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    fuzz(tmp_path, "openapi.yaml", url, "--checks", ",".join([*ANSWERS, "positive_data_acceptance"]))


def test_the_server_keeps_to_its_own_description(url, tmp_path):
    fuzz(tmp_path, f"{url}/openapi.json", url, "--checks", ",".join(ANSWERS))
