"""The whole line, as a person types it: text in, student out, measured, served; killed, damaged, and continued."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mtkd import checkpoint
from mtkd.bundle import ModelBundle
from mtkd.distill.store_writer import write_header
from mtkd.distill.topk import TopKStore
from mtkd.processes import available_cores, thread_environment
from mtkd.train import DONE
from tests.e2e.typed import change, command, environment, free_port, mtkd, pending, post, processes_in, workspace
from tests.toy import write_micro

TEXTS = ["clean", "split", "subword", "binarize"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with the micro recipe after `mtkd run`."""
    folder = tmp_path_factory.mktemp("e2e")
    write_micro(folder, domains=2)
    return folder, mtkd(folder, "run", "recipe.yaml")


@pytest.fixture
def copy(finished: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of the finished run that a test may damage."""
    shutil.copytree(finished[0], tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def test_one_command_makes_table_page_and_bundle(finished) -> None:
    run = finished[1]
    assert run.returncode == 0, run.stdout + run.stderr
    shown = ("macro average", "corpora: runs/micro/corpora.html", "report: runs/micro/report/index.html")
    assert all(words in run.stdout for words in (*shown, "next: mtkd serve runs/micro/bundle"))
    assert (finished[0] / "runs/micro/corpora.html").is_file()
    assert run.stdout.count("there is no gap for distillation to close") + run.stdout.count("is better than mixed") == 2
    assert "Traceback" not in run.stdout + run.stderr


def test_page_stands_alone_and_shows_every_part(finished) -> None:
    page = (finished[0] / "runs/micro/report/index.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!#|data:)""", page)
    assert "<script" not in page
    assert all(word in page for word in ("<svg", "fidelity", "teacher.river", "kd_weight", "sentencepiece", "mixed"))


def test_every_system_is_scored_with_signatures_on_every_test_set(finished) -> None:
    """Design invariant 9."""
    results = json.loads((finished[0] / "runs/micro/report/results.json").read_text())["results"]
    for metric in ("bleu", "chrf"):
        scores = results["scores"][metric]
        assert set(scores) == {"generic", "mixed", "teachers", "student"}
        assert set(scores["student"]) == {"bank", "river", "general"}
        assert all("version:" in of["signature"] for sets in scores.values() for of in sets.values())
        heat = results["heatmap"][metric]
        assert {f"teacher.{name}" for name in ("bank", "river")} <= set(heat)
        assert set(heat["teacher.bank"]) == {"bank", "river", "general"}


def test_every_artefact_explains_itself(finished) -> None:
    """Design invariant 7; and one vocabulary (1) from dictionary to bundle."""
    place = workspace(finished[0])
    fingerprints = set()
    for name, node in place.plan.nodes.items():
        done = place.done(name)
        assert (done["key"], done["slice"]) == (node.key, node.slice)
        assert set(done["parents"]) == set(node.parents)
        assert done["versions"]["torch"]
        assert all((place.dir(name) / output).is_file() for output in done["outputs"])
    for name in ("generic", "teacher.bank", "student", "mixed"):
        fingerprints.add(json.loads((place.dir(name) / "vocabulary.json").read_text())["fingerprint"])
    for domain in ("bank", "river"):
        header = json.loads((place.dir(f"capture.{domain}") / "store" / "header.json").read_text())
        fingerprints.add(header["vocabulary"])
    fingerprints.add(ModelBundle.open(place.bundle).manifest.vocabulary)
    assert len(fingerprints) == 1


def test_student_and_mixed_differ_only_in_soft_targets(finished) -> None:
    place = workspace(finished[0])
    mixed, student = ((place.dir(name) / "command.sh").read_text() for name in ("mixed", "student"))
    start = student.index("--soft-targets ")
    end = student.index("--seed")
    strip = [text.replace(str(place.dir(name)), "DIR") for name, text in (("mixed", mixed), ("student", student))]
    assert strip[0] == strip[1].replace(student[start:end], "")
    assert "--kd-weight 0.5" in student[start:end]


def test_fairseq_train_alone_makes_the_same_student(finished, tmp_path: Path) -> None:
    """The step's own command, typed without mtkd's command line: the same weights, bit by bit."""
    place = workspace(finished[0])
    argv = shlex.split((place.dir("student") / "command.sh").read_text())
    argv[0] = str(Path(sys.executable).with_name("fairseq-train"))
    argv[argv.index("--save-dir") + 1] = str(tmp_path)
    threads = thread_environment(available_cores())  # what the step had: sums over two threads round otherwise
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**environment(), **threads})
    assert DONE in done.stdout + done.stderr, done.stdout + done.stderr
    ours = checkpoint.read(place.dir("student") / "model.pt")["model"]
    alone = checkpoint.read(tmp_path / "checkpoint_best.pt")["model"]
    assert ours.keys() == alone.keys()
    assert all(torch.equal(ours[name], alone[name]) for name in ours)


def test_second_run_does_nothing(finished) -> None:
    again = mtkd(finished[0], "run", "recipe.yaml")
    assert again.returncode == 0
    assert "nothing to do: all 21 steps are done" in again.stdout
    assert "[student]" not in again.stdout


@pytest.mark.parametrize(
    ("lost", "remade"),
    [
        ("subword/sentencepiece.model", None),
        ("teacher.bank/model.pt", ["teacher.bank", "decode.teacher.bank", "capture.bank"]),
        ("capture.river/store/ids.npy", ["capture.river"]),
        ("mixed/model.pt", ["mixed", "decode.mixed"]),
        ("decode.generic/hypotheses/bank.test.txt", ["decode.generic"]),
        ("export/bundle/int8/model.bin", ["export"]),
    ],
)
def test_deleting_an_output_remakes_only_what_depends_on_it(copy: Path, lost: str, remade: list[str] | None) -> None:
    place = workspace(copy)
    node, _, file = lost.partition("/")
    (place.dir(node) / file).unlink()
    found = set(pending(copy))
    plan = place.plan
    dependents = {node}
    for name, other in plan.nodes.items():
        if dependents & set(other.parents):
            dependents.add(name)
    assert found == dependents
    if remade:
        assert set(remade) <= found
        assert not found & set(TEXTS)


def test_a_lost_model_is_exported_again_and_not_by_an_older_mtkds_workflow(copy: Path) -> None:
    """Snakemake keeps a copy of the Snakefile in the workspace, and would take it for today's."""
    place = workspace(copy)
    (kept,) = (path for path in (place.root / ".snakemake/source-cache").rglob("*") if path.is_file())
    kept.write_text("raise RuntimeError('of an older mtkd')\n", encoding="utf-8")
    (place.dir("export") / "bundle" / "int8" / "model.bin").unlink()
    run = mtkd(copy, "run", "recipe.yaml", "--cores", "2", "--jobs", "2")
    assert run.returncode == 0, run.stderr
    assert json.loads((place.private / "run.json").read_text())["threads"] == 1
    assert set(re.findall(r"^\[([\w.]+)\] started", run.stdout, re.M)) == {"export", "report"}
    assert ModelBundle.open(place.bundle).manifest.domains == ["bank", "river"]


def test_changed_recipe_shares_what_it_can(finished) -> None:
    changed = pending(finished[0], "distill.kd_weight=1.0")
    assert changed[0] == "student"
    assert set(changed) == {"student", "decode.student", "evaluate", "export", "report"}


@pytest.mark.parametrize("step", ["capture.bank", pytest.param("student", marks=pytest.mark.proof), "export"])
def test_kill_9_then_the_same_command(copy: Path, step: str) -> None:
    """The run is killed while the step works: nothing is left running, and the same command ends well."""
    place = workspace(copy)
    until = ["--until", step]
    shutil.rmtree(place.dir(step))
    with subprocess.Popen(
        command("run", "recipe.yaml", *until),
        cwd=copy,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith(f"[{step}] started"):
                break
        time.sleep(1.5)
        running.kill()
    deadline = time.monotonic() + 20
    while processes_in(copy):
        assert time.monotonic() < deadline, processes_in(copy)
        time.sleep(0.1)
    assert not place.done_file(step).exists()
    assert step in pending(copy)
    again = mtkd(copy, "run", "recipe.yaml", *until)
    assert again.returncode == 0, again.stdout + again.stderr
    assert workspace(copy).states()[step].done


def test_bundle_answers_over_http_and_on_the_command_line(finished) -> None:
    folder, port = finished[0], free_port()
    bundle = "runs/micro/bundle"
    source = "mobige peranu mabalu nibigi kikema"
    with subprocess.Popen(
        command("serve", bundle, "--port", str(port)),
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as server:
        try:
            answer = post(port, {"q": source, "source": "en", "target": "de"})
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/languages") as response:
                languages = json.load(response)
        finally:
            server.send_signal(signal.SIGTERM)
    assert isinstance(answer["translatedText"], str)
    assert languages[0]["code"] == "en"
    assert languages[0]["targets"] == ["de"]
    lines = mtkd(folder, "translate", bundle, input=f"{source}\n\n{source}\n")
    assert lines.returncode == 0, lines.stderr
    assert lines.stdout.split("\n") == [answer["translatedText"], "", answer["translatedText"], ""]


def test_brought_models_are_taken_and_an_unsafe_one_ends_in_one_line(copy: Path) -> None:
    place = workspace(copy)
    for name in ("sentencepiece.model", "dict.txt"):
        shutil.copyfile(place.dir("subword") / name, copy / name)
    for name in ("generic", "teacher.bank"):
        shutil.copyfile(place.dir(name) / "model.pt", copy / f"{name}.pt")
    state = checkpoint.read(copy / "generic.pt")
    torch.save(state | {"args": Malicious()}, copy / "evil.pt")
    subword = {"model": "sentencepiece.model", "dictionary": "dict.txt"}
    change(copy, subword=subword, generic={"checkpoint": "evil.pt"})
    run = mtkd(copy, "run", "recipe.yaml", "--until", "generic")
    assert run.returncode == 1
    assert "refused, reading it would run code" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr
    assert not (copy / "ran").exists()
    change(copy, generic={"checkpoint": "generic.pt"}, teachers={"bank": {"checkpoint": "teacher.bank.pt"}})
    run = mtkd(copy, "run", "recipe.yaml", "--until", "teacher.bank")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "[teacher.bank] taken from" in run.stdout
    assert "loss" not in run.stdout


class Malicious:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_store_of_another_teacher_is_refused(copy: Path) -> None:
    """A store that was put in by hand: the training names what is wrong and which step to rerun."""
    place = workspace(copy)
    path = place.dir("capture.bank") / "store"
    header = path / "header.json"
    write_header(path, replace(TopKStore.open(path).header, teachers={"bank": "0" * 64}))
    shutil.rmtree(place.dir("student"))
    done = place.done_file("capture.bank")
    content = json.loads(done.read_text())
    content["outputs"]["store/header.json"]["bytes"] = header.stat().st_size
    done.write_text(json.dumps(content))
    run = mtkd(copy, "run", "recipe.yaml", "--until", "student")
    assert run.returncode == 1
    assert "made for teacher bank:00000000, this run uses bank:" in run.stdout
    assert "rerun step 'capture'" in run.stdout


def test_a_full_disk_loses_nothing(finished, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip(
            "2026-11-21: a small file system can only be mounted by root; runner's tests fill /dev/full instead"
        )
    try:
        write_micro(tmp_path, domains=2)
        for name in TEXTS:
            source = workspace(finished[0]).dir(name)
            shutil.copytree(source, small / "steps" / name / source.name)
        step = ["step", "generic", "--recipe", "recipe.yaml", "--workspace", str(small)]
        full = mtkd(tmp_path, *step)
        assert full.returncode == 1
        assert "no space left" in (full.stdout + full.stderr).lower()
        assert "Traceback" not in full.stdout + full.stderr
        subprocess.run(["mount", "-o", "remount,size=200m", str(small)], check=True)
        again = mtkd(tmp_path, *step)
        assert again.returncode == 0, again.stdout + again.stderr
    finally:
        subprocess.run(["umount", str(small)], check=True)
