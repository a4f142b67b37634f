"""`mtkd bench serve`: what the service costs beside the bare model, and saves beside what a user would write first.

What it owns: what is measured on what, and which programs are asked. What it must not know: how they answer, torch.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mtkd.bench import serve_figures
from mtkd.bench.alternate import Measured, alternate
from mtkd.bench.record import Figures, record
from mtkd.bench.serve_process import serving
from mtkd.bench.serve_subject import Subject
from mtkd.bundle import ModelBundle
from mtkd.processes import available_cores, cpu_name
from mtkd.workspace import write_json

LATENCY_SENTENCES = 100
OVERLOAD_S = 20.0
VERSIONED = ("ctranslate2", "sentencepiece", "fastapi", "uvicorn", "fairseq-fixed", "torch")
UNCACHED = {"MTKD_CACHE_CHARS": "0"}
"""The sentences come again, and the cache of translations would answer for the model."""
SMALL_QUEUE = {"MTKD_MAX_QUEUE_TOKENS": "2048"}
"""What `overload` fills: enough that 64 connections in a closed loop are not refused."""


@dataclass(frozen=True)
class Bench:
    """How it is measured."""

    subject: Subject
    bundle: ModelBundle
    """The subject's, verified."""
    folder: Path
    """For what the programs read."""
    rounds: int
    seconds: float
    """Of the sustained load."""
    connections: int
    tell: Callable[[str], None]
    """Is told in words what is going on."""

    def telling_of(self, part: str) -> Bench:
        """The same, but what is told begins with the part."""
        return replace(self, tell=lambda said: self.tell(f"{part}: {said}"))

    def measure(self, programs: Mapping[str, Sequence[str]], *, rounds: int | None = None) -> dict[str, Measured]:
        """Ask these programs by turns."""
        return alternate(programs, rounds or self.rounds, environment=os.environ, tell=self.tell)

    def offline(self, measurement: str, *, at_most: int | None = None) -> list[str]:
        """The program that needs no server."""
        given = {"bundle": str(self.subject.bundle), "measurement": measurement}
        return _program("serve_offline", **given, **self._text(at_most))

    def service(
        self,
        load: str,
        *,
        at_most: int | None = None,
        seconds: float = 0.0,
        variables: Mapping[str, str] = UNCACHED,
    ) -> list[str]:
        """The program that puts a load on the service as users start it, with these variables."""
        server = {"argv": _serve(self.subject.bundle), "ready": "/readyz", "variables": dict(variables)}
        return self._client(load, server, dialect="native", at_most=at_most, seconds=seconds)

    def handler(self, load: str) -> list[str]:
        """The program that puts a load on fairseq's handler; it is slow, so that a sentence a connection must do."""
        manifest, subject = self.bundle.manifest, self.subject
        argv = _program(
            "serve_handler",
            checkpoint=str(subject.checkpoint),
            dictionary=str(subject.dictionary),
            subword_model=str(self.bundle.subword_model),
            source_lang=manifest.source_lang,
            target_lang=manifest.target_lang,
            beam=manifest.beam,
            length_penalty=manifest.length_penalty,
        )
        server = {"argv": argv, "ready": "/ready", "variables": {}}
        return self._client(load, server, dialect="handler", at_most=self.connections, seconds=0.0)

    def _client(
        self, load: str, server: Mapping[str, Any], *, dialect: str, at_most: int | None, seconds: float
    ) -> list[str]:
        return _program(
            "serve_client",
            load=load,
            dialect=dialect,
            target_lang=self.bundle.manifest.target_lang,
            connections=self.connections,
            seconds=seconds,
            **server,
            **self._text(at_most),
        )

    def _text(self, at_most: int | None) -> dict[str, Any]:
        """Where the programs find the sentences; an argument may not be so long."""
        path = self.folder / "sentences.json"
        if not path.exists():
            write_json(path, self.subject.sentences)
        return {"sentences": str(path), "at_most": at_most}


def throughput(bench: Bench) -> Figures:
    """The service under many connections, against the bare model on all sentences at once and fairseq's handler."""
    service, offline = bench.service("throughput"), bench.offline("throughput")
    programs = {"offline": offline, "service": service, "fairseq_handler": bench.handler("throughput")}
    measured = bench.measure(programs)
    settings = {"connections": bench.connections} | measured["offline"].about
    return {"settings": settings, **serve_figures.throughput(measured)}


def latency(bench: Bench) -> Figures:
    """One sentence at a time."""
    service = bench.service("latency", at_most=LATENCY_SENTENCES)
    offline = bench.offline("latency", at_most=LATENCY_SENTENCES)
    measured = bench.measure({"offline": offline, "service": service})
    return {"settings": measured["offline"].about, **serve_figures.latency(measured)}


def sustained(bench: Bench) -> Figures:
    """The same load for long: errors and memory."""
    program = bench.service("sustained", seconds=bench.seconds)
    measured = bench.measure({"service": program}, rounds=1)["service"].rounds[0]
    return {"settings": {"connections": bench.connections}, **serve_figures.sustained(measured)}


def overload(bench: Bench) -> Figures:
    """Twice as much as the service can do."""
    program = bench.service("overload", seconds=OVERLOAD_S, variables=UNCACHED | SMALL_QUEUE)
    measured = bench.measure({"service": program}, rounds=1)["service"].rounds[0]
    return {"settings": {"seconds": OVERLOAD_S, **SMALL_QUEUE}, **serve_figures.overload(measured)}


def ready(bench: Bench) -> Figures:
    """From the start of the process until `/readyz` says so."""
    seconds = []
    for number in range(bench.rounds):
        bench.tell(f"start {number + 1} of {bench.rounds}")
        with serving(_serve(bench.subject.bundle), ready="/readyz", environment=os.environ) as server:
            seconds.append(server.ready_s)
    return {"settings": {}, **serve_figures.ready(seconds)}


def invariance(bench: Bench) -> Figures:
    """Whether a translation depends on what else is in its batch."""
    measured = bench.measure({"offline": bench.offline("invariance")}, rounds=1)["offline"]
    return {"settings": measured.about, **serve_figures.invariance(measured.rounds[0])}


PARTS: dict[str, Callable[[Bench], Figures]] = {
    "throughput": throughput,
    "latency": latency,
    "invariance": invariance,
    "ready": ready,
    "overload": overload,
    "sustained": sustained,
}
"""What can be measured, in this order."""


def serve(
    command: str,
    subject: Subject,
    *,
    parts: Sequence[str],
    rounds: int,
    seconds: float,
    connections: int,
    tell: Callable[[str], None] = lambda _: None,
) -> Figures:
    """Measure these parts; the record has a result for each."""
    bundle = ModelBundle.open(subject.bundle)
    with tempfile.TemporaryDirectory(prefix="mtkd-bench-") as name:
        bench = Bench(subject, bundle, Path(name), rounds, seconds, connections, tell)
        results = [{"part": part, **PARTS[part](bench.telling_of(part))} for part in parts]
    settings = {
        "bundle": {"name": bundle.manifest.name, "digest": bundle.digest, "parameters": bundle.manifest.parameters},
        "sentences": len(subject.sentences),
        "rounds": rounds,
        "seconds": seconds,
        "connections": connections,
        "variables": UNCACHED,
    }
    return record("serve", command, settings, results, _machine())


def _machine() -> Figures:
    versions = {name: version(name) for name in VERSIONED}
    return {"cores": available_cores(), "device": cpu_name(), "versions": versions}


def _serve(bundle: Path) -> list[str]:
    return [sys.executable, "-m", "mtkd", "serve", str(bundle)]


def _program(name: str, **settings: Any) -> list[str]:
    """The command line of one of the programs beside this file."""
    return [sys.executable, "-m", f"mtkd.bench.{name}", json.dumps(settings)]
