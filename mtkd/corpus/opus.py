"""One language pair of a corpus of OPUS, as the zip archive of two text files that OPUS publishes for it.

What it owns: names such as `EMEA@v3/de-en`, what they stand for, and the transfer of one file until it is whole.
What it must not know: recipes, the cache, what the text says.
Why a transfer beside opustools: its index says without a network which files there are, but its download neither
goes on where it was cut off, nor has a time limit, nor can be sent to a mirror.
"""

from __future__ import annotations

import difflib
import gzip
import http.client
import logging
import os
import re
import shutil
from collections.abc import Iterator
from http import HTTPStatus
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from mtkd.corpus.archives import members
from mtkd.errors import CorpusError, UsageError

if TYPE_CHECKING:
    from opustools.db_operations import DbOperations

logger = logging.getLogger(__name__)

# Not MTKD_...: the service refuses variables of that prefix that it does not know.
MIRROR_VARIABLE = "OPUS_MIRROR"
"""Base URL of a server with OPUS's own folders below it, `OPUS-EMEA/v3/moses/de-en.txt.zip`; unset: OPUS itself."""
TIMEOUT_S = 60.0
"""How long a server may stay silent."""
_NAME = re.compile(r"(?P<corpus>[A-Za-z0-9][\w.+-]*)(@(?P<release>[\w.+-]+))?/(?P<first>\w+)-(?P<second>\w+)", re.ASCII)
_CHUNK = 1 << 20
_SIZE_TOLERANCE_KIB = 8
_MOST_NAMES = 40


class OpusFile(NamedTuple):
    """One archive of OPUS, as the index knows it; `pair` in OPUS's order, the size in KiB."""

    corpus: str
    release: str
    pair: str
    url: str
    size_kib: int


def fetch_opus(name: str, folder: Path) -> Path:
    """Fetch `CORPUS[@RELEASE]/LANGUAGE-LANGUAGE` into `folder`; the path of its zip archive.

    What was cut off is kept in `folder` and continued; so is the index that names are looked up in.

    Raises:
        CorpusError: no such corpus, release or pair; a server that cannot be reached or breaks off; a damaged archive.
        UsageError: OPUS_MIRROR is no address.
    """
    wanted = look_up(name, folder)
    url = _mirrored(wanted.url)
    path = folder / f"{wanted.corpus}-{wanted.release}.{wanted.pair}.zip"
    partial = path.with_name(path.name + ".part")
    _download(name, url, partial)
    _refuse_damaged(name, url, partial)
    size_kib = partial.stat().st_size // 1024
    if abs(size_kib - wanted.size_kib) > _SIZE_TOLERANCE_KIB:
        logger.warning("archive=opus:%s size_kib=%d size_kib_in_index=%d", name, size_kib, wanted.size_kib)
    partial.rename(path)
    return path


def look_up(name: str, folder: Path) -> OpusFile:
    """What a name stands for, by the index of opustools, kept in `folder`; without a release, the latest one.

    Raises:
        CorpusError: the name is written wrongly, or OPUS has no such corpus, release or pair.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise CorpusError(f"opus:{name}: write opus:CORPUS@RELEASE/SOURCE-TARGET, for example opus:EMEA@v3/de-en")
    corpus, release = match["corpus"], match["release"]
    first, second = sorted((match["first"], match["second"]))
    index = _index(folder)
    rows = index.get_corpora({"corpus": corpus, "preprocessing": "moses"})
    if not rows:
        corpora = index.run_corpora_query({"preprocessing": "moses"})
        raise CorpusError(f"opus:{name}: OPUS has no corpus '{corpus}' as plain text{_nearest(corpus, corpora)}")
    of_pair = [row for row in rows if {row["source"], row["target"]} == {first, second}]
    if not of_pair:
        raise CorpusError(
            f"opus:{name}: {corpus} has no pair {first}-{second}; "
            f"{first} is there with {_partners(rows, first)}, {second} with {_partners(rows, second)}"
        )
    found = [row for row in of_pair if (row["version"] == release if release else row["latest"] == "True")]
    if not found:
        releases = ", ".join(sorted(f"opus:{corpus}@{row['version']}/{first}-{second}" for row in of_pair))
        raise CorpusError(f"opus:{name}: this pair is in other releases only: {releases}")
    row = found[0]
    return OpusFile(corpus, row["version"], f"{row['source']}-{row['target']}", row["url"], row["size"])


def _partners(rows: list[dict[str, Any]], language: str) -> str:
    """The languages that a corpus pairs a language with, as words of a sentence."""
    pairs = [{row["source"], row["target"]} for row in rows]
    found = sorted({other for pair in pairs if language in pair for other in pair - {language}})
    more = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
    return ", ".join(found[:_MOST_NAMES]) + more if found else "no other"


def _nearest(wrong: str, names: list[str]) -> str:
    by_lower_case = {name.lower(): name for name in names}
    near = difflib.get_close_matches(wrong.lower(), by_lower_case, n=1)
    return f" (did you mean '{by_lower_case[near[0]]}'?)" if near else ""


def _index(folder: Path) -> DbOperations:
    """The index that comes with opustools, unpacked in `folder` (0.1 GiB) once for every version of it."""
    from opustools.db_operations import DbOperations  # noqa: PLC0415 - only fetching needs it

    path = folder / f"opustools-{version('opustools')}.db"
    if not path.exists():
        for older in folder.glob("opustools-*.db*"):
            older.unlink()
        beside = path.with_name(path.name + ".tmp")
        packed = resources.files("opustools") / "opusdata.db.gz"
        with packed.open("rb") as stream, gzip.open(stream) as source, beside.open("wb") as out:
            shutil.copyfileobj(source, out, _CHUNK)
        beside.rename(path)
    index: DbOperations = DbOperations(db_file=str(path))
    return index


def _mirrored(url: str) -> str:
    base = os.environ.get(MIRROR_VARIABLE)
    if not base:
        return url
    if urlsplit(base).scheme not in ("http", "https"):
        raise UsageError(f"{MIRROR_VARIABLE}={base}: not an address that starts with http:// or https://")
    return base.rstrip("/") + urlsplit(url).path


def _download(name: str, url: str, partial: Path) -> None:
    """Fetch `url` into `partial`, behind what is there; as long as every attempt brings something, there is another.

    Raises:
        CorpusError: the server cannot be reached, has no such file, or breaks off.
    """
    while True:
        had = partial.stat().st_size if partial.exists() else 0
        try:
            total = _transfer(url, partial, had)
        except HTTPError as error:
            with error:
                # Nothing comes behind what is there: it is whole, or another file's.
                if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and had:
                    if error.headers.get("Content-Range") == f"bytes */{had}":
                        return
                    partial.unlink()
                    continue
            gone = error.code == HTTPStatus.NOT_FOUND
            advice = "OPUS's index has this file, the server has not: check it" if gone else "try later"
            raise CorpusError(
                f"opus:{name}: {url}: {error.code} {error.reason}; {advice}, or set {MIRROR_VARIABLE} to another server"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            if not isinstance(error, URLError | ConnectionError | TimeoutError | http.client.HTTPException):
                raise  # the disk, not the network
            raise CorpusError(
                f"opus:{name}: {url} cannot be reached ({getattr(error, 'reason', None) or error}); without the "
                f"internet, fetch it on another machine and copy its cache of archives to this one, or set "
                f"{MIRROR_VARIABLE} to a server in reach that has OPUS's folders"
            ) from None
        size = partial.stat().st_size
        if size == total:
            return
        if size > total:
            partial.unlink()
            raise CorpusError(f"opus:{name}: {url} sent {size} bytes and had announced {total}; run again")
        if size <= had:
            raise CorpusError(
                f"opus:{name}: {url} breaks off after {size} of {total} bytes; these are kept, run again to go on"
            )


def _transfer(url: str, partial: Path, had: int) -> int:
    """Append to `partial` what one request brings; how many bytes the whole file has by the server's word."""
    request = Request(url, headers={"Range": f"bytes={had}-"} if had else {})  # noqa: S310 - https, or by _mirrored
    with urlopen(request, timeout=TIMEOUT_S) as response, partial.open("ab") as out:  # noqa: S310
        if response.status != HTTPStatus.PARTIAL_CONTENT:  # a server without ranges starts anew
            had = 0
            out.truncate(0)
        announced = response.headers.get("Content-Length")
        for chunk in _chunks(response):
            out.write(chunk)
        return had + int(announced) if announced else out.tell()


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """What comes until the answer ends or breaks off; which of both, its length tells."""
    while True:
        try:
            chunk = response.read1(_CHUNK)  # what there is: nothing is lost when the rest does not come
        except (OSError, http.client.HTTPException) as error:
            logger.warning("broken off: %s", error)
            return
        if not chunk:
            return
        yield chunk


def _refuse_damaged(name: str, url: str, partial: Path) -> None:
    """Read the archive to its end, so that nothing enters a cache that cannot be unpacked later.

    Raises:
        CorpusError: not an archive, or one that is cut short or damaged; it is deleted.
    """
    try:
        for member in members(partial):
            while member.file.read(_CHUNK):
                pass
    except CorpusError as error:
        logger.warning("archive=opus:%s %s", name, error)
        partial.unlink()
        raise CorpusError(
            f"opus:{name}: what {url} sent is cut short or damaged and was deleted; run again, and if that does not "
            f"help, set {MIRROR_VARIABLE} to another server"
        ) from error
