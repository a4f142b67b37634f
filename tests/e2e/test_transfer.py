"""Text without references down the whole line: translated by its teacher, captured, learnt from, reported.

Minutes of training: `make prove`; tests/fairseq/test_transfer*.py has the parts.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mtkd.distill.topk import TopKStore
from mtkd.pipeline import select
from mtkd.train import METRICS, read_metrics
from mtkd.workspace import Workspace
from tests.e2e.typed import command, environment, mtkd, workspace
from tests.toy import write_micro

pytestmark = pytest.mark.proof
SENTENCES = 60


def counts(place: Workspace) -> dict[str, int]:
    found: dict[str, int] = json.loads((place.dir("transfer.bank") / "transfer.json").read_text())
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the micro recipe of one domain after its student was trained."""
    folder = tmp_path_factory.mktemp("transfer")
    write_micro(folder, domains=1, transfer_sentences=SENTENCES)
    run = mtkd(folder, "run", "recipe.yaml", "--until", "student")
    assert run.returncode == 0, run.stdout + run.stderr
    assert f" of {SENTENCES} sentences translated and kept (dropped: " in run.stdout
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may damage."""
    shutil.copytree(trained, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def test_what_is_captured_is_what_was_translated(trained: Path) -> None:
    place = workspace(trained)
    header = TopKStore.open(place.dir("capture.bank_transfer") / "store").header
    assert header.corpus == "bank_transfer"
    assert header.rows == counts(place)["kept"] > 0
    assert header.tokens == counts(place)["tokens"]["de"]


def test_the_student_learns_from_both_texts_and_is_chosen_by_one(trained: Path) -> None:
    place = workspace(trained)
    argv = (place.dir("student") / "command.sh").read_text()
    for path in (
        place.dir("transfer.bank") / "data" / "bank_transfer",
        place.dir("capture.bank_transfer") / "store",
        place.dir("capture.bank") / "store",
    ):
        assert str(path) in argv
    rows = read_metrics(place.dir("student") / METRICS)
    logged = {split: {key for row in rows if row["split"] == split for key in row} for split in ("train", "valid")}
    assert {"bank_nll_loss", "bank_transfer_nll_loss"} <= logged["train"]
    assert logged["train"] - logged["valid"] == {"bank_transfer_nll_loss", "kd_loss"}


def test_other_text_without_references_remakes_only_what_learns_from_it(copy: Path) -> None:
    with (copy / "bank_alone.en").open("a", encoding="utf-8") as file:
        file.write("one more sentence\n")
    place = workspace(copy)
    pending = [node.name for node in select(place, until="student").pending]
    assert pending == ["transfer.bank", "capture.bank_transfer", "student"]


def test_kill_9_then_the_same_command(copy: Path) -> None:
    place = workspace(copy)
    made = place.dir("transfer.bank")
    before = {name: (made / name).read_bytes() for name in ("train.en", "train.de", "transfer.json")}
    shutil.rmtree(made)
    until = ["--until", "transfer.bank"]
    with subprocess.Popen(
        command("run", "recipe.yaml", *until),
        cwd=copy,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    ) as running:
        deadline = time.monotonic() + 120
        while not (made / "work" / "sources.txt").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGKILL)
    assert not place.done_file("transfer.bank").exists()
    again = mtkd(copy, "run", "recipe.yaml", *until)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {name: (made / name).read_bytes() for name in before} == before
    assert not (made / "work").exists()


def test_the_report_tells_of_it(copy: Path) -> None:
    run = mtkd(copy, "run", "recipe.yaml")
    assert run.returncode == 0, run.stdout + run.stderr
    page = (copy / "runs/micro/report/index.html").read_text(encoding="utf-8")
    assert "Text without references" in page
    assert "bank_transfer" in page
