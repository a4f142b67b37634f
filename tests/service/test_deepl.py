"""DeepL's dialect over a real server; the echo engine answers with the source."""

from __future__ import annotations

import json
import re

import pytest

from service.engines.echo import EchoEngine
from service.settings import Settings
from tests.service.deepl_answers import refused, translated
from tests.service.doubles import Upper

JSON, FORM = {"content-type": "application/json"}, {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def client(serving):
    with serving(Upper(), Settings(cache_chars=0)) as client:
        yield client


def test_json_form_multipart_query_and_get_are_answered_alike(client):
    parameters = {"text": ["Größe & Licht\nzwei", "b"], "target_lang": "de", "source_lang": "en", "debug": "1"}
    entry = {"detected_source_language": "EN"}
    expected = {
        "translations": [
            entry | {"text": "GRÖSSE & LICHT\nZWEI", "billed_characters": 18},
            entry | {"text": "B", "billed_characters": 1},
        ]
    }
    files = [("target_lang", (None, "de")), *(("text", (None, text)) for text in parameters["text"])]
    answers = [
        client.post("/v2/translate", json=parameters),
        client.post("/v2/translate", data=parameters),
        client.post("/v2/translate", files=files),
        client.post("/v2/translate", params=parameters),
        client.get("/v2/translate", params=parameters),
        client.request("GET", "/v2/translate", data=parameters),
        client.post("/v2/translate", params={"text": parameters["text"]}, data={"target_lang": "DE"}),
    ]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, expected)] * len(answers)


def test_the_answer_names_model_and_tag_handling_only_if_asked_for(client):
    parameters = {"text": ["a"], "target_lang": "DE", "model_type": "latency_optimized", "tag_handling": "html"}
    (entry,) = client.post("/v2/translate", json=parameters).json()["translations"]
    assert (entry["model_type_used"], entry["tag_handling_version"]) == ("latency_optimized", "v2")
    (entry,) = client.post("/v2/translate", json=parameters | {"tag_handling_version": "v1"}).json()["translations"]
    assert entry["tag_handling_version"] == "v1"


def test_everything_that_official_clients_send_is_accepted(client):
    node = (
        "target_lang=de&source_lang=en&show_billed_characters=1&text=proton+beam&text=b&preserve_formatting=1"
        "&tag_handling=xml&ignore_tags=a%2Cb&split_sentences=0&outline_detection=0&formality=prefer_less&context=c"
    )
    answer = client.post("/v2/translate", content=node, headers=FORM)
    assert [entry["text"] for entry in answer.json()["translations"]] == ["PROTON BEAM", "B"]
    python = {"target_lang": "DE", "text": ["x"], "show_billed_characters": True, "split_sentences": "nonewlines",
              "preserve_formatting": True, "formality": "default", "outline_detection": False, "ignore_tags": ["a"],
              "splitting_tags": "p,q", "non_splitting_tags": [],
              "enable_beta_languages": False, "glossary_id": None}  # fmt: skip
    assert client.post("/v2/translate", json=python).status_code == 200


@pytest.mark.parametrize("value", [True, False, "1", "0", "true", "false", 1, 0])
def test_booleans_have_many_forms(client, value):
    assert translated(client, "a", preserve_formatting=value) == "A"


def test_empty_texts_stay_empty(client):
    answer = client.post("/v2/translate", data={"text": ["", " ", "a"], "target_lang": "DE", "source_lang": ""})
    assert [entry["text"] for entry in answer.json()["translations"]] == ["", " ", "A"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": None}, "Parameter 'text' not specified"),
        ({"text": []}, "Parameter 'text' not specified"),
        ({"text": "a"}, "Value for 'text' not supported."),
        ({"text": [1]}, "Value for 'text' not supported."),
        ({"text": ["a"] * 51}, "Too many texts: a request may have at most 50."),
        ({"target_lang": None}, "Parameter 'target_lang' not specified"),
        ({"target_lang": ""}, "Value for 'target_lang' not supported."),
        ({"target_lang": "FR"}, "Value for 'target_lang' not supported."),
        ({"target_lang": "EN"}, "Value for 'target_lang' not supported."),
        ({"target_lang": ["DE"]}, "Value for 'target_lang' not supported."),
        ({"source_lang": "DE"}, "Value for 'source_lang' not supported."),
        ({"tag_handling": ""}, "Parameter 'tag_handling' is invalid."),
        ({"split_sentences": "2"}, "Value for 'split_sentences' not supported."),
        ({"formality": "rude"}, "Value for 'formality' not supported."),
        ({"formality": "more"}, "Target language 'DE' doesn't support formality."),
        ({"formality": "less"}, "Target language 'DE' doesn't support formality."),
        ({"model_type": "best"}, "Value for 'model_type' not supported."),
        ({"preserve_formatting": "maybe"}, "Value for 'preserve_formatting' not supported."),
        ({"tag_handling": "sgml"}, "Parameter 'tag_handling' is invalid."),
        ({"tag_handling_version": "v3"}, "Value for 'tag_handling_version' not supported."),
        ({"ignore_tags": [1]}, "Value for 'ignore_tags' not supported."),
        ({"translation_memory_threshold": 101}, "Value for 'translation_memory_threshold' not supported."),
        ({"style_id": "a"}, "Parameter 'style_id' is not supported by this server."),
        ({"translation_memory_id": "a"}, "Parameter 'translation_memory_id' is not supported by this server."),
        ({"custom_instructions": ["a"]}, "Parameter 'custom_instructions' is not supported by this server."),
        ({"glossary_id": "a"}, "Use of a glossary requires the source_lang parameter to be specified"),
        (
            {"glossary_ids": ["a"], "glossary_id": "a"},
            "Parameters 'glossary_id' and 'glossary_ids' exclude each other.",
        ),
    ],
)
def test_wrong_parameters_are_refused_in_their_words(client, change, message):
    parameters = {"text": ["canary"], "target_lang": "DE", **change}
    answer = client.post("/v2/translate", content=json.dumps(parameters), headers=JSON)
    assert refused(answer) == message


def test_a_glossary_is_not_found(client):
    parameters = {"text": ["a"], "target_lang": "DE", "source_lang": "EN"}
    assert refused(client.post("/v2/translate", json={**parameters, "glossary_id": "a"}), 404).startswith(
        "Glossary not"
    )
    assert refused(client.post("/v2/translate", data={**parameters, "glossary_ids": "a,b"}), 404)


@pytest.mark.parametrize("body", ["", "{", "[]", "\xff", "[" * 50_000, '{"text": ["\\ud800"], "target_lang": "DE"}'])
def test_a_body_that_is_no_json_object_is_refused(client, body):
    assert refused(client.post("/v2/translate", content=body.encode("latin-1"), headers=JSON))


@pytest.mark.parametrize(
    ("start", "end", "headers"),
    [(b'{"target_lang":"DE","text":["', b'"]}', JSON), (b"target_lang=DE&text=", b"", FORM)],
)
def test_a_body_of_128_kib_is_taken_and_one_byte_more_is_413(client, start, end, headers):
    body = start + b"a " * (64 * 1024)
    body = body[: 128 * 1024 - len(end)] + end
    assert client.post("/v2/translate", content=body, headers=headers).status_code == 200
    too_large = body.replace(b"a", b"aa", 1)
    assert "131072 bytes" in refused(client.post("/v2/translate", content=too_large, headers=headers), 413)


def test_more_characters_than_the_operator_admits_are_413(serving):
    parameters = {"text": ["a" * 500] * 2, "target_lang": "DE"}
    with serving(EchoEngine(), Settings(max_text_chars=1000)) as client:
        assert client.post("/v2/translate", json=parameters).status_code == 200
        parameters["text"].append("a")
        assert "1000 characters" in refused(client.post("/v2/translate", json=parameters), 413)


@pytest.mark.parametrize(
    ("languages", "accepted", "listed"),
    [
        (("de", "en"), ["EN", "EN-US", "en-gb"], ["EN-GB", "EN-US"]),
        (("de", "pt"), ["PT", "pt-br", "PT-PT"], ["PT-BR", "PT-PT"]),
        (("de", "fr"), ["FR", "fr"], ["FR"]),
    ],
)
def test_variants_stand_for_the_models_language(serving, languages, accepted, listed):
    with serving(EchoEngine(*languages), Settings()) as client:
        for code in accepted:
            assert client.post("/v2/translate", json={"text": ["a"], "target_lang": code}).status_code == 200
        assert refused(client.post("/v2/translate", json={"text": ["a"], "target_lang": "FR-CA"}))
        targets = client.get("/v2/languages?type=target").json()
        assert [entry["language"] for entry in targets] == listed
        assert all(list(entry) == ["language", "name", "supports_formality"] for entry in targets)


def test_languages_takes_its_type_from_query_form_or_json(client):
    source = [{"language": "EN", "name": "English"}]
    target = [{"language": "DE", "name": "German", "supports_formality": False}]
    assert client.get("/v2/languages").json() == client.post("/v2/languages").json() == source
    assert client.get("/v2/languages?type=source").json() == source
    assert client.get("/v2/languages?type=target").json() == target
    assert client.request("GET", "/v2/languages", data={"type": "target"}).json() == target
    assert client.post("/v2/languages", json={"type": "target"}).json() == target
    message = "Parameter 'type' is invalid. 'source' and 'target' are valid values."
    for wrong in ("both", "", "source&type=target"):
        assert refused(client.get(f"/v2/languages?type={wrong}")) == message


def test_usage_counts_what_was_translated_and_nothing_else(serving, tmp_path):
    with serving(EchoEngine(), Settings(data=tmp_path)) as client:
        for text in ("12345", "Größe"):
            translated(client, text)
        refused(client.post("/v2/translate", json={"text": ["12345"], "target_lang": "FR"}))
        assert client.get("/v2/usage").json() == {"character_count": 10, "character_limit": 1_000_000_000_000}
        assert client.post("/v2/usage").json()["character_count"] == 10


def test_there_are_no_glossaries(client):
    assert client.get("/v2/glossary-language-pairs").json() == {"supported_languages": []}
    assert client.get("/v2/glossaries").json() == {"glossaries": []}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v2/nowhere", 404), ("POST", "/v2/document", 404), ("GET", "/v2/glossaries/1", 404), ("GET", "/v2/", 404),
     ("GET", "/v3/glossaries", 404), ("PUT", "/v2/write/rephrase", 404), ("DELETE", "/v2/translate", 405)],
)  # fmt: skip
def test_wrong_paths_and_methods_have_the_shape_too(client, method, path, status):
    assert refused(client.request(method, path), status)


def test_a_wrong_method_is_told_all_that_are_right(client):
    assert client.delete("/v2/translate").headers["allow"] == "GET, POST"
    assert client.post("/v2/glossaries").headers["allow"] == "GET"


def test_an_unexpected_error_has_the_shape_and_no_text(serving, caplog, tmp_path):
    class Broken(EchoEngine):
        def translate(self, segments, decoding):
            raise ValueError(f"cannot translate {segments}")

    with serving(Broken(), Settings(data=tmp_path)) as client:
        answer = client.post("/v2/translate", json={"text": ["canary quetzal"], "target_lang": "DE"})
        assert refused(answer, 500) == "Internal server error"
        assert client.get("/v2/usage").json()["character_count"] == 0
    assert "quetzal" not in caplog.text


def test_every_answer_has_a_trace_id_of_its_own(client):
    answers = [
        client.post("/v2/translate", json={"text": ["a"], "target_lang": "DE"}),
        client.post("/v2/translate", json={"text": ["a"], "target_lang": "FR"}),
        client.post("/v2/translate", content=b"x" * 140_000, headers=JSON),
        client.get("/v2/nowhere"),
        client.delete("/v2/usage"),
    ]
    ids = [answer.headers.get("x-trace-id", "") for answer in answers]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids), ids
    assert len(set(ids)) == len(ids)
