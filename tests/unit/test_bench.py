"""The measuring harness: whose turn it is, what is made of the seconds, what happens to a process that fails."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mtkd import cli
from mtkd.bench import benchmarks, record
from mtkd.bench.alternate import Measured, alternate
from mtkd.bench.benchmarks import Session
from mtkd.errors import MtkdError, UsageError

CHILD = """
import json, os, sys, time
name, log, seconds, bad = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]
def note(what):
    with open(log, "a") as file:
        file.write(f"{name} {what} {os.getpid()}\\n")
def say(**message):
    print(json.dumps(message), flush=True)
note("started")
if bad == "start": sys.exit("RuntimeError: no such projection")
say(baseline_bytes=10, device="abacus", torch="2", threads=1)
for number, line in enumerate(sys.stdin):
    if line == "finish\\n":
        say(peak_bytes=len(name) * 100, loss=0.5)
        break
    if bad == f"round {number}": os.kill(os.getpid(), 9)
    note("begins")
    time.sleep(0.02)
    note("ends")
    say(seconds=seconds[number], tokens=12)
"""


def child(log: Path, name: str, seconds: list[float] | None = None, *, bad: str = "") -> list[str]:
    return [sys.executable, "-c", CHILD, name, str(log), json.dumps(seconds or [1.0] * 9), bad]


def notes(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text(encoding="utf-8").splitlines()]


def measured(seconds: list[float], peak: int = 8) -> Measured:
    rounds = [{"seconds": value, "tokens": 12} for value in seconds]
    return Measured({"baseline_bytes": 3, "device": "abacus"}, rounds, {"peak_bytes": peak, "loss": 0.5})


def test_variants_take_turns_and_never_compute_together(tmp_path: Path) -> None:
    log = tmp_path / "log"
    alternate({name: child(log, name) for name in "abc"}, 3, environment=os.environ)
    said = [(name, what) for name, what, _ in notes(log)]
    assert said[:3] == [("a", "started"), ("b", "started"), ("c", "started")]
    turns = [name for name, what in said[3:] if what == "begins"]
    assert turns == [*"abc", *"cba", *"abc"]
    assert said[3:] == [(name, what) for name in turns for what in ("begins", "ends")]


def test_every_answer_is_kept_with_its_variant(tmp_path: Path) -> None:
    told: list[str] = []
    argvs = {"a": child(tmp_path / "log", "a", [1.0, 2.0]), "bb": child(tmp_path / "log", "bb", [3.0, 4.0])}
    found = alternate(argvs, 2, environment=os.environ, tell=told.append)
    assert {name: [answer["seconds"] for answer in of.rounds] for name, of in found.items()} == {
        "a": [1.0, 2.0],
        "bb": [3.0, 4.0],
    }
    assert found["bb"].facts == {"peak_bytes": 200, "loss": 0.5}
    assert told[2:6] == ["round 1 of 2: a", "round 1 of 2: bb", "round 2 of 2: bb", "round 2 of 2: a"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("start", r"^benchmark: b failed: RuntimeError: no such projection$"),
        ("round 1", r"^benchmark: b was ended by signal 9; was the memory full\? choose smaller sizes$"),
    ],
)
def test_a_process_that_fails_is_one_error_and_leaves_no_other_behind(tmp_path: Path, bad: str, message: str) -> None:
    log = tmp_path / "log"
    with pytest.raises(MtkdError, match=message):
        alternate({"a": child(log, "a"), "b": child(log, "b", bad=bad)}, 3, environment=os.environ)
    for _, _, pid in notes(log):
        assert not Path(f"/proc/{pid}").exists()


def test_ratios_are_taken_within_a_round() -> None:
    # A machine at half its speed in the second round: 1.5 in every round, though the medians are 3 and 3.
    assert record.ratios([3.0, 6.0, 3.0], [2.0, 4.0, 2.0]) == {"ratio": 1.5, "ratio_min": 1.5, "ratio_max": 1.5}
    assert record.ratios([1.0, 9.0, 2.0], [1.0, 3.0, 4.0]) == {"ratio": 1.0, "ratio_min": 0.5, "ratio_max": 3.0}


def test_figures_of_a_variant() -> None:
    found = record.compare({"stock": measured([2.0, 4.0, 3.0], peak=16), "ours": measured([1.0, 1.0, 3.0])}, "stock")
    assert found["stock"]["ratio"] == found["stock"]["peak_ratio"] == 1.0
    assert found["ours"] == {
        "seconds": [1.0, 1.0, 3.0],
        "median_s": 1.0,
        "ratio": 0.5,
        "ratio_min": 0.25,
        "ratio_max": 1.0,
        "tokens_per_second": 12.0,
        "peak_bytes": 8,
        "peak_ratio": 0.5,
        "baseline_bytes": 3,
        "loss": 0.5,
    }
    assert record.table_rows(found)[1] == ["ours", "1", "0.50 (0.25 to 1.00)", "12", "0", "0.50", "0"]


def test_a_record_says_where_how_and_what(tmp_path: Path) -> None:
    of = {"stock": measured([1.0])}
    session = Session.start("mtkd bench loss", device="cpu", rounds=1)
    result = {"settings": {"vocab": 64}, "baseline": "stock", "variants": record.compare(of, "stock")}
    path = tmp_path / "benchmarks" / "loss.json"
    record.write_record(path, session.record("loss", {"vocab": [64]}, [result], of))
    found = json.loads(path.read_text(encoding="utf-8"))
    assert set(found) == {"benchmark", "command", "date", "mtkd", "cores", "device", "settings", "results"}
    assert (found["benchmark"], found["command"], found["device"]) == ("loss", "mtkd bench loss", "abacus")
    assert found["settings"] == {"device": "cpu", "rounds": 1, "vocab": [64]}
    assert found["results"][0]["variants"]["stock"]["seconds"] == [1.0]


def test_on_the_cpu_no_gpu_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    environment = Session.start("", device="cpu", rounds=5).environment
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert {environment[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} == {"3"}, "what the user set wins"


def test_updates_that_do_not_divide_into_blocks_are_refused() -> None:
    session = Session.start("", device="cpu", rounds=9)
    with pytest.raises(UsageError, match=r"--updates 51: must be a multiple of 10, the rounds and one to warm up"):
        benchmarks.train(session, preset="nano", vocab=1000, updates=51, max_tokens=300, tokens=1000, top_k=8)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train", "--preset", "bas"], "--preset bas: choose one of pico, nano, micro, tiny, small, base"),
        (["loss", "--vocab", "64", "--top-k", "65"], "--top-k 65: the smallest vocabulary has 64 symbols"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_measured(args: list[str], message: str) -> None:
    result = CliRunner().invoke(cli.app, ["bench", *args, "--device", "cpu"])
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


def test_fewer_than_five_rounds_are_no_measurement() -> None:
    result = CliRunner().invoke(cli.app, ["bench", "loss", "--rounds", "4"])
    assert result.exit_code == 2
