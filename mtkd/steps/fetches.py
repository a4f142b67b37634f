"""The step fetch: a group's archives, from the cache or from where the machine gets its packages."""

from __future__ import annotations

import os

from mtkd.archive_lock import archives_of, refuse_changed
from mtkd.context import StepContext
from mtkd.corpus.cache import cache_dir
from mtkd.corpus.fetch import fetch_corpora
from mtkd.corpus.lockfile import changes, read_lock
from mtkd.workspace import ARCHIVE_LOCK, LOCKED_VARIABLE


def fetch(context: StepContext) -> None:
    """Fetch the archives of a group's corpora and unpack what the recipe names in them.

    Raises:
        CorpusError: under --locked, an archive that is not the one of the recipe's lock.
    """
    group = context.recipe.corpora_groups()[str(context.node.target)]
    lock = read_lock(context.workspace.archive_lock)
    found = fetch_corpora(
        group.corpora,
        context.dir,
        cache=cache_dir(),
        lock=lock,
        progress=lambda name, done, total: context.progress.update(done, total, name),
    )
    changed = changes(lock, archives_of([found]))
    if os.environ.get(LOCKED_VARIABLE):
        refuse_changed(changed)
    for line in changed:
        context.progress.message(f"differs from {ARCHIVE_LOCK}: {line}")
