"""The path of a segment (placeholders, second attempts, cache), and the worker that ties it to a request."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from urllib.parse import quote

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.deps import Worker
from service.engines.base import PLACEHOLDERS, Decoding, Hypothesis
from service.engines.echo import EchoEngine
from service.placeholders import without_placeholders
from service.settings import Settings
from service.translation import Options

PAIR = {"source": "en", "target": "de"}


class Scripted(EchoEngine):
    """Answers by a function of segment and decoding, and keeps what it was asked."""

    def __init__(self, answer=lambda segment, decoding: f"<{segment}>", carries=True) -> None:
        super().__init__()
        self.answer = answer
        self.placeholders = len(PLACEHOLDERS) if carries else 0
        self.asked: list[tuple[str, Decoding]] = []

    def translate(self, segments, decoding):
        self.asked += [(segment, decoding) for segment in segments]
        answers = [self.answer(segment, decoding) for segment in segments]
        return [
            [Hypothesis(text, -float(rank), False) for rank, text in enumerate([a] if isinstance(a, str) else a)]
            for a in answers
        ]

    @property
    def segments(self) -> list[str]:
        return [segment for segment, _ in self.asked]


def worker_of(engine: EchoEngine, **settings) -> Worker:
    return Worker(engine, Settings(**{"threads": 1} | settings))


def translated(engine: EchoEngine, text: str, options: Options | None = None, **settings):
    return asyncio.run(worker_of(engine, **settings).translate_full([text], options))[0]


def test_joined_segments_are_the_text_and_keep_its_lines():
    engine = Scripted()
    translation = translated(engine, " One.  Two.\r\n\n ---\nThree")
    assert translation.text == " <One.>  <Two.>\r\n\n ---\n<Three>"
    assert "".join(part.before + part.translation + part.after for part in translation.segments) == translation.text
    assert translation.characters == 24
    assert translation.flags == ()


def test_a_segment_that_is_there_twice_is_decoded_once():
    engine = Scripted()
    assert translated(engine, "One. Two. One.").text == "<One.> <Two.> <One.>"
    assert sorted(engine.segments) == ["One.", "Two."]


def test_what_must_be_kept_travels_as_placeholders():
    engine = Scripted(lambda segment, _: "b" + segment[::-1])
    assert translated(engine, "Take %s or {name}").text == "b{name} ro %s ekaT"
    assert engine.segments == [f"Take {PLACEHOLDERS[0]} or {PLACEHOLDERS[1]}"]


def test_a_typed_symbol_is_text_and_a_sent_noncharacter_is_nothing():
    engine = Scripted()
    assert translated(engine, f"<ph0> and {PLACEHOLDERS[0]}%s").text == "<<ph0> and %s>"


def test_a_lost_placeholder_is_decoded_again_as_text():
    engine = Scripted(lambda segment, _: without_placeholders(segment))
    assert translated(engine, "Take %s now").text == "Take %s now"
    assert engine.segments == [f"Take {PLACEHOLDERS[0]} now", "Take %s now"]


@pytest.mark.parametrize("carries", [True, False])
def test_what_is_lost_as_text_too_is_translated_around(carries):
    engine = Scripted(lambda segment, _: f"({without_placeholders(segment).replace('%s', '% s')})", carries=carries)
    assert translated(engine, "Take %s now. OK").text == "(Take) %s (now.) (OK)"


def test_a_model_without_placeholders_gets_text_and_is_checked():
    engine = Scripted(lambda segment, _: segment.upper().replace("%S", "%s"), carries=False)
    assert translated(engine, "take %s on 2026-11-21").text == "TAKE %s ON 2026-11-21"
    assert engine.segments == ["take %s on 2026-11-21"]


def test_a_segment_of_nothing_else_is_not_decoded():
    engine = Scripted()
    assert translated(engine, "https://a.example/b %s").text == "https://a.example/b %s"
    assert engine.asked == []


def test_a_loop_is_decoded_again_with_other_settings_and_the_better_is_kept():
    engine = Scripted(lambda segment, decoding: "gut" if decoding.no_repeat_ngram_size else "la la la la la la")
    translation = translated(engine, "good")
    assert (translation.text, translation.flags) == ("gut", ())
    assert engine.asked[1][1] == Decoding(beam=4, no_repeat_ngram_size=3)


def test_what_stays_bad_is_flagged_after_one_more_attempt():
    engine = Scripted(lambda segment, _: "la la la la la la")
    translation = translated(engine, "good")
    assert (translation.text, translation.flags) == ("la la la la la la", ("repetition",))
    assert translation.segments[0].flags == ("repetition",)
    assert len(engine.asked) == 2


def test_a_second_attempt_that_is_no_better_is_not_taken():
    engine = Scripted(lambda segment, decoding: "..." if decoding.no_repeat_ngram_size else "la la la la la la")
    assert translated(engine, "good").flags == ("repetition",)


def test_alternatives_are_given_by_segment_and_for_the_text():
    engine = Scripted(lambda segment, _: [segment + str(rank) for rank in range(3 if segment[0] == "O" else 2)])
    translation = translated(engine, "One. Two.", Options(alternatives=2))
    assert translation.text == "One.0 Two.0"
    assert translation.alternatives == ("One.1 Two.1", "One.2 Two.0")
    assert [alternative.score for alternative in translation.segments[0].alternatives] == [-1.0, -2.0]
    assert engine.asked[0][1] == Decoding(beam=3, n_best=3)


def test_the_cost_of_a_request_is_capped():
    engine = Scripted()
    translated(engine, "One", Options(alternatives=10_000), max_alternatives=4)
    assert engine.asked[0][1] == Decoding(beam=5, n_best=5)


def test_a_segment_is_remembered_for_the_same_options_only():
    engine = Scripted()
    worker = worker_of(engine)

    async def scenario():
        for options in (Options(), Options(), Options(alternatives=1)):
            assert (await worker.translate_full(["One. Two."], options))[0].text == "<One.> <Two.>"

    asyncio.run(scenario())
    assert len(engine.asked) == 4
    assert (worker.translator.cache.hits, worker.translator.cache.misses) == (2, 4)


def test_no_texts_and_empty_texts_need_no_engine():
    engine = Scripted()
    worker = worker_of(engine)
    assert asyncio.run(worker.translate([])) == []
    assert asyncio.run(worker.translate(["", "\n"])) == ["", "\n"]
    assert engine.asked == []


def test_an_error_of_the_engine_reaches_its_request_alone():
    def answer(segment, _):
        if segment == "bad":
            raise RuntimeError("broken")
        return segment

    worker = worker_of(Scripted(answer))

    async def scenario():
        return await asyncio.gather(
            *(worker.translate([text]) for text in ("one", "good.\nbad", "two")), return_exceptions=True
        )

    one, bad, two = asyncio.run(scenario())
    assert (one, two) == (["one"], ["two"])
    assert isinstance(bad, RuntimeError)


class Held(EchoEngine):
    """Waits for `open` in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.calls: list[list[str]] = []

    def translate(self, segments, decoding):
        self.calls.append(list(segments))
        assert self.open.wait(10)
        return super().translate(segments, decoding)


def test_too_much_is_refused_with_429_and_too_slow_with_503():
    engine = Held()
    worker = worker_of(engine, max_queue_tokens=10, max_batch_tokens=10, deadline_s=0.3)

    async def scenario():
        first = asyncio.create_task(worker.translate(["word " * 20]))
        while not engine.calls:
            await asyncio.sleep(0.001)
        started = time.monotonic()
        with pytest.raises(HTTPException) as busy:
            await worker.translate(["third " * 20])
        assert time.monotonic() - started < 0.1
        with pytest.raises(HTTPException) as late:
            await first
        engine.open.set()
        return busy.value, late.value

    busy, late = asyncio.run(scenario())
    assert busy.status_code == 429
    assert int(busy.headers["Retry-After"]) >= 1
    assert (late.status_code, late.detail) == (
        503,
        "The translation took longer than 0.3 s: send less text at a time",
    )


def test_work_for_a_client_that_left_never_reaches_the_engine():
    engine = Held()
    worker = worker_of(engine)

    async def scenario():
        left = asyncio.Event()

        async def gone():
            await left.wait()

        first = asyncio.create_task(worker.translate(["first"]))
        while not engine.calls:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(worker.watching(gone).translate(["second"]))
        while not worker.waiting:
            await asyncio.sleep(0.001)
        left.set()
        with pytest.raises(ClientDisconnect):
            await second
        assert worker.waiting == 0
        engine.open.set()
        assert await first == ["first"]
        assert await worker.watching(asyncio.Event().wait).translate(["third"]) == ["third"]

    asyncio.run(scenario())
    assert engine.calls == [["first"], ["third"]]


def posted(path: str, body: dict[str, object]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


def got(path: str, query: str) -> bytes:
    return f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


ASK = {
    "libretranslate": lambda text: posted("/translate", {"q": text, **PAIR}),
    "libretranslate html": lambda text: posted("/translate", {"q": text, **PAIR, "format": "html"}),
    "deepl": lambda text: posted("/v2/translate", {"text": [text], "target_lang": "DE"}),
    "deepl get": lambda text: got("/v2/translate", f"text={quote(text)}&target_lang=DE"),
    "google": lambda text: posted("/language/translate/v2", {"q": text, **PAIR}),
    "google get": lambda text: got("/language/translate/v2", f"q={quote(text)}&source=en&target=de"),
    "native": lambda text: posted("/v1/translate", {"texts": [text]}),
    "native stream": lambda text: posted("/v1/translate", {"texts": [text]}).replace(
        b"Host: x", b"Host: x\r\nAccept: application/x-ndjson"
    ),
}


@pytest.mark.parametrize("dialect", ASK)
def test_of_fifty_connections_that_are_closed_none_costs_the_engine_anything(serving, dialect):
    engine = Held()
    with serving(engine, Settings(threads=1)) as client:
        url = client.base_url

        def ask(text: str) -> socket.socket:
            connection = socket.create_connection((url.host, url.port), timeout=10)
            connection.sendall(ASK[dialect](text))
            return connection

        first = ask("first")
        while not engine.calls:
            time.sleep(0.005)
        # A number would be kept, and so be no segment of its own.
        abandoned = [ask("abandoned " + "x" * number) for number in range(50)]
        assert client.get("/health").status_code == 200
        for connection in abandoned:
            connection.close()
        time.sleep(0.2)
        engine.open.set()
        assert b"200 OK" in first.recv(4096)
        first.close()
        assert client.post("/translate", json={"q": "last", **PAIR}).json() == {"translatedText": "last"}
    assert engine.calls == [["first"], ["last"]]
