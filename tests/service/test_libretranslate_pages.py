"""What LibreTranslate's dialect tells of the server: languages, settings, health, its description."""

from __future__ import annotations

import threading
import time

import httpx2
import pytest

from service.engines.echo import EchoEngine
from service.settings import Settings
from tests.service.libretranslate_answers import PAIR, refused


class SlowEcho(EchoEngine):
    """An echo that takes its time; like CTranslate2 it leaves the interpreter lock to others meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.started = threading.Event()

    def translate(self, segments, decoding):
        self.started.set()
        time.sleep(1.5)
        return super().translate(segments, decoding)


@pytest.fixture(scope="module")
def client(serving):
    with serving(EchoEngine(), Settings(max_text_chars=1000, max_batch_texts=3)) as client:
        yield client


def test_languages_names_the_one_direction(client):
    assert client.get("/languages").json() == [
        {"code": "en", "name": "English", "targets": ["de"]},
        {"code": "de", "name": "German", "targets": []},
    ]


def test_other_spellings_of_the_languages_are_known(serving):
    with serving(EchoEngine("pt-br", "zh"), Settings()) as client:
        for source, target in (("pb", "zh-Hans"), ("pt-BR", "ZH"), ("PT_br", "zh-CN")):
            assert client.post("/translate", json={"q": "a", "source": source, "target": target}).status_code == 200
        for target in ("zt", "zh-TW"):
            answer = client.post("/translate", json={"q": "a", "source": "pb", "target": target})
            assert refused(answer) == f"{target} is not supported"
        assert [entry["name"] for entry in client.get("/languages").json()] == ["Portuguese (Brazil)", "Chinese"]


def test_a_language_without_a_name_is_its_code(serving):
    with serving(EchoEngine("xq", "de"), Settings()) as client:
        assert client.get("/languages").json()[0] == {"code": "xq", "name": "xq", "targets": ["de"]}


def test_what_is_off_says_so(client):
    message = "Suggestions are disabled on this server."
    assert refused(client.post("/suggest", data={"q": "a", "s": "b", **PAIR}), 403) == message
    settings = client.get("/frontend/settings").json()
    assert settings["charLimit"] == 1000
    assert not settings["suggestions"]
    assert not settings["filesTranslation"]
    assert settings["language"] == {
        "source": {"code": "auto", "name": "Auto Detect"},
        "target": {"code": "de", "name": "German"},
    }


def test_the_description_is_also_at_spec(client):
    assert client.get("/spec").json() == client.get("/openapi.json").json()


def test_health_is_exactly_ok(client):
    assert client.get("/health").json() == {"status": "ok"}


def test_health_is_answered_while_a_long_translation_runs(serving):
    engine = SlowEcho()
    with serving(engine, Settings()) as client:
        answers = []
        work = threading.Thread(target=lambda: answers.append(client.post("/translate", json={"q": "long", **PAIR})))
        work.start()
        assert engine.started.wait(5)
        begun = time.monotonic()
        assert httpx2.get(client.base_url.join("/health")).status_code == 200
        assert time.monotonic() - begun < 1
        assert not answers
        work.join(5)
        assert answers[0].json() == {"translatedText": "long"}
