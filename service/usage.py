"""What each client has used in a month, on disk before it is answered.

What it owns: `usage.db`, the months, quotas. What it must not know: HTTP, keys; a client is a name, '' those without.

A request is reserved (in memory, against the quota), translated, then charged: while one transaction is written, in a
thread, the charges that come are the next one, and each answer goes out when its charge is in the file. So `kill -9`
loses at most what nobody was answered. A failed request is released instead. (A power cut may lose the last moments:
to wait for the disk itself would cost every answer milliseconds to save a count.)

Why a disk that refuses writes does not stop translation: usage is bookkeeping, and a full disk must not become an
outage of everything that asks for translations. What could not be written is kept, one sum a client, still counts
against quotas, delays nobody, and is written when the disk takes it again. The log says when that begins and ends.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from service.database import open_database

logger = logging.getLogger(__name__)

_FILE = "usage.db"
_SCHEMA = """
CREATE TABLE usage (
    month TEXT, client TEXT, requests INTEGER NOT NULL, texts INTEGER NOT NULL, characters INTEGER NOT NULL,
    PRIMARY KEY (month, client)
) WITHOUT ROWID
"""
_CHARGE = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    requests = requests + excluded.requests, texts = texts + excluded.texts,
    characters = characters + excluded.characters
RETURNING characters
"""
RETRY_S = 1.0
"""So often a disk that refused is tried again."""


class Month(NamedTuple):
    """A calendar month in UTC."""

    start: datetime
    end: datetime
    """The first moment of the next month."""

    @classmethod
    def of(cls, moment: datetime) -> Month:
        """The month of a moment that knows its zone."""
        start = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return cls(start, start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1))

    @property
    def name(self) -> str:
        """As in the file: 2026-11."""
        return f"{self.start:%Y-%m}"


class Row(NamedTuple):
    """Of whom and when a sum is."""

    month: str
    client: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """A request that was let in and is not answered yet; it belongs to the month in which it came."""

    row: Row
    texts: int
    characters: int


class UsageLog:
    """The counts of one state folder. Memory: a few numbers for each client of this month."""

    def __init__(self, folder: Path) -> None:
        """Open or create the file.

        Raises:
            UsageError: the folder cannot be used.
        """
        self._path = folder / _FILE
        self._connection = open_database(self._path, _SCHEMA, survives_power_cut=False)
        self._lock = threading.Lock()
        """Around the next two, counts of characters; all else is the event loop's, or the one write's under way."""
        self._stored = self._read(Month.of(datetime.now(UTC)))
        """In the file, as of the last look; a look is the start, and each charge of the client."""
        self._reserved: Counter[Row] = Counter()
        """Let in and not in the file."""
        self._batch: list[Reservation] = []
        """The charges of the next write."""
        self._next: asyncio.Task[None] | None = None
        """The next write, once something waits for it."""
        self._one_at_a_time = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="usage")
        self._unwritten: dict[Row, list[int]] = {}
        """Requests, texts, characters that the disk has refused."""

    def used(self, client: str, month: Month) -> int:
        """Characters of a client in a month, those being translated included."""
        row = Row(month.name, client)
        with self._lock:
            return self._sum(row)

    def reserve(
        self, client: str, *, month: Month, texts: int, characters: int, characters_per_month: int | None
    ) -> Reservation | None:
        """Let a request in, to be charged or released later; None if the month's quota has no room for all of it.

        However many ask at a time, from any thread, they are not let in for more than the quota together.
        """
        row = Row(month.name, client)
        with self._lock:
            used = self._sum(row)
            if characters_per_month is not None and used + characters > characters_per_month:
                return None
            self._reserved[row] += characters
        return Reservation(row, texts, characters)

    def release(self, reservation: Reservation) -> None:
        """Forget a request that was not answered."""
        with self._lock:
            self._reserved[reservation.row] -= reservation.characters

    async def charge(self, reservations: Iterable[Reservation]) -> None:
        """Count requests; returns when they are in the file, or at once while the disk refuses them (see above)."""
        self._batch.extend(reservations)
        if self._next is None:
            self._next = asyncio.create_task(self._write_batch())
        if not self._unwritten:
            # A client that leaves must not take the others' write along.
            await asyncio.shield(self._next)

    def close(self) -> None:
        """Write what waits and close the file, once the event loop has ended or charges no more."""
        self._thread.shutdown()
        self._write(self._batch)
        if self._unwritten:
            lost = sum(characters for _, _, characters in self._unwritten.values())
            logger.error("%s could not be written to the end; characters not counted: %d", self._path, lost)
        self._connection.close()

    def _sum(self, row: Row) -> int:
        """Characters in the file and on their way there. Needs the lock."""
        if row not in self._stored:
            # A new month: those before it are only of use while something is on its way.
            for old in [old for old in self._stored if old.month < row.month and not self._reserved[old]]:
                del self._stored[old], self._reserved[old]
            self._stored[row] = 0
        return self._stored[row] + self._reserved[row]

    def _read(self, month: Month) -> dict[Row, int]:
        rows = self._connection.execute("SELECT month, client, characters FROM usage WHERE month = ?", (month.name,))
        return {Row(name, client): characters for name, client, characters in rows}

    async def _write_batch(self) -> None:
        """One transaction for all that came while the last one was written."""
        async with self._one_at_a_time:
            if self._unwritten:
                await asyncio.sleep(RETRY_S)
            batch, self._batch, self._next = self._batch, [], None
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch)
        if self._unwritten and self._next is None:
            self._next = asyncio.create_task(self._write_batch())

    def _write(self, charges: Iterable[Reservation]) -> None:
        had_failed = bool(self._unwritten)
        sums: defaultdict[Row, list[int]] = defaultdict(lambda: [0, 0, 0], self._unwritten)
        for charge in charges:
            requests, texts, characters = sums[charge.row]
            sums[charge.row] = [requests + 1, texts + charge.texts, characters + charge.characters]
        if not sums:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            totals = {
                row: self._connection.execute(_CHARGE, (*row, *added)).fetchone()[0] for row, added in sums.items()
            }
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._unwritten = dict(sums)
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            if not had_failed:
                logger.error(
                    "%s cannot be written (%s); translation goes on, usage is kept in memory until it can: "
                    "free the disk before the service is stopped",
                    self._path,
                    error,
                )
            return
        self._unwritten = {}
        with self._lock:
            for row, total in totals.items():
                # What the file says, since another process may count there too.
                self._stored[row] = total
                self._reserved[row] -= sums[row][2]
        if had_failed:
            logger.info("%s can be written again; nothing was lost", self._path)
