"""`mtkd bench serve` end to end, on a model that is small and knows nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mtkd import cli
from mtkd.bench import serve
from mtkd.bench.serve_process import serving
from mtkd.bench.serve_subject import subject_of
from mtkd.bundle import ModelBundle
from mtkd.errors import MtkdError, UsageError
from mtkd.workspace import Workspace
from tests.bench.finished_run import ROOT, SENTENCES, add_checkpoint, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return write_run(tmp_path_factory.mktemp("run"))


def bench(*args: str) -> str:
    result = CliRunner().invoke(cli.app, ["bench", "serve", *args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_sentences_are_of_all_domains_mixed_and_always_the_same(run: Workspace) -> None:
    subject = subject_of(run.root, sentences=1000)
    text = [line for lines in SENTENCES.values() for line in lines]
    assert sorted(subject.sentences) == sorted(text)
    assert subject.sentences != text
    assert subject_of(run.root, sentences=4).sentences == subject.sentences[:4]
    assert (subject.bundle / "manifest.json").is_file()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not the workspace of a run; name one that 'mtkd run' has finished"):
        subject_of(tmp_path, sentences=5)


def test_a_run_without_a_bundle_is_refused(run: Workspace, tmp_path: Path) -> None:
    root = shutil.copytree(run.root, tmp_path / "copy")
    (root / run.done_file("export").relative_to(run.root)).unlink()
    with pytest.raises(UsageError, match=r"step 'export' is not done .*'mtkd run' makes it"):
        subject_of(root, sentences=5)


def test_a_model_that_the_run_does_not_have_or_has_not_trained_is_refused(run: Workspace) -> None:
    with pytest.raises(UsageError, match=r"no model 'tagged' in this run; name one that it trains, such as 'generic'"):
        subject_of(run.root, sentences=5, model="tagged")
    with pytest.raises(UsageError, match=r"step 'evaluate' trains no model; name one that does, such as 'generic'"):
        subject_of(run.root, sentences=5, model="evaluate")


def test_a_server_that_cannot_start_is_one_error(tmp_path: Path) -> None:
    place = serving(serve._serve(tmp_path), ready="/readyz", environment={"PYTHONPATH": str(ROOT)})
    with pytest.raises(MtkdError, match=r"^benchmark: the server did not start: .*not a bundle"):
        place.__enter__()


def test_a_record_says_what_was_measured_on_what(run: Workspace, tmp_path: Path) -> None:
    output = tmp_path / "serve.json"
    parts = ["--only", "latency", "--only", "invariance", "--only", "sustained", "--seconds", "2"]
    said = bench(str(run.root), *parts, "--connections", "4", "--output", str(output))
    assert "service - offline, p50" in said
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["benchmark"] == "serve"
    assert {"command", "date", "mtkd", "device", "cores", "versions"} <= set(found)
    assert found["settings"]["bundle"]["name"] == "tiny"
    assert found["settings"]["variables"] == {"MTKD_CACHE_CHARS": "0"}
    latency, invariance, sustained = found["results"]
    assert [latency["part"], invariance["part"], sustained["part"]] == ["latency", "invariance", "sustained"]
    assert latency["settings"]["compute_type"] == "int8"
    for variant in latency["variants"].values():
        assert variant["errors"] == 0
        assert len(variant["rounds"]["p50"]) == 5
    assert latency["sentences"] == invariance["sentences"] == 6
    assert sustained["errors"] == 0
    assert sustained["requests"] > 10
    assert len(sustained["resident_mb"]) >= 2
    assert min(sustained["resident_mb"]) > 20


def test_at_twice_the_load_everything_is_answered_or_refused(run: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    # One sentence at a time, and no room behind it.
    monkeypatch.setattr(serve, "SMALL_QUEUE", {"MTKD_MAX_QUEUE_TOKENS": "20", "MTKD_MAX_BATCH_TOKENS": "1"})
    monkeypatch.setattr(serve, "OVERLOAD_S", 2.0)
    subject = subject_of(run.root, sentences=6)
    (found,) = serve.serve("", subject, parts=["overload"], rounds=5, seconds=1, connections=2)["results"]
    assert found["other_statuses"] == 0
    assert found["refused"] == sum(statuses.get("429", 0) for statuses in found["statuses"].values()) > 0
    assert all(statuses["200"] > 0 for statuses in found["statuses"].values())
    assert found["refused_without_retry_after"] == 0
    assert found["refused_ms"]["p99"] <= found["refused_ms"]["max"]
    assert found["settings"]["MTKD_MAX_QUEUE_TOKENS"] == "20"


def test_another_model_of_the_run_is_exported_once(run: Workspace) -> None:
    add_checkpoint(run)
    subject = subject_of(run.root, sentences=6, model="generic")
    made = (subject.bundle / "manifest.json").stat().st_mtime_ns
    assert ModelBundle.open(subject.bundle).manifest.name == "generic"
    assert subject.checkpoint.is_file()
    assert subject_of(run.root, sentences=6, model="generic") == subject
    assert (subject.bundle / "manifest.json").stat().st_mtime_ns == made
    measured = serve.serve("", subject, parts=["invariance"], rounds=5, seconds=1, connections=2)
    assert measured["settings"]["bundle"]["name"] == "generic"


@pytest.mark.proof
def test_the_service_is_faster_than_fairseq_behind_a_handler(run: Workspace) -> None:
    add_checkpoint(run)
    subject = subject_of(run.root, sentences=6)
    (found,) = serve.serve("", subject, parts=["throughput"], rounds=1, seconds=1, connections=3)["results"]
    assert list(found["variants"]) == ["offline", "service", "fairseq_handler"]
    assert [of["errors"] for of in found["variants"].values()] == [0, 0, 0]
    assert [of["sentences"] for of in found["variants"].values()] == [6, 6, 3]
    assert found["variants"]["service"]["segments_per_sentence"] >= 1
    assert found["over_fairseq_handler"]["ratio"] > 1
