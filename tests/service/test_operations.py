"""What machines ask, what every answer carries, and that no user's text is left anywhere."""

from __future__ import annotations

import json
import re
import signal
import threading
import time

import httpx2
import pytest
from fastapi.routing import iter_route_contexts
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.engines.echo import EchoEngine
from service.routes import ROUTERS
from service.routes.operations import Readiness
from service.settings import Settings

PAIR = {"source": "en", "target": "de"}


@pytest.fixture(scope="module")
def client(serving):
    with serving(EchoEngine(), Settings(threads=1)) as client:
        yield client


def samples(client) -> dict[tuple[str, ...], float]:
    """Value by name and label values."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_livez_and_readyz_answer(client):
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_a_full_queue_and_a_coming_end_are_not_ready(serving):
    app = create_app(EchoEngine(), Settings())
    full = False
    readiness = Readiness(is_full=lambda: full)
    assert readiness.status == "ready"
    full = True
    assert readiness.status == "busy"
    readiness.leaving = True
    assert readiness.status == "shutting down"
    assert app.state.readiness.status == "ready"


def test_requests_are_counted_by_stage_dialect_and_status(client):
    before = samples(client)
    client.post("/translate", json={"q": ["Größe", "two"], **PAIR})
    client.post("/translate", json={"q": "x"})
    after = samples(client)

    def grown(*key: str) -> float:
        return after.get(key, 0) - before.get(key, 0)

    for stage in ("queue", "decode", "total"):
        key = ("dialect=libretranslate", f"stage={stage}", "status=200")
        assert grown("mtkd_request_seconds_count", *key) == 1
    refused = ("dialect=libretranslate", "stage=total", "status=400")
    assert grown("mtkd_request_seconds_count", *refused) == 1
    assert grown("mtkd_characters_total", "dialect=libretranslate") == 8
    assert grown("mtkd_batch_segments_sum") == 2
    assert grown("mtkd_batch_segments_count") == 1
    model = ("mtkd_model_info", "digest=echo", "name=echo", "source_lang=en", "target_lang=de")
    assert after[model] == 1
    assert after[("process_resident_memory_bytes",)] > 0


def test_the_queue_counts_who_waits(serving):
    class Blocked(EchoEngine):
        started, go = threading.Event(), threading.Event()

        def translate(self, segments, decoding):
            self.started.set()
            self.go.wait(10)
            return super().translate(segments, decoding)

    engine = Blocked()
    with serving(engine, Settings(threads=1)) as client:
        asking = [threading.Thread(target=lambda: client.post("/translate", json={"q": "x", **PAIR})) for _ in range(3)]
        asking[0].start()
        assert engine.started.wait(5)
        for thread in asking[1:]:
            thread.start()
        deadline = time.monotonic() + 5
        while samples(client)[("mtkd_queue_length",)] != 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert samples(client)[("mtkd_queue_length",)] == 2
        engine.go.set()
        for thread in asking:
            thread.join(5)
        assert samples(client)[("mtkd_queue_length",)] == 0


def test_apps_share_no_metrics(serving, client):
    with serving(EchoEngine(), Settings()) as other:
        other.post("/translate", json={"q": "x" * 1000, **PAIR})
        theirs, ours = samples(other), samples(client)
    assert theirs[("mtkd_characters_total", "dialect=libretranslate")] == 1000
    assert ours.get(("mtkd_characters_total", "dialect=libretranslate"), 0) < 1000


def test_metrics_can_ask_for_a_token_and_speak_openmetrics(serving):
    with serving(EchoEngine(), Settings(metrics_token="hush")) as client:  # noqa: S106
        for header in ({}, {"authorization": "Bearer hus"}, {"authorization": "hush"}):
            assert client.get("/metrics", headers=header).status_code == 401
        header = {"authorization": "Bearer hush", "accept": "application/openmetrics-text; version=1.0.0"}
        answer = client.get("/metrics", headers=header)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize("sane", ["0af7651916cd43dd8448eb211c80319c", "req_0001-a.b", "Root=1-67891233-abcdef012345"])
def test_a_callers_request_id_is_kept(client, sane):
    assert client.get("/health", headers={"X-Request-ID": sane}).headers["x-request-id"] == sane


@pytest.mark.parametrize(
    "odd", ["", "short", "Please translate this", "a@example.org", "x" * 65, "<script>", "ünïcödé1"]
)
def test_anything_else_gets_a_new_id_each_time(client, odd):
    headers = [(b"x-request-id", odd.encode())]
    ids = {client.get("/health", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch(r"[0-9a-f]{32}", found) for found in ids)


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/v2/nowhere", "/translate", "/docs"])
def test_every_answer_has_an_id_and_its_time(client, path):
    headers = client.get(path).headers
    assert headers["x-request-id"]
    assert re.fullmatch(r"total;dur=\d+\.\d", headers["server-timing"])
    assert ("x-trace-id" in headers) == path.startswith("/v2")


def test_a_translation_tells_its_stages_and_deepls_trace_id_is_the_request_id_where_it_can_be(client):
    timing = client.post("/translate", json={"q": "x", **PAIR}).headers["server-timing"]
    assert re.fullmatch(r"decode;dur=\d+\.\d, queue;dur=\d+\.\d, total;dur=\d+\.\d", timing)
    given = client.get("/v2/nowhere", headers={"X-Request-ID": "0af7651916cd43dd8448eb211c80319c"}).headers
    assert given["x-trace-id"] == given["x-request-id"]
    made = client.get("/v2/nowhere", headers={"X-Request-ID": "not-hexadecimal"}).headers
    assert re.fullmatch(r"[0-9a-f]{32}", made["x-trace-id"])


def test_no_browser_of_another_origin_is_let_in_unless_listed(serving, client):
    asked = {"origin": "https://cat.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in client.options("/translate", headers=asked).headers
    assert "access-control-allow-origin" not in client.get("/health", headers=asked).headers
    with serving(EchoEngine(), Settings(cors_origins="https://cat.example,https://b.example")) as listed:
        preflight = listed.options("/translate", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://cat.example"
        other = listed.get("/health", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        # Errors too, or a page could not read why it was refused.
        assert "access-control-allow-origin" in listed.get("/nowhere", headers=asked).headers


CANARY = "Canarybird quietly sings"
SERVE = """
import pathlib, sys, tempfile
from service import server, settings
from service.engines.echo import EchoEngine

state, temporary, fails = sys.argv[1:]
tempfile.tempdir = temporary

class Engine(EchoEngine):
    def translate(self, segments, decoding):
        if fails == "fails" and any("Canary" in segment for segment in segments):
            raise ValueError(f"cannot translate {segments}")
        return super().translate(segments, decoding)

# Only what this version has.
known = settings.Settings.model_fields
given = {"data": pathlib.Path(state), "log_format": "json"}
server.run(Engine(), settings.load_settings(**{name: value for name, value in given.items() if name in known}))
"""


def endpoints() -> list[tuple[str, str]]:
    """Every method and template there is, those that no description shows included."""
    routes = list(iter_route_contexts(create_app(EchoEngine(), Settings()).routes))
    return sorted({
        (method, route.path if "{" not in route.path else re.sub(r"\{[^}]*\}", "{}", route.path))
        for route in routes
        for method in (route.methods or {"GET"})
    })  # fmt: skip


def canary_requests(method: str, path: str):
    """The canary in every place of a request: path, query, headers, and bodies of all kinds, well-formed or not."""
    path = path.replace("{}", httpx2.QueryParams({"": CANARY})[""])
    texts = dict.fromkeys(("q", "text", "texts", "context"), CANARY)
    pair = {"source": "en", "target": "de", "source_lang": "EN", "target_lang": "DE"}
    headers = {"x-request-id": CANARY, "user-agent": CANARY, "referer": CANARY, "x-forwarded-for": CANARY}
    yield {"params": texts | pair, "headers": headers}
    yield {"json": texts | pair}
    yield {"json": {name: [CANARY, CANARY] for name in texts} | pair}
    yield {"json": {name: [CANARY] for name in texts} | pair | {"tag_handling": "xml", "format": "html"}}
    yield {"json": dict.fromkeys((*texts, *pair, "format", "alternatives", "formality"), CANARY)}
    yield {"json": {CANARY: {CANARY: CANARY}}}
    yield {"data": texts | pair}
    yield {"data": texts | pair, "files": {"file": (f"{CANARY}.txt", CANARY.encode() * 5000)}}
    yield {"content": f"{{{CANARY}", "headers": {"content-type": "application/json"}}
    yield {"content": CANARY.encode("utf-16"), "headers": {"content-type": CANARY.encode()}}
    yield {"headers": {"authorization": f"DeepL-Auth-Key {CANARY}", "cookie": CANARY, "accept": CANARY}}


@pytest.mark.parametrize("engine", ["works", "fails"])
def test_a_sentence_is_nowhere_after_it_went_through_every_endpoint(start_server, tmp_path, engine):
    state, temporary = tmp_path / "state", tmp_path / "temporary"
    state.mkdir()
    temporary.mkdir()
    server = start_server(SERVE, str(state), str(temporary), engine)
    told, statuses = [], set()
    asked = endpoints()
    assert {path for _, path in asked} >= {
        re.sub(r"\{[^}]*\}", "{}", route.path) for router in ROUTERS.values() for route in router.routes
    }
    with httpx2.Client(base_url=server.url, timeout=20) as client:
        wrong = [("POST", "/translate/"), ("DELETE", "/translate"), ("GET", f"/{CANARY}"), ("PUT", f"/v2/{CANARY}")]
        for method, path in [*asked, *wrong]:
            for number, request in enumerate(canary_requests(method, path)):
                target = path.replace("{}", f"{CANARY} {number}" if number % 2 else "x")
                answer = client.request(method, target, **request)
                statuses.add(answer.status_code)
                told.append(str(answer.headers.raw))
        told.append(client.get("/metrics").text)
    server.process.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    log = server.log.splitlines()
    assert {200, 400, 404, 405} <= statuses
    assert (500 in statuses) == (engine == "fails")
    told.extend(log)
    assert len(log) > len(asked)
    assert all(json.loads(line)["message"] for line in log)
    left = [path for folder in (state, temporary) for path in folder.rglob("*") if path.is_file()]
    told.extend(path.read_bytes().decode("latin-1") + path.name for path in left)
    for trace in ("Canarybird", "canarybird", "quietly", "sings"):
        assert [text for text in told if trace in text] == []
