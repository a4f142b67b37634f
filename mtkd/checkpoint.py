"""fairseq checkpoint files: read safely, slimmed, averaged.

What it owns: every read of a checkpoint file that mtkd does itself. What it must not know: recipes, fairseq.
Why: a checkpoint is a pickle, and a pickle from a stranger is a program. Only tensors, plain containers and
`argparse.Namespace` are let in; anything else is refused unread.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mtkd.errors import CheckpointError

# For the whole process: fairseq and CTranslate2's converter read checkpoints by themselves, with the same list.
torch.serialization.add_safe_globals([argparse.Namespace])

EMBEDDING = "encoder.embed_tokens.weight"


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint file, tensors on the CPU.

    Raises:
        CheckpointError: missing, cut short, not a fairseq checkpoint, or one that would need unpickling of code.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except pickle.UnpicklingError as error:
        named = str(error).partition("GLOBAL ")[2].split(" ")[0]
        reason = f"it holds {named}" if named else "it is not a plain checkpoint"
        raise CheckpointError(
            f"{path}: refused, reading it would run code from the file ({reason}); "
            "save it again with tensors and argparse.Namespace only"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise CheckpointError(f"{path}: broken or cut short ({reason})") from None
    if not isinstance(state, dict) or "model" not in state or EMBEDDING not in state["model"]:
        raise CheckpointError(f"{path}: not a checkpoint of a fairseq translation model")
    return state


def write(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint beside its place and rename it there."""
    beside = path.with_name(path.name + ".tmp")
    torch.save(state, beside)
    beside.replace(path)


def slim(source: Path, target: Path) -> None:
    """Copy a checkpoint without its optimiser's state: a third of the bytes, all that the next step needs."""
    state = read(source)
    state.pop("last_optimizer_state", None)
    write(state, target)


def average(sources: Sequence[Path], target: Path) -> None:
    """Write the arithmetic mean of the models of several checkpoints, as Vaswani et al. 2017, section 6.1, do."""
    states = [read(source) for source in sources]
    averaged = states[-1]
    averaged.pop("last_optimizer_state", None)
    for name, value in averaged["model"].items():
        if value.is_floating_point():
            total = torch.stack([state["model"][name].double() for state in states]).mean(0)
            averaged["model"][name] = total.to(value.dtype)
    write(averaged, target)


def vocabulary_rows(path: Path) -> int:
    """Symbols in the embedding of a checkpoint's encoder."""
    return int(read(path)["model"][EMBEDDING].shape[0])


def wrong_vocabulary(path: Path, rows: int, wanted: int) -> str:
    """What to say of a checkpoint of another vocabulary."""
    return (
        f"{path}: its vocabulary has {rows} symbols, this run's has {wanted}; all models of a run share one "
        "vocabulary: set subword.model and subword.dictionary to the ones it was trained with"
    )


def updates_done(path: Path) -> int:
    """Updates a training checkpoint had seen."""
    return int(read(path)["optimizer_history"][-1]["num_updates"])
