"""API keys in a file: made, found, revoked.

What it owns: what a key looks like, `keys.db`, how a presented key is compared with it.
What it must not know: HTTP, limits in force, usage. `mtkd keys` and the service share it.

Why a fast keyed hash and not scrypt: scrypt makes guessing dear, for secrets that people choose. A key has 256 random
bits, of which 208 are hashed: nobody can guess through them at any speed, and a slow hash would only let every caller
of the service burn its CPU. The pepper makes the digests of two installations differ.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

from mtkd.errors import UsageError
from service.database import open_database

logger = logging.getLogger(__name__)

PREFIX = "mtkd_"
"""Every key begins with it, so that people and secret scanners know what they have found."""
_SECRET_BYTES = 32
_HANDLE_CHARS = 8
_KEY = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_FILE = "keys.db"
_COLUMNS = "handle, name, characters_per_month, requests_per_minute, added, revoked, pepper, digest"
_SCHEMA = """
CREATE TABLE keys (
    handle TEXT PRIMARY KEY, name TEXT NOT NULL, characters_per_month INTEGER, requests_per_minute INTEGER,
    added TEXT NOT NULL, revoked TEXT, pepper BLOB NOT NULL, digest BLOB NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key; never the key itself. Limits that are None are not set for it."""

    handle: str
    """The prefix and the first 8 characters, which are no secret: enough to tell keys apart, and to find one."""
    name: str
    """Whose key it is. Several keys may have one name while one replaces the other; usage is counted by name."""
    characters_per_month: int | None
    requests_per_minute: int | None
    added: datetime
    revoked: datetime | None
    pepper: bytes = field(repr=False)
    digest: bytes = field(repr=False)


class KeyStore:
    """The keys of one state folder; for any number of threads, and for several processes at a time."""

    def __init__(self, folder: Path) -> None:
        """Open or create the file.

        Raises:
            UsageError: the folder cannot be used.
        """
        self._path = folder / _FILE
        self._connection = open_database(self._path, _SCHEMA, survives_power_cut=True)
        self._lock = threading.Lock()
        self._active: Mapping[str, Key] = {}
        self._version: int | None = None
        self._is_readable = True

    def add(self, name: str, *, characters_per_month: int | None = None, requests_per_minute: int | None = None) -> str:
        """Make a key and return it, the only time that anyone sees it.

        A second key of a name has the limits of the newest before it where none are given: a rotation lifts no limit.

        Raises:
            UsageError: the name is not one, or the file cannot be written.
        """
        if not _NAME.fullmatch(name) or name.startswith(PREFIX):
            raise UsageError(f"'{name}': a key's name is 1 to 64 of A-Z a-z 0-9 . _ @ + -, not beginning with {PREFIX}")
        before = max((key for key in self.all_keys() if key.name == name and not key.revoked), key=_age, default=None)
        if before is not None:
            characters_per_month = characters_per_month or before.characters_per_month
            requests_per_minute = requests_per_minute or before.requests_per_minute
        presented, pepper = PREFIX + secrets.token_urlsafe(_SECRET_BYTES), secrets.token_bytes(16)
        limits = characters_per_month, requests_per_minute
        # Two keys share 48 random bits once in ages; the primary key then refuses the second.
        self._write(
            f"INSERT INTO keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, NULL, ?, ?)",  # noqa: S608
            (_handle(presented), name, *limits, _now(), pepper, _digest(presented, pepper)),
        )
        return presented

    def revoke(self, name_or_handle: str) -> list[Key]:
        """Revoke the key of that handle, or all keys of that name; they are returned. Servers refuse them at once.

        Raises:
            UsageError: there is no such key in force, or the file cannot be written.
        """
        chosen = [key for key in self.all_keys() if name_or_handle in (key.handle, key.name) and not key.revoked]
        if not chosen:
            raise UsageError("no such key is in force; 'mtkd keys list' shows their names and handles")
        handles = [key.handle for key in chosen]
        marks = ", ".join("?" * len(handles))
        self._write(f"UPDATE keys SET revoked = ? WHERE handle IN ({marks})", (_now(), *handles))  # noqa: S608
        return chosen

    def all_keys(self) -> list[Key]:
        """All keys, revoked ones too, by name and age.

        Raises:
            UsageError: the file cannot be read.
        """
        with self._lock:
            try:
                return sorted(self._read("true"), key=lambda key: (key.name, _age(key)))
            except sqlite3.Error as error:
                raise UsageError(f"{self._path}: cannot be read: {error}") from None

    def find(self, presented: str) -> Key | None:
        """The key in force that `presented` is, else None; 10 us, so that the event loop may call it.

        What other processes have changed is seen at once. A file that has become unreadable is logged, once, and the
        keys known last stay in force: a passing fault of the disk must not lock every client out.
        """
        if not is_ours(presented) or not _KEY.fullmatch(presented):
            return None
        with self._lock:
            self._refresh()
            key = self._active.get(_handle(presented))
        if key is None:
            return None
        return key if hmac.compare_digest(_digest(presented, key.pepper), key.digest) else None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _refresh(self) -> None:
        try:
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                self._active = {key.handle: key for key in self._read("revoked IS NULL")}
                self._version = version
        except sqlite3.Error as error:
            if self._is_readable:
                logger.error("%s cannot be read (%s); the keys known last stay in force", self._path, error)
            self._is_readable = False
        else:
            self._is_readable = True

    def _read(self, condition: str) -> list[Key]:
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM keys WHERE {condition}")  # noqa: S608
        return [
            Key(
                handle=handle,
                name=name,
                characters_per_month=characters_per_month,
                requests_per_minute=requests_per_minute,
                added=datetime.fromisoformat(added),
                revoked=datetime.fromisoformat(revoked) if revoked else None,
                pepper=pepper,
                digest=digest,
            )
            for handle, name, characters_per_month, requests_per_minute, added, revoked, pepper, digest in rows
        ]

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock:
            try:
                self._connection.execute(statement, values)
            except sqlite3.Error as error:
                raise UsageError(f"{self._path}: cannot be written: {error}; nothing was changed") from None
            # `data_version` tells of others' changes only.
            self._version = None


def is_ours(presented: str) -> bool:
    """Whether a string was meant to be one of our keys: DeepL's clients send any string where a server wants none."""
    return presented.startswith(PREFIX)


def _handle(presented: str) -> str:
    return presented[: len(PREFIX) + _HANDLE_CHARS]


def _digest(presented: str, pepper: bytes) -> bytes:
    return blake2b(presented.encode(), key=pepper, digest_size=32).digest()


def _age(key: Key) -> datetime:
    return key.added


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
