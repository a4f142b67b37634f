"""`python -m mtkd.bench.serve_client SETTINGS`: a server and its clients, one measurement for every question.

What it owns: the four loads that `mtkd bench serve` puts on a server. What it must not know: what is made of them.
The server is a child of this process; the cache of translations is off, since the same sentences come again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from mtkd.bench.alternate import Message
from mtkd.bench.serve_load import Load, Request, closed_loop, for_seconds, open_loop, post
from mtkd.bench.serve_process import Server, serving
from mtkd.bench.serve_turns import take_turns

CAPACITY_S = 3.0
"""How long the rate is measured that `overload` doubles."""
OVERLOAD = 2.0
SAMPLE_S = 1.0
_BATCHES = re.compile(r"^mtkd_batch_segments_(sum|count) (\S+)$", re.MULTILINE)

DIALECTS: dict[str, tuple[str, Callable[[str, str], dict[str, Any]]]] = {
    "native": ("/v1/translate", lambda text, lang: {"texts": [text]}),
    "deepl": ("/v2/translate", lambda text, lang: {"text": [text], "target_lang": lang.upper()}),
    "handler": ("/translate", lambda text, lang: {"text": text}),
}
"""Where a sentence is sent, and how."""


@dataclass(frozen=True)
class Clients:
    """Who asks what of which server."""

    server: Server
    sentences: Sequence[str]
    target_lang: str
    dialect: str
    connections: int
    seconds: float

    def requests(self, dialect: str) -> list[Request]:
        """One a sentence."""
        path, body = DIALECTS[dialect]
        bodies = (json.dumps(body(text, self.target_lang), ensure_ascii=False) for text in self.sentences)
        return [post(path, body.encode(), kind=dialect) for body in bodies]

    def closed_loop(self, requests: Sequence[Request], *, connections: int | None = None) -> Load:
        """Each request once."""
        return uvloop.run(closed_loop(self.server.port, requests, connections=connections or self.connections))


def throughput(clients: Clients) -> Message:
    """Every sentence once, a request each, as fast as they are answered."""
    before = _batches(clients)
    load = clients.closed_loop(clients.requests(clients.dialect))
    return {"seconds": load.seconds, **_counts(load), **_since(before, _batches(clients)), **_cpu(load)}


def latency(clients: Clients) -> Message:
    """Every sentence once, one after another over one connection."""
    before = _batches(clients)
    load = clients.closed_loop(clients.requests(clients.dialect), connections=1)
    times_ms = [1e3 * answer.seconds for answer in load.answers]
    return {"ms": times_ms, **_counts(load), **_since(before, _batches(clients))}


def sustained(clients: Clients) -> Message:
    """The sentences again and again, with the server's memory every second."""
    resident_mb: list[float] = []

    async def sample() -> None:
        while True:
            resident_mb.append(round(clients.server.resident_mb(), 1))
            await asyncio.sleep(SAMPLE_S)

    async def ask() -> Load:
        sampling = asyncio.create_task(sample())
        requests = for_seconds(clients.requests(clients.dialect), clients.seconds)
        load = await closed_loop(clients.server.port, requests, connections=clients.connections)
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
        return load

    load = uvloop.run(ask())
    asked = {"seconds": load.seconds, "requests": len(load.answers), "errors": load.errors}
    return {**asked, **_cpu(load), "resident_mb": resident_mb}


def overload(clients: Clients) -> Message:
    """Twice as many requests a second as are answered at most, in two dialects by turns."""
    both = [request for pair in zip(*map(clients.requests, ("native", "deepl")), strict=True) for request in pair]
    port, connections = clients.server.port, clients.connections
    capacity = uvloop.run(closed_loop(port, for_seconds(both, CAPACITY_S), connections=connections))
    answered = sum(answer.status == 200 for answer in capacity.answers) / capacity.seconds
    requests = itertools.islice(itertools.cycle(both), round(OVERLOAD * answered * clients.seconds))
    load = uvloop.run(open_loop(port, requests, per_second=OVERLOAD * answered, connections=2 * connections))
    sent = [answer.sent for answer in load.answers]
    refused = [answer for answer in load.answers if answer.status == 429]
    return {
        "seconds": load.seconds,
        "capacity_per_second": answered,
        "sent_per_second": len(sent) / (max(sent) - min(sent)),
        "statuses": {
            kind: dict(Counter(str(answer.status) for answer in load.answers if answer.kind == kind))
            for kind in ("native", "deepl")
        },
        "refused_ms": [1e3 * answer.seconds for answer in refused],
        "refused_without_retry_after": sum(not answer.says_when for answer in refused),
        **_cpu(load),
    }


LOADS: dict[str, Callable[[Clients], Message]] = {
    "throughput": throughput,
    "latency": latency,
    "sustained": sustained,
    "overload": overload,
}
"""What can be done to a server, by name."""


def _counts(load: Load) -> Message:
    return {"sentences": len(load.answers), "errors": load.errors}


def _since(before: Mapping[str, float], after: Mapping[str, float]) -> Message:
    return {name: value - before[name] for name, value in after.items()}


def _cpu(load: Load) -> Message:
    return {"client_cpu_share": load.cpu_s / load.seconds}


def _batches(clients: Clients) -> dict[str, float]:
    """Segments that went to the engine so far, and in how many batches; nothing of a server that does not say."""
    if clients.dialect != "native":
        return {}
    found = dict(_BATCHES.findall(clients.server.get("/metrics")[1]))
    return {"segments": float(found["sum"]), "batches": float(found["count"])}


def main() -> None:
    """Start the server, warm it up, and put the load on it that the settings name."""
    settings = json.loads(sys.argv[1])
    sentences = json.loads(Path(settings["sentences"]).read_text(encoding="utf-8"))
    environment = os.environ | settings["variables"]
    with serving(settings["argv"], ready=settings["ready"], environment=environment) as server:

        def prepare() -> tuple[Message, Callable[[], Message]]:
            clients = Clients(
                server,
                sentences[: settings["at_most"]],
                settings["target_lang"],
                settings["dialect"],
                settings["connections"],
                settings["seconds"],
            )
            clients.closed_loop(clients.requests(clients.dialect)[: clients.connections])
            return {}, lambda: LOADS[settings["load"]](clients)

        take_turns(prepare)


if __name__ == "__main__":
    main()
