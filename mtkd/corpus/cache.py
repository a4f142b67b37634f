"""Fetched archives, kept so that nothing is downloaded twice.

What it owns: the cache's folders, when its content may be used, how processes share it.
What it must not know: recipes' groups, what is in an archive, how a registry is asked.
Why content is checked whenever it is used: a cache outlives disks that were full and copies that were cut short.

    CACHE/archives/<name, quoted>/<sha256>/    the archive, and archive.json, last touched when it was the current one
    CACHE/fetching/<kind>/, <kind>.lock        a fetcher's own folder, and who uses it
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from mtkd.bundle import sha256_of
from mtkd.corpus.fetchers import FETCHERS
from mtkd.corpus.lockfile import Archive
from mtkd.corpus.textfile import write_json
from mtkd.errors import CorpusError

logger = logging.getLogger(__name__)

CURRENT_S = 24 * 3600
"""How long an archive without a version is taken for the current one before its registry is asked again."""
_RECORD = "archive.json"


def cache_dir() -> Path:
    """MTKD_CACHE, else XDG_CACHE_HOME/mtkd, else ~/.cache/mtkd."""
    if own := os.environ.get("MTKD_CACHE"):
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(shared).expanduser().absolute() / "mtkd"


def fetch_archive(spec: str, cache: Path, *, locked: Archive | None = None) -> tuple[Archive, Path]:
    """An archive of a recipe and where it lies, from the cache where that will do.

    The locked one, one with the version that the name asks for, and one that was the current one less than a day ago
    are taken without network. Where a fetch fails, the newest one in the cache is taken, with a warning.

    Raises:
        CorpusError: it cannot be fetched, and the cache has none.
    """
    if found := _without_network(spec, cache, locked):
        return found
    kind, _, name = spec.partition(":")
    with _alone(cache / "fetching" / f"{kind}.lock"):
        if found := _without_network(spec, cache, locked):  # another process fetched it in the meantime
            return found
        folder = cache / "fetching" / kind
        folder.mkdir(exist_ok=True)
        try:
            fetched = FETCHERS[kind](name, folder)
        except CorpusError as error:
            if found := next(_cached(spec, cache), None):
                logger.warning("archive=%s not_fetched=%r taken_from_cache=%s", spec, str(error), found[0].file)
                return found
            raise
        return _kept(spec, cache, fetched)


def _without_network(spec: str, cache: Path, locked: Archive | None) -> tuple[Archive, Path] | None:
    if locked and (found := next(_cached(spec, cache, sha256=locked.sha256), None)):
        return found
    since = 0.0 if _has_version(spec) else time.time() - CURRENT_S
    return next(_cached(spec, cache, since=since), None)


def _has_version(spec: str) -> bool:
    """Whether the name says which version, so that what is in the cache cannot be out of date."""
    name = spec.partition(":")[2]
    return re.search(r"[=@]v?\d", name[1:]) is not None  # an npm scope starts with @ as well


def _cached(spec: str, cache: Path, *, sha256: str = "*", since: float = 0.0) -> Iterator[tuple[Archive, Path]]:
    """What the cache has for a name, the newest first, without what is not what its record says."""
    records = sorted(_home(spec, cache).glob(f"{sha256}/{_RECORD}"), key=_time, reverse=True)
    for record in records:
        if _time(record) < since:
            return
        if archive := _verified(record):
            yield archive, record.parent / archive.file
        else:
            logger.warning("archive=%s damaged_in_cache=%s", spec, record.parent)


def _verified(record: Path) -> Archive | None:
    try:
        archive = Archive.model_validate_json(record.read_bytes())
        path = record.parent / archive.file
        if path.stat().st_size == archive.bytes and sha256_of(path) == archive.sha256 == record.parent.name:
            return archive
    except (FileNotFoundError, ValidationError):
        pass
    return None


def _kept(spec: str, cache: Path, fetched: Path) -> tuple[Archive, Path]:
    """Move a fetched archive into the cache; the same content again is only marked as the current one."""
    archive = Archive(spec=spec, file=fetched.name, bytes=fetched.stat().st_size, sha256=sha256_of(fetched))
    if found := next(_cached(spec, cache, sha256=archive.sha256), None):
        (found[1].parent / _RECORD).touch()
        fetched.unlink()
        return found
    home = _home(spec, cache) / archive.sha256
    home.mkdir(parents=True, exist_ok=True)
    fetched.replace(home / fetched.name)
    write_json(home / _RECORD, archive.model_dump())  # last: without its record, an archive is not in the cache
    return archive, home / fetched.name


def _home(spec: str, cache: Path) -> Path:
    return cache / "archives" / quote(spec, safe="")


def _time(record: Path) -> float:
    return record.stat().st_mtime


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process uses what `lock` stands for, and hold it; the kernel lets go of it in any case."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError as error:
        raise CorpusError(f"{lock.parent}: the cache cannot be written: {error.strerror}; set MTKD_CACHE") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
