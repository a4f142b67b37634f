"""Who is let in, in each dialect's words, and what is charged; a small app of its own stands for the routes."""

from __future__ import annotations

import asyncio
from contextlib import closing, contextmanager

import pytest
from fastapi import Request
from starlette.testclient import TestClient

from mtkd.errors import UsageError
from service.access import Access
from service.keys import KeyStore
from service.refusals import DIALECTS
from service.settings import Settings
from tests.service.access_app import PATHS, bearer, charged, make_app

STRANGER = "mtkd_" + "A" * 43
CANARY = "Kanarienvogel"


@contextmanager
def client_of(settings: Settings, address="192.0.2.1"):
    app = make_app(settings)
    with closing(app.state.access), TestClient(app, client=(address, 1), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def keys(tmp_path):
    with closing(KeyStore(tmp_path)) as store:
        yield store


def test_without_a_state_folder_everyone_may_ask_and_the_log_says_so(caplog):
    caplog.set_level("INFO")
    with client_of(Settings()) as client:
        for path in PATHS.values():
            assert client.post(path, json={"q": "a"}).status_code == 200
            assert client.post(path, json={"q": "a"}, headers=bearer(STRANGER)).status_code == 200
        assert client.get("/v2/usage").json() == {"character_count": 0, "character_limit": None}
    assert "there are no keys (MTKD_DATA is not set): everyone may ask" in caplog.text


def test_keys_that_are_required_need_a_folder():
    with pytest.raises(UsageError, match="MTKD_REQUIRE_KEY needs MTKD_DATA"):
        Access(Settings(require_key=True))


@pytest.mark.parametrize(("dialect", "missing"), [(name, 400 if name == "libretranslate" else 403) for name in PATHS])
def test_a_required_key_must_be_there_and_be_valid(dialect, missing, tmp_path, keys):
    key, path = keys.add("weblate"), PATHS[dialect]
    with client_of(Settings(data=tmp_path, require_key=True)) as client:
        assert client.post(path, json={"q": "a"}).status_code == missing
        for wrong in ("k", STRANGER, key[:-1]):
            refused = client.post(path, json={"q": "a"}, headers=bearer(wrong))
            assert refused.status_code == 403
            assert wrong not in refused.text.replace("key", "")
        assert client.post(path, json={"q": "a"}, headers=bearer(key)).status_code == 200
    assert charged(tmp_path) == {"weblate": (1, 1)}


def test_without_requirement_any_string_will_do_but_a_broken_key_of_ours(tmp_path, keys):
    revoked = keys.add("weblate")
    keys.revoke("weblate")
    with client_of(Settings(data=tmp_path)) as client:
        for presented in ("k:fx", "dummy", "a.b.c"):
            assert client.post("/v2/translate", json={"q": "a"}, headers=bearer(presented)).status_code == 200
        assert client.post("/v2/translate", json={"q": "a"}, headers=bearer(revoked)).status_code == 403
    assert charged(tmp_path) == {"": (3, 3)}


@pytest.mark.parametrize(
    "where",
    [
        {"headers": {"Authorization": "Bearer {}"}},
        {"headers": {"authorization": "deepl-auth-key  {} "}},
        {"headers": {"X-API-Key": "{}"}},
        {"headers": {"X-Goog-Api-Key": "{}"}},
        {"headers": {"Authorization": "Bearer of-the-proxy", "X-API-Key": "{}"}},
        {"headers": {"Authorization": "Basic cHJveHk6cHJveHk="}, "params": {"key": "{}"}},
        {"params": {"api_key": "{}"}},
        {"params": {"auth_key": "{}"}},
        {"params": {"key": "{}"}},
        {"params": {"key": ["other", "{}"]}},
        {"json": {"api_key": "{}"}},
        {"json": {"auth_key": ["{}"]}},
        {"json": {"key": ["{}"], "api_key": 7}},
        {"data": {"api_key": "{}"}},
        {"data": {"auth_key": "{}"}},
        {"files": {"api_key": (None, "{}")}},
    ],
    ids=str,
)
def test_a_key_is_found_wherever_a_dialect_puts_it(where, tmp_path, keys):
    key = keys.add("weblate")

    def filled(value):
        if isinstance(value, list | tuple):
            return type(value)(filled(part) for part in value)
        return value.format(key) if isinstance(value, str) else value

    sent = {part: {name: filled(value) for name, value in named.items()} for part, named in where.items()}
    texts = {"q": (None, "abc")} if "files" in sent else {"q": "abc"}
    body = next((part for part in ("data", "files") if part in sent), "json")
    sent[body] = texts | sent.get(body, {})
    with client_of(Settings(data=tmp_path, require_key=True)) as client:
        assert client.post("/translate", **sent).status_code == 200
        used = client.get("/v2/usage", headers=bearer(key)).json()
    assert used == {"character_count": 3, "character_limit": None}


@pytest.mark.parametrize("odd", [{"key": {"a": 1}}, {"key": [None, 3]}, {"api_key": STRANGER * 99}, {"key": ""}])
def test_odd_values_are_no_keys_and_no_failure(odd, tmp_path):
    with client_of(Settings(data=tmp_path, require_key=True)) as client:
        assert client.post("/v1/translate", json={"q": "a", **odd}).status_code == 403


@pytest.mark.parametrize(
    ("dialect", "rate", "quota", "too_large"),
    [("libretranslate", 429, 403, 400), ("deepl", 429, 456, 413), ("google", 429, 429, 400), ("native", 429, 429, 413)],
)
def test_each_dialect_refuses_with_its_own_status(dialect, rate, quota, too_large, tmp_path, keys):
    often, much = keys.add("often", requests_per_minute=1), keys.add("much", characters_per_month=5)
    path = PATHS[dialect]
    with client_of(Settings(data=tmp_path, characters_per_minute=100)) as client:
        assert client.post(path, json={"q": "a"}, headers=bearer(often)).status_code == 200
        refused = client.post(path, json={"q": "a"}, headers=bearer(often))
        assert refused.status_code == rate
        assert 1 <= int(refused.headers["retry-after"]) <= 120
        assert client.post(path, json={"q": "12345"}, headers=bearer(much)).status_code == 200
        refused = client.post(path, json={"q": "6"}, headers=bearer(much))
        assert refused.status_code == quota
        assert "Quota" in refused.text
        assert ("retry-after" in refused.headers) == (quota == 429)
        refused = client.post(path, json={"q": "x" * 101})
        assert refused.status_code == too_large
        assert "retry-after" not in refused.headers
        used = client.get("/v2/usage", headers=bearer(much)).json()
        assert used == {"character_count": 5, "character_limit": 5}
    assert charged(tmp_path) == {"often": (1, 1), "much": (1, 5)}


def test_no_dialect_hides_a_longer_beginning():
    starts = list(DIALECTS)
    assert not [(hidden, by) for n, by in enumerate(starts) for hidden in starts[n + 1 :] if hidden.startswith(by)]
    assert starts[-1] == "/", "every path has one"


def test_only_what_was_answered_is_charged(tmp_path, keys):
    key = keys.add("weblate", characters_per_month=20)
    with client_of(Settings(data=tmp_path)) as client:
        for _ in range(10):
            assert client.post("/translate", json={"q": "bad"}, headers=bearer(key)).status_code == 400
            assert client.post("/translate", json={"q": "boom"}, headers=bearer(key)).status_code == 500
        assert client.post("/translate", json={"q": "x" * 20}, headers=bearer(key)).status_code == 200
        assert client.get("/v2/usage", headers=bearer(key)).json()["character_count"] == 20
    assert charged(tmp_path) == {"weblate": (1, 20)}


def test_the_charge_is_on_disk_before_the_first_byte_of_the_answer(tmp_path):
    app, on_disk = make_app(Settings(data=tmp_path)), []
    scope = {"type": "http", "method": "POST", "path": "/translate", "query_string": b"q=abc", "headers": []}

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        on_disk.append((message["type"], charged(tmp_path)))

    with closing(app.state.access):
        asyncio.run(app({**scope, "client": ("192.0.2.1", 1)}, receive, send))
    assert on_disk[0] == ("http.response.start", {"": (1, 3)})


def test_an_address_has_a_limit_and_a_key_another(tmp_path, keys):
    key = keys.add("weblate")
    settings = Settings(data=tmp_path, requests_per_minute=2)
    app = make_app(settings)
    with closing(app.state.access):
        ask = {address: TestClient(app, client=(address, 1)) for address in ("192.0.2.1", "192.0.2.77", "2001:db8::1")}
        statuses = [ask["192.0.2.1"].post("/translate", json={"q": "a"}).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert ask["192.0.2.1"].post("/translate", json={"q": "a"}, headers=bearer(key)).status_code == 200
        assert ask["192.0.2.77"].post("/translate", json={"q": "a"}).status_code == 200
        assert ask["2001:db8::1"].post("/translate", json={"q": "a"}).status_code == 200
        spoofed = {"X-Forwarded-For": "198.51.100.9"}
        assert ask["192.0.2.1"].post("/translate", json={"q": "a"}, headers=spoofed).status_code == 429


def test_no_key_text_or_address_is_in_a_log_or_a_file(tmp_path, keys, caplog):
    caplog.set_level("DEBUG")
    key = keys.add("weblate", requests_per_minute=4)
    with client_of(Settings(data=tmp_path, requests_per_minute=2), address="192.0.2.99") as client:
        for presented in (key, STRANGER, f"{CANARY}-key", ""):
            for path in PATHS.values():
                client.post(path, json={"q": CANARY}, headers=bearer(presented))
                client.post(path, json={"q": "boom"}, headers=bearer(presented))
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    ours = "".join(record.getMessage() for record in caplog.records if record.name.startswith("service"))
    assert ours
    for secret in (key[13:], STRANGER, CANARY, "192.0.2"):
        assert secret not in ours
        assert secret.encode() not in stored


def test_an_identity_shows_no_key_and_no_address(tmp_path, keys):
    key = keys.add("weblate")
    with closing(Access(Settings(data=tmp_path))) as access:
        scope = {"type": "http", "path": "/", "headers": [], "query_string": b"", "client": ("192.0.2.1", 1)}
        holder = access.identify(Request(scope), presented=key)
        nobody = access.identify(Request(scope), presented=None)
    assert (holder.client, nobody.client) == ("weblate", "")
    assert key[13:] not in repr(holder)
    assert "192.0.2" not in repr(nobody) + nobody.rate_id
    assert "rate_id" not in repr(nobody)
