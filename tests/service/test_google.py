"""Google Cloud Translation v2 over a real server; the engine answers in capitals."""

from __future__ import annotations

import json

import pytest

from service.engines.echo import EchoEngine
from service.settings import Settings
from tests.service.doubles import hypotheses

URL = "/language/translate/v2"


class Shouting(EchoEngine):
    def translate(self, segments, decoding):
        return hypotheses(segment.upper() for segment in segments)


@pytest.fixture(scope="module")
def client(serving):
    with serving(Shouting(), Settings(max_text_chars=1000, max_batch_texts=3)) as client:
        yield client


def refused(response, status=400) -> str:
    """The error's message, after checking that the whole answer has the dialect's shape."""
    assert response.status_code == status, response.text
    (error,) = response.json().values()
    assert error["code"] == status
    assert [problem["message"] for problem in error["errors"]] == [error["message"]]
    return error["message"]


def translated(response) -> list[str]:
    assert response.status_code == 200, response.text
    return [entry["translatedText"] for entry in response.json()["data"]["translations"]]


def test_json_form_query_and_get_are_answered_alike(client):
    parameters = {"q": ["größe", "zwei"], "source": "en", "target": "de", "key": "k", "prettyPrint": "false"}
    answers = [
        client.post(URL, json={**parameters, "cid": [], "format": None, "model": None}),
        client.post(URL, data=parameters),
        client.post(URL, params=parameters),
        client.get(URL, params=parameters),
        client.post(URL, data=parameters, headers={"X-HTTP-Method-Override": "GET"}),
    ]
    expected = {"data": {"translations": [{"translatedText": "GRÖSSE"}, {"translatedText": "ZWEI"}]}}
    assert [answer.json() for answer in answers] == [expected] * len(answers)


def test_html_is_the_default_and_escapes(client):
    parameters = {"q": "salt &amp; <b>pepper</b> &lt; x", "source": "en", "target": "de"}
    assert translated(client.post(URL, json=parameters)) == ["SALT &amp; <b>PEPPER</b> &lt; X"]
    assert translated(client.post(URL, json={**parameters, "q": "a & b"})) == ["A &amp; B"]
    assert translated(client.post(URL, json={**parameters, "q": "a & b", "format": "text"})) == ["A & B"]


def test_the_source_is_detected_where_none_is_given(client):
    texts = ["Where is the nearest printer?", "Il gatto dorme sul tavolo della cucina."]
    answer = client.post(URL, json={"q": texts, "target": "de", "source": None}).json()["data"]["translations"]
    assert [entry["detectedSourceLanguage"] for entry in answer] == ["en", "it"]
    assert [entry["translatedText"] for entry in answer] == [text.upper() for text in texts]


def test_a_region_does_not_matter(client):
    assert translated(client.get(URL, params={"q": "a", "source": "en-GB", "target": "de-AT"})) == ["A"]


def test_detection_has_one_list_a_text(client):
    texts = ["Where is the nearest printer?", "😀"]
    for answer in (client.post(f"{URL}/detect", json={"q": texts}), client.get(f"{URL}/detect", params={"q": texts})):
        (first,), (second,) = answer.json()["data"]["detections"]
        assert (first["language"], first["isReliable"]) == ("en", True)
        assert 0.9 < first["confidence"] <= 1
        assert second == {"language": "und", "confidence": 0.0, "isReliable": False}


def test_languages_have_names_when_asked_for(client):
    plain, named = client.get(f"{URL}/languages"), client.get(f"{URL}/languages", params={"target": "en"})
    assert plain.json() == {"data": {"languages": [{"language": "en"}, {"language": "de"}]}}
    assert named.json()["data"]["languages"][1] == {"language": "de", "name": "German"}
    override = {"X-HTTP-Method-Override": "GET"}
    assert client.post(f"{URL}/languages", data={"target": "en"}, headers=override).json() == named.json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": None}, "Required Text"),
        ({"q": []}, "Required Text"),
        ({"q": [5]}, "Invalid Value"),
        ({"q": ["a", {}]}, "Invalid Value"),
        ({"target": None}, "Required parameter: target"),
        ({"target": ""}, "Required parameter: target"),
        ({"target": "zz"}, "Invalid Value"),
        ({"source": "zz"}, "Invalid Value"),
        ({"format": "xml"}, "Invalid Value"),
        ({"source": "de", "target": "en"}, "Bad language pair: de|en"),
        ({"q": ["x"] * 4}, "Too many text segments"),
        ({"q": "x" * 1001}, "Text too long"),
    ],
)
def test_wrong_parameters_are_refused_in_its_shape(client, change, message):
    assert refused(client.post(URL, json={"q": "a", "source": "en", "target": "de", **change})) == message


def test_detection_has_the_same_limits(client):
    assert refused(client.post(f"{URL}/detect", json={})) == "Required Text"
    assert refused(client.post(f"{URL}/detect", json={"q": ["x"] * 4})) == "Too many text segments"


@pytest.mark.parametrize("body", ["{", "[]", "\xff", "[" * 50_000, json.dumps({"q": "\ud800", "target": "de"})])
def test_what_is_no_json_object_is_refused_in_its_shape(client, body):
    headers = {"content-type": "application/json"}
    assert refused(client.post(URL, content=body.encode("latin-1"), headers=headers))


def test_wrong_methods_and_paths_have_the_shape_too(client):
    assert refused(client.delete(URL), 405)
    assert refused(client.get(f"{URL}/models"), 404)


def test_an_empty_text_stays_empty(client):
    assert translated(client.post(URL, json={"q": ["", "a"], "source": "en", "target": "de"})) == ["", "A"]
