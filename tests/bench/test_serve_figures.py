"""What is made of the measurements, by numbers that can be checked by hand."""

from __future__ import annotations

from typing import Any

import pytest

from mtkd.bench import serve_figures
from mtkd.bench.alternate import Measured
from mtkd.bench.serve import PARTS
from mtkd.cli_bench_serve import Part


def rates(*seconds: float, sentences: int = 10, **more: Any) -> Measured:
    return Measured({}, [{"seconds": s, "sentences": sentences, "errors": 0, **more} for s in seconds])


def delays(*rounds: list[float]) -> Measured:
    return Measured({}, [{"ms": ms, "errors": 0} for ms in rounds])


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 2.0), (0.51, 3.0), (0.75, 3.0), (0.99, 4.0), (1.0, 4.0), (0.0, 1.0)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert serve_figures.percentile([4.0, 1.0, 3.0, 2.0], share) == value


def test_rates_are_compared_within_a_round() -> None:
    # A machine at half its speed in the second round, where the service loses nothing more.
    found = serve_figures.throughput(
        {
            "offline": rates(1.0, 2.0, 1.0),
            "service": rates(1.25, 2.5, 2.0, client_cpu_share=0.25, segments=12.0, batches=3.0),
            "fairseq_handler": rates(5.0, 10.0, 5.0, sentences=5),
        }
    )
    assert found["variants"]["offline"]["sentences_per_second"] == [10.0, 5.0, 10.0]
    assert found["over_offline"] == {"ratio": 0.8, "ratio_min": 0.5, "ratio_max": 0.8}
    assert found["over_fairseq_handler"] == {"ratio": 8.0, "ratio_min": 5.0, "ratio_max": 8.0}
    service = found["variants"]["service"]
    assert (service["segments_per_batch"], service["segments_per_sentence"]) == (4.0, 1.2)
    assert "segments_per_batch" not in found["variants"]["offline"]


def test_errors_of_all_rounds_are_counted() -> None:
    service = rates(1.0, 1.0)
    for answer in service.rounds:
        answer["errors"] = 2
    found = serve_figures.throughput({"offline": rates(1.0, 1.0), "service": service})
    assert found["variants"]["service"]["errors"] == 4


def test_what_a_sentence_takes_longer_is_compared_within_a_round() -> None:
    slow, fast = [30.0, 40.0, 50.0], [3.0, 4.0, 5.0]
    found = serve_figures.latency(
        {"offline": delays(fast, slow, fast), "service": delays([ms + 2 for ms in fast], [ms + 3 for ms in slow], fast)}
    )
    assert (found["p50_difference_ms"], found["p95_difference_ms"]) == (2.0, 2.0)
    assert found["variants"]["offline"]["p95_ms"] == 5.0


def test_growth_is_from_the_second_tenth_of_the_time_to_the_last() -> None:
    resident_mb = [10.0, 50.0, *[100.0] * 2, *[90.0] * 14, *[103.0] * 2]
    found = serve_figures.sustained(
        {"seconds": 20.0, "requests": 60, "errors": 0, "client_cpu_share": 0.1, "resident_mb": resident_mb}
    )
    assert found["growth"] == pytest.approx(0.03)
    assert found["requests_per_second"] == 3.0


def test_anything_but_200_and_429_is_counted_under_overload() -> None:
    found = serve_figures.overload(
        {
            "statuses": {"native": {"200": 5, "429": 3, "503": 1}, "deepl": {"200": 4, "429": 1, "0": 2}},
            "refused_ms": [1.0, 2.0, 3.0, 200.0],
        }
    )
    assert (found["refused"], found["other_statuses"]) == (4, 3)
    assert found["refused_ms"] == {"p50": 2.0, "p99": 200.0, "max": 200.0}


def test_a_queue_that_was_never_full_is_told_and_no_crash() -> None:
    statuses = {"native": {"200": 5}, "deepl": {"200": 5}}
    found = serve_figures.overload({"statuses": statuses, "refused_ms": []})
    assert (found["refused"], found["refused_ms"]) == (0, {})


def test_a_table_shows_each_figure_beside_its_aim() -> None:
    variants = {"offline": rates(1.0, 2.0), "service": rates(1.25, 2.0, client_cpu_share=0.251, segments=12, batches=3)}
    found = {"part": "throughput", **serve_figures.throughput(variants)}
    table = {name: (value, aim) for name, value, aim in serve_figures.rows(found)}
    assert table["offline, sentences a second"] == ("7.5", "")
    assert table["service, client's share of a core"] == ("25%", "")
    assert table["service / offline"] == ("0.90 (0.80 to 1.00)", ">= 0.8")
    statuses = {"native": {"429": 1200, "200": 5}, "deepl": {"200": 4}}
    load = {"capacity_per_second": 10.0, "sent_per_second": 20.0, "refused_without_retry_after": 0}
    found = serve_figures.overload({**load, "statuses": statuses, "refused_ms": [1.0, 9.0], "client_cpu_share": 0.1})
    table = {name: (value, aim) for name, value, aim in serve_figures.rows({"part": "overload", **found})}
    assert table["native, by status"] == ("200: 5, 429: 1,200", "200 and 429")
    assert table["429, time max"] == ("9.0 ms", "<= 100 ms")


def test_the_share_that_does_not_depend_on_company() -> None:
    assert serve_figures.invariance({"sentences": 200, "identical": 199})["share"] == 0.995


def test_ready_is_the_median_of_the_starts() -> None:
    assert serve_figures.ready([1.0, 9.0, 2.0])["median_s"] == 2.0


def test_every_part_has_a_name_on_the_command_line() -> None:
    assert [part.value for part in Part] == list(PARTS)
