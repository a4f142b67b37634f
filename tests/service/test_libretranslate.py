"""LibreTranslate's dialect over a real server; the echo engine answers with the source."""

from __future__ import annotations

import json
import socket
import time

import pytest

from mtkd.bundle import ModelBundle
from service.engines import ENGINES
from service.engines.base import Hypothesis
from service.engines.echo import EchoEngine
from service.settings import Settings
from tests.service.doubles import hypotheses
from tests.service.libretranslate_answers import PAIR, refused


class Counting(EchoEngine):
    """Answers in capitals, and keeps what every call was given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = []

    def translate(self, segments, decoding):
        self.calls.append(list(segments))
        return hypotheses(segment.upper() for segment in segments)


@pytest.fixture(scope="module")
def client(serving):
    with serving(EchoEngine(), Settings(max_text_chars=1000, max_batch_texts=3)) as client:
        yield client


def test_json_form_multipart_and_query_are_answered_alike(client):
    parameters = {"q": "Größe & Licht\nzwei", **PAIR, "format": "text", "api_key": "k", "unknown": "1"}
    answers = [
        client.post("/translate", json=parameters),
        client.post("/translate", data=parameters),
        client.post("/translate", files={name: (None, value) for name, value in parameters.items()}),
        client.post("/translate", params=parameters),
        client.post("/translate", params={"q": parameters["q"]}, data=PAIR),
    ]
    assert [(answer.status_code, answer.json()) for answer in answers] == [
        (200, {"translatedText": "Größe & Licht\nzwei"})
    ] * len(answers)


def test_a_form_may_be_plain_utf_8_as_curl_sends_it(client):
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = client.post("/translate", content="q=Größe&source=en&target=de".encode(), headers=form)
    assert answer.json() == {"translatedText": "Größe"}
    assert "UTF-8" in refused(client.post("/translate", content=b"q=\xff&source=en&target=de", headers=form))


def test_line_endings_become_newlines_outside_json_only(client):
    parameters = {"q": "a\r\nb", **PAIR}
    assert client.post("/translate", data=parameters).json()["translatedText"] == "a\nb"
    assert client.post("/translate", json=parameters).json()["translatedText"] == "a\r\nb"


def test_a_list_is_answered_with_a_list_in_order(client):
    answer = client.post("/translate", json={"q": ["b", "", "a\n\nc"], **PAIR})
    assert answer.json() == {"translatedText": ["b", "", "a\n\nc"]}


def test_a_repeated_form_q_takes_the_first(client):
    answer = client.post("/translate", data={"q": ["first", "second"], **PAIR})
    assert answer.json() == {"translatedText": "first"}


def test_a_batch_is_one_call_of_the_engine(serving):
    engine = Counting()
    with serving(engine, Settings(threads=1, cache_chars=0)) as client:
        plain = client.post("/translate", json={"q": ["One. Two.", "", "three"], **PAIR})
        marked = client.post("/translate", json={"q": ["<b>One</b> two", "three"], **PAIR, "format": "html"})
    assert plain.json() == {"translatedText": ["ONE. TWO.", "", "THREE"]}
    assert marked.json() == {"translatedText": ["<b>ONE</b> TWO", "THREE"]}
    assert engine.calls == [["One.", "Two.", "three"], ["One", "two", "three"]]


def test_html_keeps_tags_and_escapes_text(serving):
    with serving(Counting(), Settings()) as client:
        text = '<p class="a&amp;b">salt &amp; pepper<br/>x &lt; y</p><script>let a = 1</script>'
        answer = client.post("/translate", data={"q": text, **PAIR, "format": "html"})
    assert answer.json() == {
        "translatedText": '<p class="a&amp;b">SALT &amp; PEPPER<br/>X &lt; Y</p><script>let a = 1</script>'
    }


def test_auto_says_what_it_detected_and_translates_in_any_case(client):
    english, italian = "Where is the nearest printer?", "Il gatto dorme sul tavolo della cucina."
    one = client.post("/translate", json={"q": english, "source": "auto", "target": "de"}).json()
    assert one["translatedText"] == english
    assert one["detectedLanguage"]["language"] == "en"
    assert one["detectedLanguage"]["confidence"] > 90
    two = client.post("/translate", json={"q": [italian, english], "source": "AUTO", "target": "DE"}).json()
    assert two["translatedText"] == [italian, english]
    assert [found["language"] for found in two["detectedLanguage"]] == ["it", "en"]


def test_emoji_come_back_untouched_with_confidence_0(client):
    answer = client.post("/translate", json={"q": "😀👍🏽", "source": "auto", "target": "de"})
    assert answer.json() == {
        "translatedText": "😀👍🏽",
        "detectedLanguage": {"confidence": 0.0, "language": "en"},
    }


def test_detection_is_best_first_and_of_all_texts_together(client):
    found = client.post("/detect", data={"q": "Wo ist der nächste Drucker?"}).json()
    assert found[0]["language"] == "de"
    assert [entry["confidence"] for entry in found] == sorted((e["confidence"] for e in found), reverse=True)
    assert client.post("/detect", params={"q": "Where is the printer?"}).json()[0]["language"] == "en"
    texts = ["Der Drucker steht im Flur.", "Das Licht ist noch an.", "OK"]
    assert client.post("/detect", json={"q": texts}).json()[0]["language"] == "de"
    assert client.post("/detect", json={"q": "😀"}).json() == [{"confidence": 0.0, "language": "en"}]


def test_detection_refuses_what_translation_refuses(client):
    assert refused(client.post("/detect")) == "Invalid request: missing q parameter"
    assert refused(client.post("/detect", json={"q": 5})) == "Invalid request: q parameter is not valid text"
    assert "exceeds text limit (1000)" in refused(client.post("/detect", json={"q": "x" * 1001}))
    assert "exceeds batch limit (3)" in refused(client.post("/detect", json={"q": ["x"] * 4}))


def test_alternatives_are_other_translations_of_the_whole_text(serving):
    class Ranking(EchoEngine):
        def translate(self, segments, decoding):
            return [
                [Hypothesis(f"{segment}{rank}", -float(rank), truncated=False) for rank in range(decoding.n_best)]
                for segment in segments
            ]

    with serving(Ranking(), Settings()) as client:
        one = client.post("/translate", data={"q": "One. Two.", **PAIR, "alternatives": "2"}).json()
        batch = client.post("/translate", json={"q": ["a", "b"], **PAIR, "alternatives": 1}).json()
    assert one == {"translatedText": "One.0 Two.0", "alternatives": ["One.1 Two.1", "One.2 Two.2"]}
    assert batch == {"translatedText": ["a0", "b0"], "alternatives": [["a1"], ["b1"]]}


def test_alternatives_are_empty_where_there_are_none_and_absent_where_none_were_asked_for(client):
    assert client.post("/translate", data={"q": "a", **PAIR, "alternatives": "2"}).json()["alternatives"] == []
    marked = client.post("/translate", json={"q": ["<b>a</b>", "b"], **PAIR, "alternatives": 2, "format": "html"})
    assert marked.json()["alternatives"] == [[], []]
    assert "alternatives" not in client.post("/translate", json={"q": "a", **PAIR, "alternatives": 0}).json()


@pytest.mark.parametrize("name", ["q", "source", "target"])
@pytest.mark.parametrize("empty", [None, ""])
def test_a_missing_or_empty_parameter_is_named(client, name, empty):
    parameters = {"q": "a", **PAIR, name: empty}
    message = f"Invalid request: missing {name} parameter"
    assert refused(client.post("/translate", json=parameters)) == message
    assert refused(client.post("/translate", data={k: v for k, v in parameters.items() if v is not None})) == message
    assert refused(client.post("/translate", json={k: v for k, v in parameters.items() if k != name})) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "zz"}, "zz is not supported"),
        ({"source": "zz"}, "zz is not supported"),
        ({"source": "de", "target": "en"}, "English (en) is not available as a target language from German (de)"),
        ({"target": "en"}, "English (en) is not available as a target language from English (en)"),
        ({"format": "xyz"}, "xyz format is not supported"),
        ({"alternatives": "many"}, "Invalid request: alternatives parameter is not a number"),
        ({"q": 5}, "Invalid request: q parameter is not valid text"),
        ({"q": ["a", None]}, "Invalid request: q parameter is not valid text"),
        ({"alternatives": 10_000}, "Invalid request: alternatives parameter must be <= 5"),
        ({"q": "\ud800"}, "Invalid JSON format"),
        ({"source": ["en"]}, "Invalid request: source parameter is not valid text"),
        ({"q": "x" * 1001}, "Invalid request: request (1001) exceeds text limit (1000)"),
        ({"q": ["x" * 600] * 2}, "Invalid request: request (1200) exceeds text limit (1000)"),
        ({"q": ["x"] * 4}, "Invalid request: request (4) exceeds batch limit (3)"),
    ],
)
def test_wrong_parameters_are_refused_in_their_words(client, change, message):
    content = json.dumps({"q": "a", **PAIR, **change})
    answer = client.post("/translate", content=content, headers={"content-type": "application/json"})
    assert refused(answer) == message


@pytest.mark.parametrize("body", ["", "{", "[]", '"text"', "null", "\xff", "[" * 50_000])
def test_json_that_is_no_object_is_refused(client, body):
    answer = client.post("/translate", content=body.encode("latin-1"), headers={"content-type": "application/json"})
    assert refused(answer) == "Invalid JSON format"


def test_a_file_in_a_form_is_refused(client):
    refused(client.post("/translate", data=PAIR, files={"q": ("a.txt", b"text")}))


def test_a_body_beyond_the_limit_is_413_whether_declared_or_not(serving):
    settings = Settings(max_text_chars=100_000)
    limit, json_type = settings.max_body_bytes, {"content-type": "application/json"}
    body = b'{"q": "' + b"x" * (limit * 3 // 2) + b'"}'
    with serving(EchoEngine(), settings) as client:
        assert str(limit) in refused(client.post("/translate", content=body, headers=json_type), 413)
        chunks = iter([body[:limit], body[limit:]])
        assert str(limit) in refused(client.post("/translate", content=chunks, headers=json_type), 413)
        assert client.post("/translate", json={"q": "still here", **PAIR}).status_code == 200


def test_a_client_that_leaves_in_the_middle_of_its_request_harms_nobody(serving, caplog):
    head = b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    with caplog.at_level("INFO"), serving(EchoEngine(), Settings()) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port)) as leaver:
            leaver.sendall(head + b'{"q": "canary quetzal')
            time.sleep(0.2)
        assert client.post("/translate", json={"q": "still here", **PAIR}).status_code == 200
    assert "client left before its request was complete" in caplog.text
    assert "quetzal" not in caplog.text
    assert "unexpected" not in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/translate", 405), ("POST", "/languages", 405), ("POST", "/health", 405), ("POST", "/spec", 405),
     ("GET", "/detect", 405), ("POST", "/frontend/settings", 405), ("GET", "/suggest", 405), ("GET", "/nowhere", 404),
     ("GET", "/web/nowhere.js", 404), ("GET", "/web/../settings.py", 404)],
)  # fmt: skip
def test_wrong_paths_and_methods_have_the_shape_too(client, method, path, status):
    answer = client.request(method, path)
    assert refused(answer, status)
    assert ("allow" in answer.headers) == (status == 405)


def test_an_unexpected_error_is_a_plain_500_and_the_log_has_no_text(serving, caplog):
    class Broken(EchoEngine):
        def translate(self, segments, decoding):
            raise ValueError(f"cannot translate {segments}")

    with serving(Broken(), Settings()) as client:
        assert refused(client.post("/translate", json={"q": "canary quetzal", **PAIR}), 500) == "Internal server error"
        assert client.get("/health").status_code == 200
    assert "unexpected error=ValueError at translate:" in caplog.text
    assert "quetzal" not in caplog.text


def test_the_student_translates_over_http(serving, endless_bundle_dir):
    engine = ENGINES["ctranslate2"](ModelBundle.open(endless_bundle_dir), Settings(threads=1))
    with serving(engine, Settings()) as client:
        answer = client.post("/translate", json={"q": ["The printer.\n\nLight <ph0> off!", ""], **PAIR})
    first, second = answer.json()["translatedText"]
    assert [bool(line) for line in first.split("\n")] == [True, False, True]
    assert second == ""
