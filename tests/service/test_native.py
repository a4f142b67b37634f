"""The native API over a real server; the engine answers in capitals."""

from __future__ import annotations

import json
import time

import httpx2
import pytest
from starlette.testclient import TestClient

from mtkd.bundle import ModelBundle
from service.app import create_app
from service.engines import ENGINES
from service.engines.base import Hypothesis
from service.engines.echo import EchoEngine
from service.routes.native import NDJSON
from service.settings import Settings
from tests.service.doubles import hypotheses

STREAM = {"accept": NDJSON}
TEXTS = ["  One. Two!\n\n---\nThree", "", "😀", "four\r\n"]


class Shouting(EchoEngine):
    """Answers in capitals, and fails at a text that says so."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = []

    def translate(self, segments, decoding):
        self.calls.append(list(segments))
        if any(segment.startswith("fail") for segment in segments):
            raise ValueError(f"cannot translate {segments}")
        return hypotheses(segment.upper() for segment in segments)


@pytest.fixture(scope="module")
def client(serving):
    with serving(Shouting(), Settings(max_text_chars=1000, max_batch_texts=5)) as client:
        yield client


def refused(response, status) -> str:
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def test_segments_joined_are_the_translation(client):
    answer = client.post("/v1/translate", json={"texts": TEXTS}).json()
    assert answer["model"] == "echo"
    assert [entry["translation"] for entry in answer["translations"]] == [text.upper() for text in TEXTS]
    assert [entry["characters"] for entry in answer["translations"]] == [len(text) for text in TEXTS]
    for text, entry in zip(TEXTS, answer["translations"], strict=True):
        assert "".join(part["before"] + part["translation"] + part["after"] for part in entry["segments"]) == (
            text.upper()
        )
        assert "".join(part["before"] + part["source"] + part["after"] for part in entry["segments"]) == text


def test_a_segment_is_a_sentence_and_says_nothing_that_is_not_known(client):
    first = client.post("/v1/translate", json={"texts": TEXTS}).json()["translations"][0]["segments"]
    assert first == [
        {"before": "  ", "source": "One.", "translation": "ONE.", "after": " ", "score": 0, "flags": []},
        {"before": "", "source": "Two!", "translation": "TWO!", "after": "\n\n---\n", "score": 0, "flags": []},
        {"before": "", "source": "Three", "translation": "THREE", "after": "", "score": 0, "flags": []},
    ]


def test_a_stream_has_a_line_a_sentence_and_says_that_it_is_complete(client):
    answer = client.post("/v1/translate", json={"texts": TEXTS}, headers=STREAM)
    assert answer.headers["content-type"].startswith(NDJSON)
    *lines, last = [json.loads(line) for line in answer.text.splitlines()]
    assert last == {"model": "echo", "characters": sum(map(len, TEXTS))}
    assert [(line["text"], line["segment"]) for line in lines] == [(0, 0), (0, 1), (0, 2), (2, 0), (3, 0)]
    whole = client.post("/v1/translate", json={"texts": TEXTS}).json()["translations"]
    segments = [{"text": n, "segment": i} | s for n, entry in enumerate(whole) for i, s in enumerate(entry["segments"])]
    assert lines == segments


def test_a_stream_asks_the_engine_bit_by_bit_and_a_whole_answer_once(serving):
    text = "\n".join(f"line {number}" for number in range(20))
    engine = Shouting()
    with serving(engine, Settings(threads=1, cache_chars=0)) as client:
        client.post("/v1/translate", json={"texts": [text]}, headers=STREAM)
        assert [len(call) for call in engine.calls] == [8, 8, 4]
        engine.calls.clear()
        client.post("/v1/translate", json={"texts": [text]})
        assert [len(call) for call in engine.calls] == [20]


def test_a_stream_that_fails_at_once_has_a_status_and_one_that_fails_later_breaks_off(serving, caplog):
    with serving(Shouting(), Settings()) as client:
        early = client.post("/v1/translate", json={"texts": ["fail canary"]}, headers=STREAM)
        assert refused(early, 500) == "Internal server error"
        late = {"texts": ["a\n" * 8 + "fail canary"]}
        with client.stream("POST", "/v1/translate", json=late, headers=STREAM) as answer:
            assert answer.status_code == 200
            with pytest.raises(httpx2.RemoteProtocolError):
                answer.read()
        assert client.get("/health").status_code == 200
    assert "canary" not in caplog.text


def test_what_a_client_that_left_has_not_read_is_not_translated(serving):
    class Slow(Shouting):
        def translate(self, segments, decoding):
            time.sleep(0.2)
            return super().translate(segments, decoding)

    engine = Slow()
    with serving(engine, Settings(threads=1)) as client:
        texts = {"texts": ["a\n" * 8 * 10]}
        with client.stream("POST", "/v1/translate", json=texts, headers=STREAM) as answer:
            assert json.loads(next(answer.iter_lines()))["translation"] == "A"
        client.close()
        time.sleep(1)
    assert len(engine.calls) <= 3


def test_no_texts_are_no_translations(client):
    assert client.post("/v1/translate", json={"texts": []}).json() == {"model": "echo", "translations": []}
    answer = client.post("/v1/translate", json={"texts": []}, headers=STREAM)
    assert answer.json() == {"model": "echo", "characters": 0}


def test_alternatives_and_flags_are_of_segments(serving):
    class Looping(EchoEngine):
        def translate(self, segments, decoding):
            texts = ["gut", "fein"] if "good" in segments else ["la la la la la la"]
            ranked = [Hypothesis(text, -rank / 2, truncated=False) for rank, text in enumerate(texts)]
            return [ranked[: decoding.n_best] for _ in segments]

    with serving(Looping(), Settings(threads=1, max_batch_tokens=1)) as client:
        answer = client.post("/v1/translate", json={"texts": ["good\nbad"], "alternatives": 1}).json()
        too_many = client.post("/v1/translate", json={"texts": ["good"], "alternatives": 10_000})
    good, bad = answer["translations"][0]["segments"]
    assert (good["score"], good["flags"]) == (0, [])
    assert good["alternatives"] == [{"translation": "fein", "score": -0.5}]
    assert bad["flags"] == ["repetition"]
    assert "alternatives" not in bad
    assert refused(too_many, 422) == "body.alternatives: Input should be less than or equal to 5"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"texts": "a"}, 422, "body.texts: Input should be a valid list"),
        ({"texts": ["canary", 4711]}, 422, "body.texts.1: Input should be a valid string"),
        ({}, 422, "body.texts: Field required"),
        ({"texts": ["a"], "domain": "law"}, 422, "body.domain: Extra inputs are not permitted"),
        (
            {"texts": ["a"], "\ud800": 1},
            422,
            "body: Input should be a valid string, unable to parse raw data as a unicode string",
        ),
        ({"texts": ["canary \ud800"]}, 422, "body.texts.0: Value error, text holds half a surrogate pair"),
        ({"texts": ["x"] * 6}, 413, "6 texts are more than 5: send fewer at a time"),
        ({"texts": ["x" * 1001]}, 413, "1001 characters are more than 1000: send fewer at a time"),
    ],
)
def test_wrong_requests_are_refused_without_what_was_sent(client, body, status, message):
    headers = {"content-type": "application/json"}
    assert refused(client.post("/v1/translate", content=json.dumps(body), headers=headers), status) == message


@pytest.mark.parametrize(("body", "status"), [(b"{", 422), (b'"a"', 422), (b"\xff", 400), (b"[" * 50_000, 400)])
def test_what_is_no_json_object_is_refused(client, body, status):
    assert refused(client.post("/v1/translate", content=body, headers={"content-type": "application/json"}), status)


def test_a_body_beyond_the_limit_is_413(client):
    body = b'{"texts": ["' + b"x" * 200_000 + b'"]}'
    assert refused(client.post("/v1/translate", content=body, headers={"content-type": "application/json"}), 413)


def test_the_model_is_the_manifest_with_its_scores(bundle_dir):
    bundle = ModelBundle.open(bundle_dir)
    bundle.manifest.scores["BLEU"] = {"office": {"score": 30.5, "signature": "nrefs:1"}}
    engine = ENGINES["echo"](bundle, Settings())
    with TestClient(create_app(engine, Settings())) as client:
        answer = client.get("/v1/model").json()
    assert (answer["digest"], answer["engine"]) == ("echo", "echo")
    assert (answer["source_lang"], answer["target_lang"]) == ("en", "de")
    assert answer["manifest"]["scores"]["BLEU"]["office"] == {"score": 30.5, "signature": "nrefs:1"}
    assert answer["manifest"] == json.loads(bundle.manifest.to_json())


def test_a_model_without_a_bundle_has_no_manifest(client):
    assert client.get("/v1/model").json() == {
        "digest": "echo",
        "engine": "echo",
        "source_lang": "en",
        "target_lang": "de",
    }


def test_the_student_says_the_same_here_and_in_a_stream_and_elsewhere(serving, bundle_dir):
    text = "The printer is next to the kitchen. Switch the light off!\n\nLeave the house."
    engine = ENGINES["ctranslate2"](ModelBundle.open(bundle_dir), Settings(threads=1))
    with serving(engine, Settings()) as client:
        here = client.post("/v1/translate", json={"texts": [text]}).json()
        elsewhere = client.post("/translate", json={"q": text, "source": "en", "target": "de"}).json()
        lines = client.post("/v1/translate", json={"texts": [text]}, headers=STREAM).text.splitlines()
    assert here["model"] == engine.digest == json.loads(lines[-1])["model"]
    assert here["translations"][0]["translation"] == elsewhere["translatedText"]
    parts = [json.loads(line) for line in lines[:-1]]
    assert (
        "".join(part["before"] + part["translation"] + part["after"] for part in parts) == (elsewhere["translatedText"])
    )
