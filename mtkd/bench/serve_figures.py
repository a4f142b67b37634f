"""What `mtkd bench serve` makes of its measurements: figures, and rows of a table beside what was aimed at.

What it owns: the arithmetic and the aims. What it must not know: how anything is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import mean, median

from mtkd.bench.alternate import Measured, Message
from mtkd.bench.record import Figures, ratios

BYTES_PER_MB = 1e6
HEADER = ["measured", "value", "aim"]
Row = list[str]


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that so large a share of all does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def throughput(measured: Mapping[str, Measured]) -> Figures:
    """Sentences a second of each variant in every round, and the service's ratio to the others within each round."""
    rates = {name: [answer["sentences"] / answer["seconds"] for answer in of.rounds] for name, of in measured.items()}
    variants = {
        name: {
            "sentences": of.rounds[0]["sentences"],
            "sentences_per_second": rates[name],
            "median": median(rates[name]),
            "errors": sum(answer["errors"] for answer in of.rounds),
            **_medians(of.rounds, ["client_cpu_share"]),
            **_batches(of.rounds),
        }
        for name, of in measured.items()
    }
    over = {f"over_{name}": ratios(rates["service"], rates[name]) for name in measured if name != "service"}
    return {"variants": variants, **over}


def latency(measured: Mapping[str, Measured]) -> Figures:
    """Percentiles of each round's milliseconds, and how much more the service takes within a round."""
    found = {
        name: {p: [percentile(answer["ms"], share) for answer in of.rounds] for p, share in _PERCENTILES.items()}
        for name, of in measured.items()
    }
    variants = {
        name: {f"{p}_ms": median(values) for p, values in of.items()}
        | {"rounds": of, "errors": sum(answer["errors"] for answer in measured[name].rounds)}
        | _batches(measured[name].rounds)
        for name, of in found.items()
    }
    more = {
        f"{p}_difference_ms": median(
            service - offline for service, offline in zip(found["service"][p], found["offline"][p], strict=True)
        )
        for p in _PERCENTILES
    }
    return {"sentences": len(measured["service"].rounds[0]["ms"]), "variants": variants, **more}


def sustained(measured: Message) -> Figures:
    """The load as it was, and by how much memory grew: from the second tenth of the time to the last."""
    resident_mb = measured["resident_mb"]
    tenth = max(1, len(resident_mb) // 10)
    before, after = median(resident_mb[tenth : 2 * tenth] or resident_mb), median(resident_mb[-tenth:])
    return {**measured, "requests_per_second": measured["requests"] / measured["seconds"], "growth": after / before - 1}


def overload(measured: Message) -> Figures:
    """The load as it was, and how long refusals took, if there were any."""
    refused_ms = measured["refused_ms"]
    times = {name: percentile(refused_ms, share) for name, share in _OF_REFUSALS.items()} if refused_ms else {}
    others = {
        status: count
        for statuses in measured["statuses"].values()
        for status, count in statuses.items()
        if status not in ("200", "429")
    }
    figures = {name: value for name, value in measured.items() if name != "refused_ms"}
    return {**figures, "refused": len(refused_ms), "other_statuses": sum(others.values()), "refused_ms": times}


def ready(seconds: Sequence[float]) -> Figures:
    """From the start of the process until it is ready."""
    return {"seconds": list(seconds), "median_s": median(seconds)}


def invariance(measured: Message) -> Figures:
    """Share of sentences that do not depend on their company."""
    return {**measured, "share": measured["identical"] / measured["sentences"]}


def rows(result: Figures) -> list[Row]:
    """One result under `HEADER`."""
    return _ROWS[result["part"]](result)


def _throughput_rows(found: Figures) -> list[Row]:
    table = []
    for name, of in found["variants"].items():
        table.append([f"{name}, sentences a second", f"{of['median']:,.1f}", ""])
        if "client_cpu_share" in of:
            table.append([f"{name}, client's share of a core", f"{of['client_cpu_share']:.0%}", ""])
        if "segments_per_batch" in of:
            table.append([f"{name}, segments a batch", f"{of['segments_per_batch']:.1f}", ""])
            table.append([f"{name}, segments decoded a sentence", f"{of['segments_per_sentence']:.2f}", ""])
        table.append([f"{name}, errors", f"{of['errors']}", "0"])
    for name, aim in (("offline", ">= 0.8"), ("fairseq_handler", ">= 10")):
        if f"over_{name}" in found:
            table.append([f"service / {name}", _ratio(found[f"over_{name}"]), aim])
    return table


def _latency_rows(found: Figures) -> list[Row]:
    table = [
        [f"{name}, one sentence, {p}", f"{of[f'{p}_ms']:.2f} ms", ""]
        for name, of in found["variants"].items()
        for p in _PERCENTILES
    ]
    again = found["variants"]["service"]["segments_per_sentence"]
    table.append(["service, segments decoded a sentence", f"{again:.2f}", ""])
    table.append(["service - offline, p50", f"{found['p50_difference_ms']:.2f} ms", "<= 5 ms"])
    table.append(["service - offline, p95", f"{found['p95_difference_ms']:.2f} ms", ""])
    return table


def _sustained_rows(found: Figures) -> list[Row]:
    return [
        ["requests", f"{found['requests']:,} in {found['seconds']:.0f} s", ""],
        ["errors", f"{found['errors']}", "0"],
        ["memory", f"{found['resident_mb'][0]:,.0f} MB, then {found['resident_mb'][-1]:,.0f} MB", ""],
        ["growth of memory", f"{found['growth']:.1%}", "< 5 % in 10 minutes"],
        ["client's share of a core", f"{found['client_cpu_share']:.0%}", ""],
    ]


def _overload_rows(found: Figures) -> list[Row]:
    return [
        ["answered at most, requests a second", f"{found['capacity_per_second']:,.1f}", ""],
        ["sent, requests a second", f"{found['sent_per_second']:,.1f}", ""],
        *[[f"{kind}, by status", _counts(counts), "200 and 429"] for kind, counts in found["statuses"].items()],
        *[[f"429, time {name}", f"{ms:.1f} ms", "<= 100 ms"] for name, ms in found["refused_ms"].items()],
        ["429 without Retry-After", f"{found['refused_without_retry_after']}", "0"],
        ["client's share of a core", f"{found['client_cpu_share']:.0%}", ""],
    ]


def _ready_rows(found: Figures) -> list[Row]:
    return [["ready after", f"{found['median_s']:.2f} s", "<= 3 s"]]


def _invariance_rows(found: Figures) -> list[Row]:
    value = f"{found['share']:.2%} ({found['identical']} of {found['sentences']})"
    return [["identical alone and in batches", value, ">= 99.5 %"]]


_PERCENTILES = {"p50": 0.5, "p95": 0.95}
_OF_REFUSALS = {"p50": 0.5, "p99": 0.99, "max": 1.0}
_ROWS: dict[str, Callable[[Figures], list[Row]]] = {
    "throughput": _throughput_rows,
    "latency": _latency_rows,
    "sustained": _sustained_rows,
    "overload": _overload_rows,
    "ready": _ready_rows,
    "invariance": _invariance_rows,
}


def _medians(rounds: Sequence[Message], names: Sequence[str]) -> Figures:
    return {name: median(answer[name] for answer in rounds) for name in names if name in rounds[0]}


def _batches(rounds: Sequence[Message]) -> Figures:
    """How full the engine's batches were, and how much it decoded again or in parts."""
    if "segments" not in rounds[0]:
        return {}
    return {
        "segments_per_batch": mean(answer["segments"] / answer["batches"] for answer in rounds),
        "segments_per_sentence": mean(answer["segments"] / answer["sentences"] for answer in rounds),
    }


def _ratio(found: Figures) -> str:
    return f"{found['ratio']:.2f} ({found['ratio_min']:.2f} to {found['ratio_max']:.2f})"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{status}: {count:,}" for status, count in sorted(counts.items()))
