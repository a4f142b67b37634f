"""SQLite files of the state folder: how each is opened, and what is said when one cannot be.

What it owns: modes, pragmas and the one error of an unusable folder. What it must not know: tables.
Why WAL: readers and the writer never wait for each other, other processes (`mtkd keys`) take part while a server runs,
and what was committed survives `kill -9`.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from mtkd.errors import UsageError

SCHEMA_VERSION = 1
BUSY_S = 1.0
"""So long a statement waits for another process before it fails; shorter than any client's patience."""


def open_database(path: Path, schema: str, *, survives_power_cut: bool) -> sqlite3.Connection:
    """Open or create a file that only this user may read, with the table that `schema` makes, ready to be written.

    The connection is in autocommit mode and may be used by any thread, one at a time. What was committed survives the
    end of the process in any case; a power cut only if `survives_power_cut`, which costs a wait for the disk a commit.

    Raises:
        UsageError: the folder or the file cannot be read or written, or another version of mtkd made the file.
    """
    connection: sqlite3.Connection | None = None
    try:
        # SQLite gives the files it makes beside this one the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if survives_power_cut else 'NORMAL'}")
        # A write lock at once: a read-only file is found out now, and two processes do not both make the table.
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.execute(schema)
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        if connection is not None:
            connection.close()
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"{path}: cannot be used: {reason}; MTKD_DATA must name a folder that this user may write to, "
            "on a disk with room"
        ) from None
    if version not in (0, SCHEMA_VERSION):
        connection.close()
        raise UsageError(f"{path}: has format {version}, this mtkd reads {SCHEMA_VERSION}; use the mtkd that made it")
    return connection
