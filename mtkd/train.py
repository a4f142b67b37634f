"""Runs fairseq's trainer in a process of its own and turns its log into progress and `metrics.jsonl`.

What it owns: the life of one training directory: log, metrics, checkpoints, resume after a kill, the final `model.pt`.
What it must not know: recipes, the DAG. Why a process: the command is the one a fairseq user would type, it is written
beside the outputs, and a crash of the trainer is an exit code.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import zipfile
from collections import deque
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mtkd.errors import MtkdError
from mtkd.processes import die_with_parent
from mtkd.progress import Progress

LOG_LINE = re.compile(r"\| (train_inner|valid) \| (\{.*\})\s*$")
OWN_ERROR = re.compile(r"^mtkd\.errors\.\w+: (.*)$")
ANY_ERROR = re.compile(r"^(?:[\w.]+(?:Error|Exception|Interrupt)\b.*|fairseq-train: error: .*|.*: error: .*)$")
FULL_BYTES = 1 << 20
"""A trainer that failed beside so little free disk failed for that; torch words it in many ways."""
DONE = "| done training in "
"""fairseq's last line, after its last checkpoint."""
METRICS = "metrics.jsonl"
MODEL = "model.pt"


def run(argv: Sequence[str], directory: Path, *, updates: int, average_checkpoints: int, progress: Progress) -> Path:
    """Train until done, continuing from the last whole checkpoint, and write `directory/model.pt`.

    Raises:
        MtkdError: the trainer failed; the message is its own last error.
    """
    save_dir = Path(argv[argv.index("--save-dir") + 1])
    save_dir.mkdir(parents=True, exist_ok=True)
    repair_last_checkpoint(save_dir)
    (directory / "command.sh").write_text("fairseq-train " + shlex.join(argv) + "\n", encoding="utf-8")
    if not _reached(save_dir / "checkpoint_last.pt", updates):
        _train(argv, directory, updates, progress)
    from mtkd import checkpoint  # noqa: PLC0415 - torch, seconds that the trainer need not wait for

    model = directory / MODEL
    interval_checkpoints = by_updates(save_dir)
    if average_checkpoints > 1 and len(interval_checkpoints) > 1:
        checkpoint.average(interval_checkpoints[-average_checkpoints:], model)
    else:
        checkpoint.slim(save_dir / "checkpoint_best.pt", model)
    shutil.rmtree(save_dir)
    return model


def _train(argv: Sequence[str], directory: Path, updates: int, progress: Progress) -> None:
    """Run the trainer to its end, its log becoming `train.log`, metrics and progress."""
    tail: deque[str] = deque(maxlen=200)
    with (
        (directory / "train.log").open("a", encoding="utf-8") as log,
        (directory / METRICS).open("a", encoding="utf-8") as metrics,
        subprocess.Popen(
            [sys.executable, "-m", "fairseq_cli.train", *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509  this process has no threads
        ) as trainer,
    ):
        assert trainer.stdout is not None
        # torch takes seconds to import, and this process needs it only when the trainer has ended.
        threading.Thread(target=import_module, args=("mtkd.checkpoint",), daemon=True).start()
        for line in trainer.stdout:
            log.write(line)
            tail.append(line.rstrip())
            row = parse_log_line(line)
            if row is not None:
                metrics.write(json.dumps(row) + "\n")
                metrics.flush()
                if row["split"] == "train":
                    note = f"loss {row['loss']:.2f}, {row.get('tokens_per_second', 0) / 1000:.1f}k tokens/s"
                    progress.update(int(row["update"]), updates, note)
    # fairseq's loader thread is still at work when the interpreter ends, and now and then takes the process down with
    # it: by then all is saved and said.
    if trainer.returncode != 0 and not any(DONE in line for line in tail):
        if shutil.disk_usage(directory).free < FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))
        raise MtkdError(f"fairseq-train failed: {_reason(tail)} (log: {directory / 'train.log'})")


def _reached(last: Path, updates: int) -> bool:
    """Whether a killed run had trained all its updates; fairseq, restarted, would do one more."""
    if not last.exists():
        return False
    from mtkd import checkpoint  # noqa: PLC0415 - torch

    return checkpoint.updates_done(last) >= updates


def parse_log_line(line: str) -> dict[str, Any] | None:
    """One row of metrics from a line of fairseq's JSON log, or None; losses in bits a token, as fairseq logs them."""
    match = LOG_LINE.search(line)
    if match is None:
        return None
    prefix = "valid_" if match[1] == "valid" else ""
    values = {key.removeprefix(prefix): value for key, value in json.loads(match[2]).items()}
    row: dict[str, Any] = {"split": "valid" if prefix else "train", "update": int(values["num_updates"])}
    for key, value in values.items():
        # A domain that no batch of the interval had is logged as null.
        if key.endswith("loss") and key != "best_loss" and value is not None:
            row[key] = float(value)
    if "wps" in values:
        row["tokens_per_second"] = float(values["wps"])
    return row


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; after a resume the later row of an update counts."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line.endswith("}"):
                row = json.loads(line)
                rows[row["split"], row["update"]] = row
    return sorted(rows.values(), key=lambda row: (row["update"], row["split"]))


def by_updates(save_dir: Path) -> list[Path]:
    """The interval checkpoints `checkpoint_EPOCH_UPDATES.pt`, oldest first."""
    found = [(int(path.stem.split("_")[2]), path) for path in save_dir.glob("checkpoint_*_*.pt")]
    return [path for _, path in sorted(found)]


def repair_last_checkpoint(save_dir: Path) -> None:
    """Make `checkpoint_last.pt` whole again after a kill in the middle of fairseq's copying it."""
    last = save_dir / "checkpoint_last.pt"
    if not last.exists() or is_whole(last):
        return
    last.unlink()
    for candidate in reversed(by_updates(save_dir)):
        if is_whole(candidate):
            beside = last.with_name(last.name + ".tmp")
            shutil.copyfile(candidate, beside)
            beside.replace(last)
            return


def is_whole(path: Path) -> bool:
    """Whether a checkpoint file was written to its end (its archive's checksums hold)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError):
        return False


def _reason(tail: Sequence[str]) -> str:
    for line in reversed(tail):
        own = OWN_ERROR.match(line)
        if own:
            return own[1]
    for line in reversed(tail):
        if ANY_ERROR.match(line):
            return line
    return tail[-1] if tail else "no output"
