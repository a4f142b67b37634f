"""Downloads package archives by name, through the tool of each registry, and installs nothing.

What it owns: `FETCHERS`, one row a kind of archive, how names may look, and what is said when a tool fails.
What it must not know: caches, locks, what is in an archive.
Why the tools and not URLs: apt, pip and npm know this machine's mirrors, proxies and keys, and check what they fetch.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mtkd.errors import CorpusError
from mtkd.processes import die_with_parent

logger = logging.getLogger(__name__)

LISTS_AGE_S = 24 * 3600
"""How old apt's lists of packages may be before they are updated."""
# Every name starts with a letter or digit (npm's scope with @), so that none is taken for an option, a path or a URL.
_VERSION = r"[0-9A-Za-z][0-9A-Za-z.+~:!_-]*"
_SEMVER = r"\d+\.\d+\.\d+[0-9A-Za-z.+-]*"  # whole, as anything less is a range
_NAMES = {
    "deb": (re.compile(rf"[a-z0-9][a-z0-9+.-]+(={_VERSION})?"), "NAME or NAME=VERSION"),
    "wheel": (re.compile(rf"[0-9A-Za-z][0-9A-Za-z._-]*(=={_VERSION})?"), "NAME or NAME==VERSION"),
    "npm": (
        re.compile(rf"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*(@({_SEMVER}|[a-z][a-z-]*))?"),
        "NAME, NAME@VERSION, @SCOPE/NAME or @SCOPE/NAME@VERSION",
    ),
}
_NO_NETWORK = re.compile(
    r"temporary failure|could not resolve|could not connect|unable to connect|failed to fetch|connection|retrying"
    r"|timed? ?out|network|ENOTFOUND|ECONNREFUSED|EAI_AGAIN",
    re.IGNORECASE,
)
_COMPLAINT = re.compile(r"^(?:E:|ERROR:|npm (?:error|ERR!)) +(?!code )(?:notarget |404 )?(.*\S)", re.MULTILINE)
_LONGEST_COMPLAINT = 300
# No hook of the machine's own after an update: these serve its lists of packages, not ours.
_APT_CONFIG = "\n".join(f"#clear APT::Update::{hook};" for hook in ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success"))


def fetch_deb(name: str, folder: Path) -> Path:
    """`NAME[=VERSION]` through apt-get, as any user: its lists of packages are kept in `folder`.

    Raises:
        CorpusError: apt-get is missing, knows no such package, or has no network.
    """
    _check("deb", name)
    lists = folder / "apt"
    partial = _emptied(folder / "partial")
    # A package that cannot be had by lists that are not new may be had by new ones.
    for update in (False, True) if _is_new(lists) else (True,):
        problem = _update_lists(name, lists) if update else None
        try:
            _run("deb", name, [*_apt(lists), "download", name], partial)
            return _moved("deb", name, partial, f"{name.partition('=')[0]}_*.deb")
        except CorpusError as error:
            failure = problem or error
    raise failure


def fetch_wheel(name: str, folder: Path) -> Path:
    """`NAME[==VERSION]` through pip, for whatever version of Python it is meant.

    Raises:
        CorpusError: pip is missing, knows no such wheel, or has no network.
    """
    _check("wheel", name)
    partial = _emptied(folder / "partial")
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir"]
    only = ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python"]
    _run("wheel", name, [sys.executable, "-m", "pip", "download", *quiet, *only, "--dest", ".", "--", name], partial)
    return _moved("wheel", name, partial, "*.whl")


def fetch_npm(name: str, folder: Path) -> Path:
    """`NAME[@VERSION]` through npm; no script of the package is run.

    Raises:
        CorpusError: npm is missing, knows no such package, or has no network.
    """
    _check("npm", name)
    partial = _emptied(folder / "partial")
    quiet = ["--loglevel=error", "--no-update-notifier", "--ignore-scripts", "--cache", "cache"]
    patience = ["--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
    _run("npm", name, ["npm", "pack", *quiet, *patience, "--", name], partial)
    return _moved("npm", name, partial, "*.tgz")


def fetch_opus(name: str, folder: Path) -> Path:
    """A corpus of the OPUS collection; see `corpus.opus`."""
    from mtkd.corpus import opus  # noqa: PLC0415 - what it needs, the others do not

    return opus.fetch_opus(name, folder)


FETCHERS: dict[str, Callable[[str, Path], Path]] = {
    "deb": fetch_deb,
    "wheel": fetch_wheel,
    "npm": fetch_npm,
    "opus": fetch_opus,
}
"""By the part of an archive's name before the colon: downloads what stands after it into a folder; returns its path.

The folder is the fetcher's own between calls, and one call at a time uses it."""


def _check(kind: str, name: str) -> None:
    pattern, form = _NAMES[kind]
    if not pattern.fullmatch(name):
        raise CorpusError(f"{kind}:{name}: not a name this registry can have; write {kind}:{form}")


def _apt(lists: Path) -> list[str]:
    lists = lists.absolute()
    private = {
        "Dir::State": lists / "state",
        "Dir::State::lists": lists / "state" / "lists",
        "Dir::State::status": lists / "status",  # what is installed here does not matter
        "Dir::Cache": lists / "cache",
        "Dir::Cache::pkgcache": "pkgcache.bin",  # without it, which containers often are, every call takes seconds
        "Dir::Cache::srcpkgcache": "",
        "APT::Sandbox::User": "root",  # root's apt would otherwise write as a user who may not write here
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
    }
    options = [part for key, value in private.items() for part in ("-o", f"{key}={value}")]
    return ["apt-get", "-q", "-c", str(lists / "apt.conf"), *options]


def _update_lists(name: str, lists: Path) -> CorpusError | None:
    """Update apt's private lists of packages; a problem is returned, since older lists may do."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (lists / folder).mkdir(parents=True, exist_ok=True)
    (lists / "status").touch()
    (lists / "apt.conf").write_text(_APT_CONFIG, encoding="ascii")
    try:
        _run("deb", name, [*_apt(lists), "update"], lists)
    except CorpusError as error:
        logger.warning("apt_lists=not_updated reason=%r", str(error))
        return error
    (lists / "updated").touch()
    return None


def _is_new(lists: Path) -> bool:
    updated = lists / "updated"
    return updated.exists() and time.time() - updated.stat().st_mtime < LISTS_AGE_S


def _run(kind: str, name: str, command: list[str], folder: Path) -> None:
    """Run a registry's tool in `folder`; whatever it says is read only when it fails."""
    tool = "pip" if kind == "wheel" else command[0]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
            preexec_fn=die_with_parent,
        )
    except FileNotFoundError:
        raise CorpusError(f"{kind}:{name}: needs {tool}, which is not installed; install it, then run again") from None
    if done.returncode == 0:
        return
    complaint = _COMPLAINT.search(done.stdout)
    said = complaint[1][:_LONGEST_COMPLAINT] if complaint else f"exit code {done.returncode}"
    if "No module named pip" in done.stdout:
        hint = f"this Python has no pip: run {sys.executable} -m ensurepip"
    elif _NO_NETWORK.search(done.stdout):
        hint = "no network, or the mirror does not answer: see to it and run again, and what was fetched is kept"
    else:
        hint = "check the package's name and version"
    raise CorpusError(f"{kind}:{name}: {tool} cannot fetch it ({said}); {hint}")


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _moved(kind: str, name: str, partial: Path, pattern: str) -> Path:
    """The one archive that was fetched, out of the folder in which an interrupted one would lie."""
    found = sorted(partial.glob(pattern))
    if len(found) != 1:
        raise CorpusError(f"{kind}:{name}: {len(found)} archives were fetched, not one; check the package's name")
    return found[0].replace(partial.parent / found[0].name)
