"""The errors that users see: one clear message, never a traceback.

What it owns: the exception tree below. What it must not know: anything else of mtkd.

    MtkdError                   exit code 1: a step failed
    ├── UsageError              exit code 2: wrong use (recipe, flags, missing input)
    │   └── RecipeError         every problem of one recipe file at once
    ├── CorpusError             text that cannot be used
    ├── StoreMismatch           soft targets of another vocabulary, teacher or corpus
    ├── GateError               soft targets that say too little to train a student on
    ├── CheckpointError         a checkpoint that is broken, unsafe or of another shape
    ├── ExportRefused           a bundle whose parity gates failed
    └── BundleError             a bundle that is incomplete or altered
"""

from __future__ import annotations


class MtkdError(Exception):
    """Something the user can understand and mend; the message says how."""

    exit_code = 1


class UsageError(MtkdError):
    """Wrong use: nothing was started."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe with problems, all of them listed."""


class CorpusError(MtkdError):
    """Text that cannot be used."""


class StoreMismatch(MtkdError):
    """Soft targets that belong to another vocabulary, teacher or corpus."""


class GateError(MtkdError):
    """Soft targets that say too little, by the recipe's thresholds, to train a student on."""


class CheckpointError(MtkdError):
    """A checkpoint that is broken, unsafe to read or of another shape."""


class ExportRefused(MtkdError):
    """The exported model does not do what the trained one does."""


class BundleError(MtkdError):
    """A bundle that is incomplete, altered or of another version."""
